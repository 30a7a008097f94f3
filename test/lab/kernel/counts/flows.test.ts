import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { PacketEvent } from '../../../../src/event/types.ts';
import { before } from '../../../support/evidence.ts';
import { until, untilHolds } from '../../../support/until.ts';
import { isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import type { Net } from '../../support/net.ts';
import { way } from '../../support/traced-node.ts';
import { BACK, CLIENT, closed, datagrams, followingClient, OUT, SERVER, SERVICE, serviceNodes } from './flows-net.ts';

const LOOKUPS = 100;

/** From ports of their own (the kernel may give one twice), one after the other; each waits for its answer. */
const LOOK_UP = `const { createSocket } = require('node:dgram');
  const next = (n) => {
    if (n === 0) return;
    const socket = createSocket('udp4', () => socket.close(() => next(n - 1)));
    socket.bind(40000 + n, () => socket.send('lookup ' + n, 53, '${SERVICE}'));
  };
  next(${LOOKUPS});`;

const isUdp = ({ proto }: PacketEvent) => proto === 'udp';

suite('the table of flows, where a packet passes four interfaces of a node', { skip: SKIP }, () => {
  let net: Net;
  before(async () => {
    net = await serviceNodes();
  });
  after(() => net?.close());

  test('has four entries of a lookup through a Service, and two on the server’s node, and none a few seconds later; all hooks tell', async (t) => {
    const [asking, answering] = [await followingClient(net, 'node1'), await followingClient(net, 'node2')];
    net.exec('a', process.execPath, '-e', LOOK_UP);
    for (const [node, ofEach] of [
      [asking, 4],
      [answering, 2],
    ] as const) {
      const { flowEntries } = await node.ask('state');
      // On a slow machine the first of them have been closed by now.
      const open = LOOKUPS - closed(node).length;
      t.diagnostic(`${flowEntries} entries of ${open} lookups`);
      assert.equal(flowEntries, open * ofEach);
    }
    await untilHolds('all is told, at all hooks', () => {
      const packets = asking.packets().filter(isUdp);
      assert.equal(packets.length, LOOKUPS * 2);
      for (const packet of packets) assert.equal(way(packet), packet.dst.ip === SERVICE ? OUT : BACK, JSON.stringify(packet));
      assert.equal(answering.packets().filter(isUdp).length, LOOKUPS * 2);
      for (const packet of answering.packets()) assert.equal(packet.hops.length, 4, way(packet));
    });
    for (const node of [asking, answering]) {
      await until('nothing is in the table', async () => (await node.ask('state')).flowEntries === 0, 12_000);
      t.diagnostic(JSON.stringify(closed(node)[0]));
      assert.equal(closed(node).length, LOOKUPS);
      for (const flow of closed(node)) assert.equal(flow.packets.reply, 1, JSON.stringify(flow));
      const { stats } = await node.close();
      assert.ok(isAccounted(stats), JSON.stringify(stats));
      assert.deepEqual([stats.lostRing, stats.cut, stats.uncounted], [0, 0, 0]);
    }
  });

  test('tells an answer whose connection has become another one’s from its pod’s interface on, although its flow is busy at each hook', async () => {
    const at = '10.96.0.20';
    const rule = ['PREROUTING', '-d', at, '-p', 'udp', '-j', 'DNAT', '--to', CLIENT];
    net.exec('node1', 'iptables', '-t', 'nat', '-A', ...rule);
    net.ip('node2', `route add ${at}/32 via 10.244.1.0 dev flannel.1 onlink`);
    await net.serve('a');
    const node = await followingClient(net, 'node1', { serviceAddresses: [{ ip: at, port: 5353, proto: 'udp' }] });
    const ask = (to: string, n: number) => net.exec('c', ...datagrams(SERVER, to, 5353, n));
    const answers = () =>
      node.packets().filter(({ proto, src, hops }) => proto === 'udp' && src.ip === CLIENT && hops.length > 0);
    ask(CLIENT, 50);
    await untilHolds('the first answer is told', () => assert.deepEqual(answers().map(way), [OUT]));
    net.exec('node1', 'conntrack', '-D', '-p', 'udp', '--orig-src', SERVER);
    ask(at, 50);
    await untilHolds('an answer by the Service’s address is told', () => {
      const translated = answers().filter(({ nat = [] }) => nat.length > 0);
      // The bridge may have only counted it. Where it leaves in the tunnel it has neither a conntrack entry nor the addresses that one would have for it.
      assert.match(translated.map(way).join('; '), /^veth-a in, (cni0 in, )?flannel\.1 out$/);
      assert.deepEqual(
        translated[0]?.nat?.map(({ kind, after }) => [kind, after.ip]),
        [['dnat', at]],
      );
    });
    const { stats } = await node.close();
    assert.ok(isAccounted(stats), JSON.stringify(stats));
  });

  test('has a flow told again at every hook when a follower asks for something else, and then no more', async () => {
    const node = await followingClient(net, 'node1');
    const send = (n: number, port = 9) => net.exec('a', ...datagrams(CLIENT, SERVER, port, n));
    const told = () => node.packets().filter(({ dst, hops }) => dst.port === 9 && hops.length > 0);
    send(5);
    await untilHolds('the first is told', () => assert.deepEqual(told().map(way), [OUT]));
    await node.ask({ filter: 'inner udp or inner icmp' });
    send(5);
    await untilHolds('one more is told', () => assert.deepEqual(told().map(way), [OUT, OUT]));
    send(5);
    send(1, 10);
    await untilHolds('a later one is told', () => assert.ok(node.packets().some(({ dst }) => dst.port === 10)));
    const { stats } = await node.ask('state');
    assert.ok(isAccounted(stats), JSON.stringify(stats));
    assert.equal(told().length, 2);
    await node.close();
  });
});
