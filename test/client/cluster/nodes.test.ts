import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createApi } from '../../../src/client/cluster/api.ts';
import { listGates } from '../../../src/client/cluster/gates.ts';
import { MAX_NODES, NodeWatch, type NodeWatchOptions } from '../../../src/client/cluster/node-watch.ts';
import { didYouMean, nearNames } from '../../../src/client/cluster/suggest.ts';
import { nodesOf } from '../../../src/client/cluster/target-objects.ts';
import type { NodeStreams } from '../../../src/client/follow/node-streams.ts';
import { silenceText } from '../../../src/client/render/summary.ts';
import type { Target } from '../../../src/event/target.ts';
import { until, untilHolds } from '../../support/until.ts';
import { hop, packet, pod } from '../events.ts';
import { type FakeApi, gatePod, startFakeApi } from './fake-api.ts';

async function apiFor(t: TestContext): Promise<FakeApi> {
  const fake = await startFakeApi();
  t.after(() => fake.close());
  return fake;
}

/** What a watch asks of a follow. */
function followed() {
  const calls: Record<'retried' | 'codes' | 'texts', string[]> & { nodes: string[][] } = {
    nodes: [],
    retried: [],
    codes: [],
    texts: [],
  };
  const following = {
    setNodes: (nodes: Set<string>) => calls.nodes.push([...nodes].sort()),
    retryNow: (node: string) => calls.retried.push(node),
    notice: (_: string, code: string, text: string) => {
      calls.codes.push(code);
      calls.texts.push(text);
    },
  } as unknown as NodeStreams;
  return { calls, following };
}

test('of several gates on a node the ready one is taken, and what has ended is none', async (t) => {
  const fake = await apiFor(t);
  fake.objects.set(...gatePod('old', 'host1', false));
  fake.objects.set(...gatePod('new', 'host1'));
  fake.objects.set(...gatePod('other', 'host2', false));
  const [path, ended] = gatePod('ended', 'host3');
  fake.objects.set(path, { ...(ended as object), status: { phase: 'Failed' } });
  const gates = await listGates(createApi(fake.config), 'ktrace');
  assert.deepEqual(
    [...gates.values()].map(({ node, name, isReady }) => [node, name, isReady]),
    [
      ['host1', 'new', true],
      ['host2', 'other', false],
    ],
  );
});

test('nodes join and leave as their gates do, and an API server that is away changes nothing', async (t) => {
  const fake = await apiFor(t);
  fake.objects.set(...gatePod('g1', 'host1'));
  const api = createApi(fake.config);
  let nowMs = 0;
  const watch = new NodeWatch({
    api,
    namespace: 'ktrace',
    gates: await listGates(api, 'ktrace'),
    wanted: undefined,
    everyMs: 10,
    nowMs: () => nowMs,
  });
  t.after(() => watch.close());
  const { calls, following } = followed();
  watch.start(following);
  const [path2, pod2] = gatePod('g2', 'host2');
  fake.objects.set(path2, pod2);
  await until('host2 joins', () => calls.nodes.at(-1)?.length === 2);
  assert.equal(watch.gateOf('host2').name, 'g2');
  fake.refused.set('/api/v1/namespaces/ktrace/pods', 500);
  await until('it is told', () => calls.codes.includes('KTRACE_N_API_UNREACHABLE'));
  assert.equal(calls.nodes.at(-1)?.length, 2);
  fake.objects.delete(path2);
  calls.retried.length = 0;
  fake.refused.clear();
  await until('host1 is tried again', () => calls.retried.length > 0);
  nowMs = 60_000;
  await until('host2 leaves', () => calls.nodes.at(-1)?.length === 1);
  assert.deepEqual(calls.codes, ['KTRACE_N_API_UNREACHABLE', 'KTRACE_N_API_BACK']);
  assert.deepEqual(calls.retried, ['host1'], 'what broke with the API server is tried at once');
  assert.throws(() => watch.gateOf('host2'), { code: 'KTRACE_E_NO_AGENT' });
});

