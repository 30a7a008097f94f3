import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type FollowedNode, FollowingNotice } from '../../../src/client/follow/following-notice.ts';
import type { Target } from '../../../src/event/target.ts';
import type { NoticeEvent } from '../../../src/event/types.ts';

function pods(node: string, ...names: string[]): FollowedNode['resolved'] {
  const resolved = names.map((name, index) => ({
    namespace: 'default',
    name,
    uid: `uid-${name}`,
    node,
    ips: [`10.244.${node.slice(4)}.${index + 2}`],
  }));
  return { pods: resolved, addresses: resolved.flatMap(({ ips }) => ips) };
}

const pending = (node: string) => ({ namespace: 'default', name: 'new', uid: `new-${node}`, node, ips: [] });
const onHost = (node: string) => ({
  namespace: 'kube-system',
  name: 'proxy',
  uid: `proxy-${node}`,
  node,
  ips: [],
  hostNetwork: true as const,
});

function up(resolved: FollowedNode['resolved'] = { pods: [], addresses: [] }): FollowedNode {
  return { state: 'up', isSettled: true, resolved };
}

function setOf(t: TestContext, nodes: Record<string, FollowedNode>, targets: Target[] = []) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const told: NoticeEvent[] = [];
  const set = new FollowingNotice(
    () => Object.entries(nodes),
    (notice) => told.push(notice),
    () => targets,
  );
  t.after(() => set.close());
  return { set, told, texts: () => told.map(({ text }) => text) };
}

test('it is told once every node has answered, with pods and nodes', (t) => {
  const host2: FollowedNode = { ...up(pods('host2', 'b')), isSettled: false };
  const nodes: Record<string, FollowedNode> = { host3: up(), host2, host1: up(pods('host1', 'a')) };
  const { set, told } = setOf(t, nodes);
  set.look();
  assert.deepEqual(told, [], 'host2 has not answered yet');
  nodes['host2'] = { ...host2, state: 'connecting', isSettled: false };
  set.look();
  assert.deepEqual(told, [], 'host2 is not connected yet');
  nodes['host2'] = { ...host2, isSettled: true };
  set.look();
  set.look();
  assert.deepEqual(told, [
    {
      v: 1,
      kind: 'notice',
      level: 'info',
      code: 'KTRACE_N_FOLLOWING',
      text: 'following 2 pods on 3 nodes: host1, host2, host3',
      following: {
        podCount: 2,
        addressCount: 2,
        pods: [
          { namespace: 'default', name: 'b', uid: 'uid-b' },
          { namespace: 'default', name: 'a', uid: 'uid-a' },
        ],
        nodes: ['host1', 'host2', 'host3'],
        missing: [],
      },
    },
  ]);
});

test('nothing is told while no node is up', (t) => {
  const { set, told } = setOf(t, { host1: { ...up(), state: 'down' }, host2: { ...up(), state: 'refused' } });
  set.look();
  assert.deepEqual(told, []);
});

test('changes are told again, those within a second together, and what has changed back is not', (t) => {
  const nodes: Record<string, FollowedNode> = { host1: up(pods('host1', 'a')) };
  const { set, texts } = setOf(t, nodes);
  set.look();
  nodes['host1'] = up(pods('host1', 'a', 'b'));
  set.look();
  nodes['host1'] = up(pods('host1', 'a', 'b', 'c'));
  set.look();
  assert.deepEqual(texts(), ['following 1 pod on 1 node: host1']);
  t.mock.timers.tick(1000);
  assert.deepEqual(texts().slice(1), ['following 3 pods on 1 node: host1']);
  nodes['host1'] = up();
  set.look();
  nodes['host1'] = up(pods('host1', 'a', 'b', 'c'));
  set.look();
  t.mock.timers.tick(1000);
  assert.equal(texts().length, 2);
  nodes['host1'] = up(pods('host1', 'd'));
  set.look();
  assert.deepEqual(texts().slice(2), ['following 1 pod on 1 node: host1']);
});

