import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { FlowEvent, PacketEvent } from '../../../../src/event/types.ts';
import { before } from '../../../support/evidence.ts';
import { until, untilHolds } from '../../../support/until.ts';
import { isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { bridgedNodes, type Net, twoNodes } from '../../support/net.ts';
import { type NodeOptions, TracedNode, way } from '../../support/traced-node.ts';

const [CLIENT, SERVER, SERVICE] = ['10.244.1.2', '10.244.2.2', '10.96.0.10'];
const LOOKUPS = 100;
const OUT = 'veth-a in, cni0 in, flannel.1 out, eth0 out';
const BACK = 'eth0 in, flannel.1 in, cni0 out, veth-a out';

/** From ports of their own (the kernel may give one twice), one after the other; each waits for its answer. */
const LOOK_UP = `const { createSocket } = require('node:dgram');
  const next = (n) => {
    if (n === 0) return;
    const socket = createSocket('udp4', () => socket.close(() => next(n - 1)));
    socket.bind(40000 + n, () => socket.send('lookup ' + n, 53, '${SERVICE}'));
  };
  next(${LOOKUPS});`;

/** Fewer in the VM, whose processor is emulated: there the tests are plain JavaScript. */
const CONNECTIONS = import.meta.url.endsWith('.ts') ? 10_000 : 500;
/** More than two segments. */
const CONNECTION_BYTES = 4000;

/** So many connections, a hundred at a time, from ports of their own, each of which sends this much and waits until it has come back. */
const CONNECT = `const { connect } = require('node:net');
  let left = ${CONNECTIONS};
  const next = () => {
    if (left-- <= 0) return;
    let came = 0;
    const socket = connect({ port: 8080, host: '${SERVER}', localPort: 20000 + left }, () => socket.write(Buffer.alloc(${CONNECTION_BYTES}, 'x')));
    socket.on('data', (bytes) => { came += bytes.length; if (came === ${CONNECTION_BYTES}) socket.end(); });
    socket.on('close', next);
  };
  for (let at = 0; at < 100; at++) next();`;

/** So many from one port. */
const datagrams = (from: string, to: string, port: number, n: number) => [
  ...['perl', '-MSocket', '-e'],
  `socket(my $s, AF_INET, SOCK_DGRAM, 0); bind($s, sockaddr_in(40055, inet_aton('${from}'))) or die $!;
  for (1 .. ${n}) { send($s, 'x' x $_, 0, sockaddr_in(${port}, inet_aton('${to}'))) or die $!; }`,
];

const isFlow = (event: { kind: string }): event is FlowEvent => event.kind === 'flow';

suite('the table of flows, where a packet passes four interfaces of a node', { skip: SKIP }, () => {
  let net: Net;
  before(async () => {
    net = bridgedNodes();
    const rule = (...args: string[]) => net.exec('node1', 'iptables', '-t', 'nat', '-A', 'PREROUTING', '-d', SERVICE, ...args);
    rule('-p', 'udp', '--dport', '53', '-j', 'DNAT', '--to', `${SERVER}:5353`);
    await net.serve('c');
  });
  after(() => net?.close());

  const following = (node: string, more: Partial<NodeOptions> = {}) =>
    TracedNode.following(net, {
      node,
      addresses: [CLIENT],
      ringBytes: 16 << 20,
      serviceAddresses: [{ ip: SERVICE, port: 53, proto: 'udp' }],
      ...more,
    });
  const closed = (node: TracedNode) => node.events.filter(isFlow).filter(({ state }) => state === 'close');
  const isUdp = ({ proto }: PacketEvent) => proto === 'udp';

  test('has four entries of a lookup through a Service, and two on the server’s node, and none a few seconds later; all hooks tell', async (t) => {
    const [asking, answering] = [await following('node1'), await following('node2')];
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

  test('counts a connection’s packets once, and on both nodes the same', async (t) => {
    const nodes = [await following('node1'), await following('node2')];
    assert.ok(
      net.try('a', `exec 3<>/dev/tcp/${SERVER}/8080; head -c 500000 /dev/zero >&3; head -c 500000 <&3 > /dev/null; exec 3>&-`),
    );
    const counted = await Promise.all(
      nodes.map((node) =>
        until('its end', () =>
          node.events.filter(isFlow).find(({ state, proto, dst }) => state === 'close' && proto === 'tcp' && dst.port === 8080),
        ),
      ),
    );
    t.diagnostic(JSON.stringify(counted.map(({ packets, bytes }) => ({ packets, bytes }))));
    assert.deepEqual(counted[0]?.packets, counted[1]?.packets);
    assert.ok(counted[0]!.packets.request > 500_000 / 1500 && counted[0]!.packets.request < 2000);
    assert.ok(counted[0]!.bytes.request > 500_000 && counted[0]!.bytes.request < 700_000);
    for (const node of nodes) await node.close();
  });

  test('counts thousands of connections in VXLAN, their segments merged, on both nodes the same', async (t) => {
    const nodes = [
      await following('node1', { ringBytes: 64 << 20, flowEntries: 262_144 }),
      await following('node2', { ringBytes: 64 << 20, flowEntries: 262_144 }),
    ];
    const client = net.spawn('a', [process.execPath, '-e', CONNECT]);
    assert.equal(await new Promise((resolve) => client.once('exit', resolve)), 0);
    const ended = (node: TracedNode) =>
      new Map(closed(node).flatMap((flow) => (flow.proto === 'tcp' && flow.dst.port === 8080 ? [[flow.src.port, flow]] : [])));
    for (const node of nodes) {
      await until(
        'all have ended',
        async () => ended(node).size === CONNECTIONS || (await node.ask('state')).stats.lostRing > 0,
        90_000,
      );
    }
    const [asking, answering] = nodes.map(ended) as [ReturnType<typeof ended>, ReturnType<typeof ended>];
    let compared = 0;
    for (const [port, { packets, bytes }] of asking) {
      assert.ok(bytes.request > CONNECTION_BYTES && bytes.reply > CONNECTION_BYTES, JSON.stringify(bytes));
      const other = answering.get(port);
      if (other === undefined) continue;
      assert.deepEqual([other.packets, other.bytes], [packets, bytes]);
      compared += 1;
    }
    const lost = await Promise.all(nodes.map(async (node) => (await node.ask('state')).stats.lostRing));
    t.diagnostic(`${compared} of ${CONNECTIONS} held against each other; lost ${lost}`);
    if (lost.every((count) => count === 0)) assert.equal(compared, CONNECTIONS);
    assert.ok(compared > 0);
    for (const node of nodes) assert.ok(isAccounted((await node.close()).stats));
  });

  test('tells an answer whose connection has become another one’s from its pod’s interface on, although its flow is busy at each hook', async () => {
    const at = '10.96.0.20';
    const rule = ['PREROUTING', '-d', at, '-p', 'udp', '-j', 'DNAT', '--to', CLIENT];
    net.exec('node1', 'iptables', '-t', 'nat', '-A', ...rule);
    net.ip('node2', `route add ${at}/32 via 10.244.1.0 dev flannel.1 onlink`);
    await net.serve('a');
    const node = await following('node1', { serviceAddresses: [{ ip: at, port: 5353, proto: 'udp' }] });
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
    const node = await following('node1');
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

suite('a pod that sends under another one’s address', { skip: SKIP }, () => {
  const [A, C, UPLINK] = ['10.9.1.2', '10.9.2.2', '192.168.77.1'];
  let net: Net;
  before(async () => {
    net = twoNodes();
    net.ip('b', `addr add ${A}/32 dev lo`);
    await Promise.all([net.serve('c'), net.serve('node1')]);
  });
  after(() => net?.close());

  for (const [what, from, address, port, to, answers] of [
    // The answer to the forged one as well goes to whose the address is.
    ['comes in from another node to this one', 'c', C, 40_056, UPLINK, 8],
    // The kernel takes nothing in that says it is from itself.
    ['the node sends', 'node1', UPLINK, 40_057, C, 7],
  ] as const) {
    test(`does not stop the counts of what ${what}`, async () => {
      const node = await TracedNode.following(net, { node: 'node1', addresses: [address] });
      net.ip('b', `addr add ${address}/32 dev lo`);
      const send = (sender: string, n: number) =>
        net.exec(
          sender,
          'perl',
          '-MSocket',
          '-e',
          `socket(my $s, AF_INET, SOCK_DGRAM, 0); bind($s, sockaddr_in(${port}, inet_aton('${address}'))) or die $!;
          for (1 .. ${n}) { send($s, 'x' x $_, 0, sockaddr_in(5353, inet_aton('${to}'))) or die $!; }`,
        );
      send(from, 3);
      send('b', 1);
      send(from, 4);
      net.ip('b', `addr del ${address}/32 dev lo`);
      const flow = await until(
        'the flow is told with its counts',
        () => node.events.filter(isFlow).find(({ state, src }) => state === 'update' && src.port === port),
        20_000,
      );
      assert.deepEqual(flow.packets, { request: 7, reply: answers });
      const { stats } = await node.close();
      assert.ok(isAccounted(stats), JSON.stringify(stats));
    });
  }

  test('hides nothing of that pod’s flow, whoever was first, and is not counted into it', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: [A] });
    const send = (pod: string, n: number) => net.exec(pod, ...datagrams(A, C, 5353, n));
    const ways = () =>
      node
        .packets()
        .filter(({ dst, hops }) => dst.port === 5353 && hops.length > 0)
        .map(way);
    send('b', 5);
    await untilHolds('its first is told', () => assert.deepEqual(ways(), ['veth-b in, eth0 out']));
    send('a', 3);
    await untilHolds('so is the other’s, where it was not seen yet', () =>
      assert.deepEqual(ways(), ['veth-b in, eth0 out', 'veth-a in']),
    );
    send('b', 2);
    send('a', 2);
    await untilHolds('the flow is told with its counts', () => {
      const flow = node.events.filter(isFlow).findLast(({ state, dst }) => state === 'update' && dst.port === 5353);
      assert.deepEqual(flow?.packets, { request: 5, reply: 12 });
    });
    assert.equal(ways().length, 2, 'nothing was new any more');
    const { stats, flowEntries } = await node.ask('state');
    assert.equal(flowEntries, 3, 'the second interface’s is one of its own');
    assert.ok(isAccounted(stats), JSON.stringify(stats));
    await node.close();
  });
});