test('a node whose gate is replaced is kept and tried again, and left when none comes for as long as agents keep sessions', async (t) => {
  const fake = await apiFor(t);
  const [path, gate] = gatePod('g1', 'host1');
  fake.objects.set(path, gate);
  const api = createApi(fake.config);
  let nowMs = 0;
  const clock = { everyMs: 10, leaveAfterMs: 60_000, nowMs: () => nowMs };
  const watch = new NodeWatch({ api, namespace: 'ktrace', gates: await listGates(api, 'ktrace'), wanted: undefined, ...clock });
  t.after(() => watch.close());
  const { calls, following } = followed();
  watch.start(following);
  const looks = async (count: number): Promise<void> => {
    const atLeast = calls.nodes.length + count;
    await until('it has looked', () => calls.nodes.length >= atLeast);
  };
  fake.objects.set(path, { ...(gate as object), metadata: { name: 'g1', deletionTimestamp: '2026-11-24T16:05:23Z' } });
  await looks(2);
  assert.throws(() => watch.gateOf('host1'), { code: 'KTRACE_E_NO_AGENT' });
  nowMs = 59_999;
  await looks(2);
  assert.deepEqual(calls.retried, []);
  fake.objects.delete(path);
  const [nextPath, next] = gatePod('g2', 'host1');
  fake.objects.set(nextPath, next);
  await until('it is tried again', () => calls.retried.includes('host1'));
  assert.equal(watch.gateOf('host1').name, 'g2');
  fake.objects.delete(nextPath);
  await looks(2);
  nowMs += 59_999;
  await looks(2);
  assert.ok(calls.nodes.every((nodes) => nodes.includes('host1')));
  nowMs += 1;
  await until('it is left', () => calls.nodes.at(-1)?.length === 0);
});

test('a cluster that grows too large while a gate is replaced goes on with the nodes that it had', async (t) => {
  const fake = await apiFor(t);
  const names = Array.from({ length: MAX_NODES }, (_, at) => `host${at}`);
  for (const node of names) fake.objects.set(...gatePod(`g-${node}`, node));
  const api = createApi(fake.config);
  const clock = { everyMs: 10, nowMs: () => 0 };
  const watch = new NodeWatch({ api, namespace: 'ktrace', gates: await listGates(api, 'ktrace'), wanted: undefined, ...clock });
  t.after(() => watch.close());
  const { calls, following } = followed();
  watch.start(following);
  const looked = async () => {
    const atLeast = calls.nodes.length + 2;
    await until('it has looked', () => calls.nodes.length >= atLeast);
  };
  fake.objects.delete(gatePod('g-host7', 'host7')[0]);
  await looked();
  for (const node of ['late1', 'late2']) fake.objects.set(...gatePod(`g-${node}`, node));
  await untilHolds('their gates are known', () => watch.gateOf('late2'));
  await looked();
  assert.deepEqual(calls.nodes.at(-1), names.toSorted());
});

test("where not all nodes are followed, a peer's node joins when it is seen", async (t) => {
  const fake = await apiFor(t);
  for (const node of ['host1', 'host2', 'host3']) fake.objects.set(...gatePod(`g-${node}`, node));
  const api = createApi(fake.config);
  const watch = new NodeWatch({ api, namespace: 'ktrace', gates: await listGates(api, 'ktrace'), wanted: new Set(['host1']) });
  t.after(() => watch.close());
  const { calls, following } = followed();
  watch.start(following);
  watch.peers(
    packet({
      id: '1',
      src: pod('a', '10.0.1.2', 'host1'),
      dst: pod('b', '10.0.3.2', 'host3'),
      hops: [hop('host1', 'veth', 'in', 0)],
    }),
  );
  watch.peers(packet({ id: '2', src: pod('a', '10.0.1.2', 'host1'), dst: pod('c', '10.0.9.2', 'without-gate'), hops: [] }));
  assert.deepEqual(calls.nodes, [['host1'], ['host1', 'host3']]);
});