test('a pod that takes the place of another is a change', (t) => {
  const nodes: Record<string, FollowedNode> = { host1: up(pods('host1', 'a')) };
  const { set, told } = setOf(t, nodes);
  set.look();
  t.mock.timers.tick(1000);
  const {
    pods: [pod],
    addresses,
  } = pods('host1', 'a');
  assert.ok(pod);
  nodes['host1'] = up({ pods: [{ ...pod, uid: 'another' }], addresses });
  set.look();
  assert.deepEqual(
    told.map(({ following }) => following?.pods[0]?.uid),
    ['uid-a', 'another'],
  );
});

test('nodes that are not reached, targets without pods and pods without an address are said', (t) => {
  const cases: [Record<string, FollowedNode>, string][] = [
    [
      { host1: up(pods('host1', 'a')), host2: { ...up(), state: 'down' }, host3: { ...up(), state: 'refused' } },
      'following 1 pod on 1 of 3 nodes: host1; not reached: host2, host3',
    ],
    [{ host1: up() }, 'following no pod yet on 1 node: host1'],
    [{ host1: up({ pods: [], addresses: ['10.96.0.10'] }) }, 'following 1 address on 1 node: host1'],
    [{ host1: up({ pods: [], addresses: ['10.96.0.10', '10.96.0.11'] }) }, 'following 2 addresses on 1 node: host1'],
    [
      { host1: up({ pods: [pending('host1')], addresses: [] }) },
      'following no address on 1 node: host1; 1 pod has no address yet',
    ],
    [
      { host2: up({ pods: [onHost('host2')], addresses: [] }), host1: up({ pods: [onHost('host1')], addresses: [] }) },
      "following no address on 2 nodes: host1, host2; 2 pods use their nodes' network: follow node/host1, node/host2",
    ],
    [
      { host1: up({ pods: [...pods('host1', 'a').pods, onHost('host1'), pending('host1')], addresses: ['10.244.1.2'] }) },
      "following 1 pod on 1 node: host1; 1 more pod uses its node's network: follow node/host1; 1 more pod has no address yet",
    ],
    [
      Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`n${String(index).padStart(2, '0')}`, up(pods('host1'))])),
      'following no pod yet on 12 nodes: n00, n01, n02, n03, n04, n05, n06, n07, n08, n09 and 2 more',
    ],
  ];
  for (const [nodes, text] of cases) {
    const told: string[] = [];
    const set = new FollowingNotice(
      () => Object.entries(nodes),
      (notice) => told.push(notice.text),
      () => [],
    );
    t.after(() => set.close());
    set.look();
    assert.deepEqual(told, [text]);
  }
});

test('targets that no node knows anything of are named, beside others, and told again when there is something', (t) => {
  const web: Target = { kind: 'deployment', namespace: 'default', name: 'web' };
  const old: Target = { kind: 'service', namespace: 'shop', name: 'old' };
  const nodes: Record<string, FollowedNode> = {
    host1: up({ ...pods('host1', 'a'), unresolved: [1] }),
    host2: up({ pods: [], addresses: [], unresolved: [0, 1] }),
    host3: { ...up(), state: 'down' },
  };
  const { set, told, texts } = setOf(t, nodes, [web, old]);
  set.look();
  assert.deepEqual(texts(), [
    'following 1 pod on 2 of 3 nodes: host1, host2; nothing there of service shop/old; not reached: host3',
  ]);
  assert.deepEqual(told[0]?.following?.unresolved, [old]);
  nodes['host2'] = up({ pods: [], addresses: ['10.96.0.9'], unresolved: [0] });
  t.mock.timers.tick(1000);
  assert.equal(texts()[1], 'following 1 pod on 2 of 3 nodes: host1, host2; not reached: host3');
  assert.equal(told[1]?.following?.unresolved, undefined);
  nodes['host1'] = nodes['host2'] = up({ pods: [], addresses: [], unresolved: [0, 1] });
  t.mock.timers.tick(1000);
  assert.equal(texts()[2], 'following no pod yet on 2 of 3 nodes: host1, host2; not reached: host3');
  assert.deepEqual(told[2]?.following?.unresolved, [web, old]);
});

test('of many pods a hundred are named', (t) => {
  const names = Array.from({ length: 250 }, (_, index) => `p${index}`);
  const { set, told } = setOf(t, { host1: up(pods('host1', ...names)) });
  set.look();
  assert.equal(told[0]?.following?.podCount, 250);
  assert.equal(told[0]?.following?.pods.length, 100);
});
