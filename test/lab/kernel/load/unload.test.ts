import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { type NodeState, TracedNode, way } from '../../support/traced-node.ts';

suite('programs and maps that nobody follows by', { skip: SKIP }, () => {
  let net: Net;
  let node: TracedNode;
  before(async () => {
    net = twoNodes();
    node = await TracedNode.start(net, { node: 'node1', addresses: ['10.9.1.2'], unloadAfterMs: 300 });
  });
  after(() => net.close());

  /** What the node says once it has nothing of the kernel's any more. */
  const unloaded = (): Promise<NodeState> =>
    until('all is unloaded', async () => {
      const state = await node.ask('state');
      return state.bpfFiles === 0 && state;
    });

  /** `d`, a pod of node1. */
  const addPod = (): void => {
    net.add('d');
    net.join(['node1', 'veth-d', '10.9.1.252/32'], ['d', 'eth0', '10.9.1.4/32']);
    net.ip('node1', 'route add 10.9.1.4 dev veth-d');
    net.ip('d', 'route add 10.9.1.252 dev eth0; route add default via 10.9.1.252');
  };

  test('are unloaded after a while, and a follow that comes then tells all, also of a pod that came meanwhile', async (t) => {
    const { hooks } = await unloaded();
    addPod();
    const followed = await node.ask('follow');
    t.diagnostic(`followed after ${followed.tookMs.toFixed(0)} ms`);
    assert.ok(followed.bpfFiles > 0 && followed.attached === 4);
    assert.deepEqual(
      followed.hooks.map(({ state: _, ...hook }) => hook),
      hooks.map(({ state: _, ...hook }) => hook),
    );
    assert.ok(net.try('a', 'ping -n -c1 -W5 10.9.1.4'));
    await node.packet(
      'the reply',
      ({ icmp }) => icmp?.name === 'echo-reply',
      (reply) => assert.deepEqual([way(reply), reply.verdict], ['veth-d in, veth-a out', 'delivered']),
    );
    net.try('a', 'echo x > /dev/udp/10.9.1.4/4004');
    await node.packet(
      'the drop inside the new pod',
      ({ verdict, dst }) => verdict === 'dropped' && dst.port === 4004,
      (packet) => assert.deepEqual([packet.drop?.reason, way(packet)], ['NO_SOCKET', 'veth-a in, veth-d out']),
    );
  });

  test('have counted what they have counted, and what comes later is counted on top of it', async () => {
    const { stats: atEnd } = await node.ask('unfollow');
    const { stats, attached } = await unloaded();
    assert.ok(atEnd.matched > 0);
    assert.deepEqual([stats, attached], [atEnd, 0]);
    await node.ask('follow');
    assert.ok(net.try('a', 'ping -n -c3 -i0.2 10.9.1.3'));
    await node.packet(
      'the last reply',
      ({ icmp, src }) => icmp?.name === 'echo-reply' && icmp.seq === 3 && src.ip === '10.9.1.3',
      (reply) => assert.equal(way(reply), 'veth-b in, veth-a out'),
    );
    const { stats: later, attachFailures, malformed } = await node.ask('unfollow');
    assert.ok(later.matched >= atEnd.matched + 12 && isAccounted(later), JSON.stringify(later));
    assert.deepEqual([attachFailures, malformed], [0, 0]);
  });

  test('are loaded for doctor, who says of them what is so, and unloaded again', async () => {
    const { hooks } = await unloaded();
    const { report, bpfFiles } = await node.ask('doctor');
    assert.deepEqual([report?.works, report?.hooks], [true, hooks]);
    assert.ok(bpfFiles > 0);
    await unloaded();
    assert.equal((await node.close()).bpfFiles, 0);
  });
});