/** A cluster of so many nodes, and a watch of them that looks all the time. */
async function clusterOf(t: TestContext, count: number, more: Partial<NodeWatchOptions>) {
  const fake = await apiFor(t);
  const grow = (to: number): void => {
    for (let index = 1; index <= to; index++) fake.objects.set(...gatePod(`g${index}`, `host${index}`));
  };
  grow(count);
  const api = createApi(fake.config);
  const gates = await listGates(api, 'ktrace');
  const watch = new NodeWatch({ api, namespace: 'ktrace', gates, wanted: undefined, everyMs: 10, ...more });
  t.after(() => watch.close());
  const { calls, following } = followed();
  watch.start(following);
  const meets = (index: number): void =>
    watch.peers(
      packet({ id: `${index}`, src: pod('a', '10.0.0.2', 'host1'), dst: pod('b', '10.0.0.3', `host${index}`), hops: [] }),
    );
  return { watch, calls, grow, meets };
}

test('peers on more nodes than a follow reaches are left out, and that is told once', async (t) => {
  const { calls, meets } = await clusterOf(t, 60, { wanted: new Set(['host1']) });
  for (let index = 2; index <= 55; index++) meets(index);
  assert.equal(calls.nodes.at(-1)?.length, 50);
  assert.ok(!calls.nodes.at(-1)?.includes('host51'));
  await until('it is told', () => calls.codes.includes('KTRACE_N_NODES_LEFT_OUT'));
  assert.match(calls.texts.at(-1) ?? '', /50 nodes.*: host51, host52, host53, host54, host55$/);
  const tellings = calls.nodes.length;
  for (let index = 51; index <= 60; index++) meets(index);
  await until('it has looked twice', () => calls.nodes.length >= tellings + 2);
  assert.deepEqual(calls.codes, ['KTRACE_N_NODES_LEFT_OUT']);
  assert.equal(calls.nodes.at(-1)?.length, 50);
});

test('a cluster that grows beyond what a follow reaches is followed on the nodes that were followed', async (t) => {
  const { watch, calls, grow, meets } = await clusterOf(t, 49, {});
  assert.equal(calls.nodes.at(-1)?.length, 49);
  grow(60);
  await untilHolds('it has looked', () => watch.gateOf('host60'));
  meets(57);
  meets(58);
  assert.equal(calls.nodes.at(-1)?.length, 50);
  assert.ok(calls.nodes.at(-1)?.includes('host57'), 'there was room for one peer');
  await until('it is told', () => calls.codes.includes('KTRACE_N_NODES_LEFT_OUT'));
  assert.match(calls.texts.at(-1) ?? '', /: host58$/);
});

test('where not all nodes are followed, the node that a pod of the targets moves to joins, and peers stay', async (t) => {
  let nowMs = 0;
  let isAllowed = true;
  let targets: Set<string> | undefined = new Set(['host1']);
  let asked = 0;
  const targetNodes = async (): Promise<Set<string> | undefined> => {
    asked++;
    if (!isAllowed) throw new Error('no');
    return targets;
  };
  const { calls, meets } = await clusterOf(t, 60, { wanted: new Set(['host1']), targetNodes, nowMs: () => nowMs });
  meets(7);
  await until('it has asked', () => asked === 1);
  targets = new Set(['host2', 'without-gate']);
  nowMs = 15_000;
  await until('host2 joins', () => calls.nodes.at(-1)?.includes('host2') === true);
  assert.deepEqual(calls.nodes.at(-1), ['host1', 'host2', 'host7']);
  isAllowed = false;
  for (nowMs = 30_000; asked < 5; nowMs += 15_000) {
    const before = asked;
    await until('it has asked', () => asked > before);
  }
  assert.deepEqual(calls.codes, ['KTRACE_N_API_UNREACHABLE'], 'told once');
  isAllowed = true;
  targets = undefined;
  nowMs += 15_000;
  await until('as many as there may be have joined', () => calls.nodes.at(-1)?.length === 50);
});

