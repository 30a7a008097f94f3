import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, suite, test } from 'node:test';
import { promisify } from 'node:util';
import type { LostEvent } from '../../src/event/types.ts';
import { assertNothingTwice } from '../lab/support/events.ts';
import { synFloodInPython } from '../lab/support/flood.ts';
import { before } from '../support/evidence.ts';
import { until } from '../support/until.ts';
import { apply, getJson, ktrace, kubectl, SKIP, TOOLS_IMAGE } from './support/cluster.ts';
import { killDaemon } from './support/daemon.ts';
import { renewAgents } from './support/product.ts';
import { bothNodesTell, clientPorts, type Followed, followWorld, fromPort, toldAnew } from './support/suite.ts';

const TOOL = process.env['KTRACE_CLUSTER'] ?? '';
const NEEDS_TOOL =
  TOOL === '' ? 'needs KTRACE_CLUSTER: whoever breaks a node must reach it by another way than through the cluster' : false;
const FLOOD = 10_000;
const TALKS = 30;

suite('a real cluster whose nodes and pods misbehave', { skip: SKIP }, () => {
  let followed: Followed;
  const port = clientPorts();

  before(async () => {
    followed = await followWorld();
    const { world } = followed;
    await world.inPod('deploy/client', 'sh', '-c', `setsid ping -q -i 0.5 ${world.server.ip} >/dev/null 2>&1 &`);
  });
  after(() => followed?.close());

  const tool = (...argv: string[]) => promisify(execFile)(TOOL, argv, { timeout: 60_000 });

  const nodeTells = (node: string) =>
    toldAnew(followed.follow, `a packet that ${node} tells`, ({ nodes }) => nodes.includes(node));

  const agentPid = async (node: string) => (await followed.world.onNode(node, 'pgrep', '-of', 'ktrace agent')).trim();

  test('a pod that floods is cut, by name and number, and its neighbour loses nothing', async (t) => {
    const { world, follow } = followed;
    await apply([noisyPod(world.namespace, world.nodeA)]);
    await kubectl('-n', world.namespace, 'wait', '--for=condition=Ready', 'pod/noisy', '--timeout=60s');
    const from = follow.events.length;
    const ports = Array.from({ length: TALKS }, port);
    const talk = ports.map((local) => `nc -N -p ${local} -w 5 ${world.server.ip} 9999 </dev/null`).join('; ');
    const [sent] = await Promise.all([
      world.inPod('noisy', ...synFloodInPython(FLOOD, world.server.ip, 9)),
      world.inPod('noisy', 'ping', '-f', '-q', '-n', '-c', String(FLOOD), world.server.ip),
      world.inPod('deploy/client', 'sh', '-c', talk),
    ]);
    assert.equal(Number(sent), FLOOD);
    for (const local of ports) {
      await follow.packet(`the SYN from port ${local}`, fromPort(local, 'S'), ({ nodes, src }) => {
        assert.deepEqual(nodes, [world.nodeA, world.nodeB]);
        assert.equal(src.pod?.name, world.client.name);
      });
    }
    const lost = () => follow.events.slice(from).filter((event): event is LostEvent => event.kind === 'lost');
    await follow.until('that the noisy pod was cut', () =>
      lost().some(({ stage, pod }) => stage === 'pod-rate' && pod?.name === 'noisy'),
    );
    const sums: Record<string, number> = {};
    for (const { node, stage, pod, count } of lost()) {
      const key = `${stage} ${pod?.name ?? '-'} ${node}`;
      sums[key] = (sums[key] ?? 0) + count;
    }
    t.diagnostic(JSON.stringify(sums));
    assert.deepEqual(
      lost().filter(({ stage, pod }) => stage !== 'pod-rate' || pod?.name === world.client.name),
      [],
    );
    await kubectl('-n', world.namespace, 'delete', 'pod', 'noisy', '--wait=false');
    await bothNodesTell(followed.follow);
  });

  for (const daemon of ['kubelet', 'containerd'] as const) {
    test(`a ${daemon} that is killed ends the node's part, the other goes on, and the same agent is back with it`, {
      skip: NEEDS_TOOL,
    }, async () => {
      const { world, follow } = followed;
      const pid = await agentPid(world.nodeB);
      const from = follow.notices.length;
      const startAgain = await killDaemon(TOOL, world.nodeB, daemon);
      try {
        await follow.until(
          `that ${world.nodeB} is gone`,
          () => follow.notices.slice(from).some(({ node, code }) => node === world.nodeB && code.startsWith('KTRACE_N_AGENT')),
          60_000,
        );
        await nodeTells(world.nodeA);
      } finally {
        await startAgain();
      }
      await bothNodesTell(followed.follow);
      assert.equal(await until('a command on the node', () => agentPid(world.nodeB).catch(() => undefined)), pid);
      assertNothingTwice(follow.packets);
    });
  }

  test('an uplink that goes and comes is followed on by the same agent', { skip: NEEDS_TOOL }, async () => {
    const { world } = followed;
    const pid = await agentPid(world.nodeB);
    const flap = `routes=$(ip route show default); dev=\${routes#* dev }; dev=\${dev%% *}
      for n in 1 2 3 4 5; do ip link set "$dev" down; sleep 0.2; ip link set "$dev" up; ip route replace $routes; sleep 0.2; done`;
    await tool('node', world.nodeB, 'bash', '-c', flap);
    await bothNodesTell(followed.follow);
    assert.equal(await until('a command on the node', () => agentPid(world.nodeB).catch(() => undefined)), pid);
  });

  test('watches that the API server no longer has the history of are begun anew: a new pod has its name', {
    skip: NEEDS_TOOL,
  }, async () => {
    const { world, follow } = followed;
    await tool('stop-api');
    await compactEverything();
    await tool('start-api');
    await bothNodesTell(followed.follow);
    await kubectl('-n', world.namespace, 'delete', 'pod', world.client.name, '--wait=true');
    world.client = await world.podOf('client');
    await world.inPod('deploy/client', 'sh', '-c', `setsid ping -q -i 0.5 ${world.server.ip} >/dev/null 2>&1 &`);
    await follow.packet(
      'a ping of the new pod, by name',
      ({ icmp, src }) => icmp !== undefined && src.pod?.name === world.client.name,
    );
    await bothNodesTell(followed.follow);
  });

  /** Forgets all but the last revision, as etcd does of itself in time. */
  async function compactEverything(): Promise<void> {
    const etcd = async (path: string, body: object) =>
      JSON.parse((await tool('exec', 'curl', '-sS', '-d', JSON.stringify(body), `http://127.0.0.1:2379/v3/${path}`)).stdout) as {
        header: { revision: string };
      };
    const { header } = await etcd('kv/range', { key: Buffer.from('/').toString('base64') });
    await etcd('kv/compaction', { revision: header.revision, physical: true });
  }

  test('an agent that the kernel kills for its memory is back, and says why it went', async () => {
    const { world } = followed;
    const pid = await agentPid(world.nodeB);
    // Whatever it asks for next it does not get.
    const starve = `c=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/$1/cgroup); [ -d "$c" ] || exit 3
      while kill -0 $1 2>/dev/null; do cat $c/memory.usage_in_bytes >$c/memory.limit_in_bytes 2>/dev/null; sleep 0.05; done`;
    await world.onNode(world.nodeB, 'timeout', '60', 'sh', '-c', starve, 'sh', pid);
    await until('another agent', async () => {
      const now = await agentPid(world.nodeB).catch(() => '');
      return now !== '' && now !== pid;
    });
    await bothNodesTell(followed.follow);
    const { items } = await getJson<{ items: AgentPod[] }>(
      'pods',
      '-n',
      'ktrace-agents',
      '-l',
      'app.kubernetes.io/component=agent',
    );
    const ofNode = items.find(({ spec }) => spec.nodeName === world.nodeB);
    assert.equal(ofNode?.status.containerStatuses[0]?.lastState.terminated?.reason, 'OOMKilled');
  });

  test('uninstall, while agents are attached by clsact, leaves no filter on any node', async () => {
    const { world, follow } = followed;
    const [image] = (await kubectl('-n', 'ktrace-agents', 'get', 'daemonset/ktrace-agent', '-o', 'jsonpath={..image}')).split(
      ' ',
    );
    await renewAgents(() => kubectl('-n', 'ktrace-agents', 'set', 'env', 'daemonset/ktrace-agent', 'KTRACE_ATTACH=clsact'));
    await bothNodesTell(followed.follow);
    for (const node of [world.nodeA, world.nodeB]) assert.match(await filters(node), /ktrace_/);
    const uninstall = ktrace('uninstall');
    assert.equal((await uninstall.ended).code, 0, uninstall.stderr);
    for (const node of world.nodes.keys()) {
      await until(`no filter on ${node}`, async () => !/ktrace_/.test(await filters(node)));
      assert.doesNotMatch(await world.onNode(node, 'sh', '-c', 'tc qdisc show | grep clsact || true'), /clsact/);
    }
    const install = ktrace('install', '--image', image ?? '');
    assert.equal((await install.ended).code, 0, install.stderr);
    assertNothingTwice(follow.packets);
    // Whom the old follow was went with ktrace's own accounts: it takes a new one.
    const anew = ktrace('follow', '-n', world.namespace, '-o', 'json');
    try {
      await anew.following();
      await anew.until('a ping that both nodes tell', () =>
        anew.settled.some(({ icmp, nodes }) => icmp !== undefined && nodes.length === 2),
      );
    } finally {
      await anew.interrupt();
    }
  });

  const filters = (node: string) =>
    followed.world.onNode(
      node,
      'sh',
      '-c',
      'cd /sys/class/net; for d in *; do for way in ingress egress; do tc filter show dev $d $way; done; done',
    );
});

interface AgentPod {
  spec: { nodeName: string };
  status: { containerStatuses: { lastState: { terminated?: { reason: string } } }[] };
}

function noisyPod(namespace: string, node: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'noisy', namespace },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: TOOLS_IMAGE, imagePullPolicy: 'IfNotPresent', command: ['sleep', 'infinity'] }],
    },
  };
}