test("the targets' nodes are asked for with the user's rights, and an error where they do not suffice", async (t) => {
  const fake = await apiFor(t);
  const api = createApi(fake.config);
  const put = (path: string, object: object): unknown => fake.objects.set(path, object);
  put('/api/v1/namespaces/default/pods/a', { spec: { nodeName: 'host1' } });
  put('/apis/apps/v1/namespaces/default/deployments/web', { spec: { selector: { matchLabels: { app: 'web' } } } });
  put('/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/db-1', { endpoints: [{ nodeName: 'host7' }, {}] });
  const named = { namespace: 'default', name: 'a' };
  assert.deepEqual(await nodesOf(api, [{ kind: 'pod', ...named }]), new Set(['host1']));
  assert.deepEqual(await nodesOf(api, [{ kind: 'deployment', namespace: 'default', name: 'web' }]), new Set(['host1']));
  assert.deepEqual(await nodesOf(api, [{ kind: 'service', namespace: 'default', name: 'db' }]), new Set(['host7']));
  const cronJob: Target = { kind: 'cronjob', namespace: 'default', name: 'nightly' };
  const jobs = '/apis/batch/v1/namespaces/default/jobs';
  const ofCronJob = { ownerReferences: [{ kind: 'CronJob', name: 'nightly' }] };
  put('/apis/batch/v1/namespaces/default/cronjobs/nightly', {});
  put(`${jobs}/other-1`, { metadata: { name: 'other-1' } });
  assert.deepEqual(await nodesOf(api, [cronJob]), new Set(), 'it has not run yet');
  put(`${jobs}/nightly-29922850`, { metadata: { name: 'nightly-29922850', ...ofCronJob } });
  assert.deepEqual(await nodesOf(api, [cronJob]), new Set(['host1']));
  assert.equal(fake.selectors.at(-1), 'job-name in (nightly-29922850)');
  assert.deepEqual(await nodesOf(api, [{ kind: 'node', name: 'host5' }]), new Set(['host5']));
  assert.equal(await nodesOf(api, [{ kind: 'all' }]), undefined);
  const gone: Target = { kind: 'pod', namespace: 'default', name: 'gone' };
  assert.deepEqual(await nodesOf(api, [gone, { kind: 'pod', ...named }]), new Set(['host1']), 'a pod that is gone is on no node');
  for (const status of [403, 500]) {
    fake.refused.set('/api/v1/namespaces/default/pods/a', status);
    await assert.rejects(nodesOf(api, [{ kind: 'pod', ...named }]), { status });
  }
});

test('near names are those that begin alike and those within a few mistakes, best first', () => {
  const pods = ['frontend-88237173-jdfgg', 'frontend-88237173-mzmjf', 'redis-master-343230949-2qrp7'];
  assert.deepEqual(nearNames('frontend', pods), pods.slice(0, 2));
  assert.deepEqual(nearNames('redis-master-343230949-2qrp', pods), [pods[2]]);
  assert.deepEqual(nearNames('nothing-like-it', pods), []);
  assert.equal(didYouMean('defalt', ['default', 'kube-system']), 'Did you mean default?');
  assert.equal(didYouMean('fronted', ['frontend', 'fronten', 'frontend-2'], 'pod/'), 'Did you mean pod/fronten or pod/frontend?');
  assert.equal(didYouMean('x', []), undefined);
});

test('a silence says what is known of its cause', () => {
  const counts = {
    captured: 0,
    told: 0,
    packets: 0,
    flows: 0,
    joined: 0,
    duplicates: 0,
    amended: 0,
    filtered: 0,
    undecided: 0,
    invalid: 0,
  };
  const status = {
    agents: 3,
    agentsUp: 3,
    pods: 2,
    addresses: 4,
    hostNetwork: [],
    counts,
    lost: {},
    missing: [],
    gaps: [],
    filter: undefined,
  };
  assert.equal(
    silenceText(status, 10, 0),
    'no packet matched in 10 s; 3 agents, 2 pods resolved, 4 addresses, 0 records since the start: they send and receive nothing new',
  );
  assert.match(silenceText(status, 20, 112_802), /^nothing new in 20 s; .*: they send and receive nothing new$/);
  assert.match(
    silenceText({ ...status, filter: 'udp' }, 10, 0),
    /filter "udp": they send and receive nothing new that the filter matches$/,
  );
  assert.match(silenceText({ ...status, pods: 0, addresses: 0 }, 10, 0), /no running pod is meant/);
  assert.match(silenceText({ ...status, agentsUp: 0 }, 10, 0), /no agent is reached/);
  assert.match(silenceText({ ...status, addresses: 0 }, 10, 0), /these pods have no address yet$/);
  assert.match(
    silenceText({ ...status, addresses: 0, hostNetwork: ['host1', 'host\n2'] }, 10, 0),
    /these pods use their nodes' network: follow node\/host1, node\/host\\x0a2$/,
  );
});
