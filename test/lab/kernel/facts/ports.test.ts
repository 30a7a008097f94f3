import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { after, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { kernelTargets } from '../../../../src/agent/pipeline/follow-set.ts';
import { INTERFACE } from '../../../../src/event/layout.ts';
import { u32, u64 } from '../../../../src/native/bytes.ts';
import { addressBytes } from '../../../../src/util/address.ts';
import { before } from '../../../support/evidence.ts';
import { untilHolds } from '../../../support/until.ts';
import { Bench, followed, isAccounted, LOOPBACK } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { ethernet, IPV4, ipv4, udp } from '../../support/packets.ts';
import { TracedNode } from '../../support/traced-node.ts';

const POD = '10.9.1.2';
const UPLINK = '192.168.77.1';
const UPLINK6 = 'fd00:77::1';
const WORLD = '192.168.77.2';
/** Spans of 0.27 s: a port is forgotten 1.1 to 1.4 s after its last packet. */
const SPAN_SHIFT = 28;

/** Sends a datagram to whom the last one came from, or to this address, when it is told to; tells of each that comes. */
const END = `const [port, to] = process.argv.slice(1);
  const socket = require('node:dgram').createSocket('udp4');
  let last = to;
  socket.on('message', (bytes, from) => { last ??= from.address + ' ' + from.port; process.send('came'); });
  socket.bind(Number(port), () => process.send('ready'));
  process.on('message', () => { const [ip, port] = last.split(' '); socket.send('x', Number(port), ip); });`;

suite('what comes in to the node’s own addresses', { skip: SKIP }, () => {
  let net: Net;
  let node: TracedNode;
  before(async () => {
    net = twoNodes();
    net.ip('node1', `addr add ${UPLINK6}/64 dev eth0 nodad`);
    net.ip('node2', `addr add fd00:77::2/64 dev eth0 nodad`);
    net.exec('node1', 'iptables', '-t', 'nat', '-A', 'POSTROUTING', '-s', '10.9.1.0/24', '-o', 'eth0', '-j', 'MASQUERADE');
    await net.serve('node2');
    node = await TracedNode.following(net, {
      node: 'node1',
      addresses: [POD],
      serviceAddresses: [
        { ip: UPLINK, port: 30_080, proto: 'tcp' },
        { ip: UPLINK6, port: 30_053, proto: 'udp' },
      ],
      portSpanShift: SPAN_SHIFT,
      probes: 'none',
    });
  });
  after(() => net?.close());

  const stats = async () => (await node.ask('state')).stats;
  /** What the kernel side looked at meanwhile: of no follower, and of one. */
  const looked = async (work: () => unknown) => {
    const was = await stats();
    await work();
    const is = await stats();
    return { unmatched: is.unmatched - was.unmatched, matched: is.matched - was.matched };
  };

  for (const [what, command] of [
    ['datagrams', `for n in {1..200}; do echo x > /dev/udp/${UPLINK}/4010; done 2> /dev/null; true`],
    ['datagrams over IPv6', `for n in {1..200}; do echo x > /dev/udp/${UPLINK6}/4010; done 2> /dev/null; true`],
  ] as const) {
    test(`is not looked at closer: ${what}`, async () => {
      const { unmatched, matched } = await looked(() => net.try('node2', command));
      assert.ok(unmatched < 100, `${unmatched} of 200 were looked at closer`);
      assert.equal(matched, 0);
    });
  }

  test('is not looked at closer: what the node fetches', async () => {
    const fetch = `exec 3<>/dev/tcp/${WORLD}/8080; for n in {1..200}; do echo hello >&3; read -r line <&3; done`;
    const { unmatched, matched } = await looked(() => assert.ok(net.try('node1', fetch)));
    assert.ok(unmatched < 100, `${unmatched} of at least 200 were looked at closer`);
    assert.equal(matched, 0);
  });

  test('is not looked at closer: what a pod that nobody follows fetches behind the node’s address, on either way', async () => {
    const fetch = `exec 3<>/dev/tcp/${WORLD}/8080; for n in {1..200}; do echo hello >&3; read -r line <&3; done`;
    const { unmatched, matched } = await looked(() => assert.ok(net.try('b', fetch)));
    assert.ok(unmatched < 100, `${unmatched} of at least 200 were looked at closer`);
    assert.equal(matched, 0);
  });

  test('is looked at where it comes to a Service’s port', async () => {
    for (const to of [`tcp/${UPLINK}/30080`, `udp/${UPLINK6}/30053`]) {
      const { matched } = await looked(() => net.try('node2', `echo x > /dev/${to}`));
      assert.ok(matched > 0, to);
    }
  });

  test('is looked at where it is an answer to a followed pod, as long as its connection has packets', async () => {
    const ends = [
      ['node2', '4014'],
      ['a', '4015', `${WORLD} 4014`],
    ].map(([name = '', ...args]) => net.spawn(name, [process.execPath, '-e', END, ...args]));
    await Promise.all(ends.map(said));
    const [world, pod] = ends as [ChildProcess, ChildProcess];
    const send = async (from: ChildProcess, to: ChildProcess) => {
      const came = said(to);
      from.send('');
      await came;
    };
    const matched = async (from: ChildProcess, to: ChildProcess) => (await looked(() => send(from, to))).matched;
    const isSeenWhole = () =>
      untilHolds(
        'question and answer are counted at the pod’s interface and at the uplink',
        async () => assert.deepEqual([await matched(pod, world), await matched(world, pod)], [2, 2]),
        // Sooner than spans' numbers wrap.
        10_000,
      );
    await isSeenWhole();
    await delay(1500);
    assert.equal(await matched(world, pod), 1, 'nothing came for so long that the port is forgotten at the uplink');
    await isSeenWhole();
    assert.ok(isAccounted(await stats()));
  });
});

suite('a port that a translation was remembered under', { skip: SKIP }, () => {
  const SERVER = '10.9.1.3';
  const PORT = 61_000;
  const flows = (...addresses: string[]) => followed(addresses, { wantsEveryPacket: false, wantsBytes: false });
  let bench: Bench;
  before(() => {
    bench = new Bench(flows(POD), [UPLINK]);
  });
  after(() => bench?.close());

  /** Spans of 69 s: their numbers are the same for as long as a test takes. */
  const spanNow = () => Number((process.hrtime.bigint() >> 36n) & 0x7fn);
  const seenAt = (port: number) => bench.tracer.object.getGlobal('port_seen')[port];
  const setSeen = (span: number) => {
    const seen = Buffer.from(bench.tracer.object.getGlobal('port_seen'));
    seen[PORT] = 0x80 | (span & 0x7f);
    bench.tracer.object.setGlobal('port_seen', seen);
  };
  const datagram = (src: string, sport: number, dst: string, dport: number) =>
    ethernet(IPV4, ipv4({ src, dst, proto: 17 }, udp({ sport, dport }, Buffer.alloc(40))));
  const setKind = (kind: number) =>
    bench.tracer.object.mapUpdate('interfaces', u32(LOOPBACK), Buffer.concat([u32(kind), u32(0)]));
  /** What the followed pod asked a port of the node, which asked the server's in its own name, so long ago. */
  const remember = (serverPort: number, ageS: number) => {
    const asked = tupleBytes(POD, 4000, UPLINK, 30_080);
    const answered = tupleBytes(SERVER, serverPort, UPLINK, PORT);
    const [confirmedAndTranslated, isReply] = [0x38, 1];
    bench.tracer.object.mapUpdate(
      'remembered',
      Buffer.concat([answered, u32(17)]),
      Buffer.concat([
        asked,
        answered,
        u64(process.hrtime.bigint() - BigInt(ageS) * 1_000_000_000n),
        u32(confirmedAndTranslated),
        u32(isReply),
      ]),
    );
  };
  const change = (work: () => unknown) => {
    const was = bench.stats();
    work();
    const is = bench.stats();
    return { emitted: is.emitted - was.emitted, counted: is.counted - was.counted, unmatched: is.unmatched - was.unmatched };
  };
  const come = (packet: Buffer) => change(() => bench.run('ktrace_in', packet, LOOPBACK));

  for (const [when, after, isLookedAt] of [
    ['in the next span, by a clock that is ahead of the coarse one', 1, true],
    ['now', 0, true],
    ['three spans ago', -3, true],
    ['four spans ago', -4, false],
    ['in a span that cannot have come yet', 2, false],
  ] as const) {
    test(`is ${isLookedAt ? '' : 'not '}looked at when that was ${when}`, () => {
      setSeen(spanNow() + after);
      assert.equal(come(datagram(WORLD, 53, UPLINK, PORT)).unmatched, isLookedAt ? 1 : 0);
    });
  }

  test('is kept by what is only counted, also at a pod’s interface: a server that is not followed answers the node', () => {
    bench.tracer.setUplinks([]);
    setKind(INTERFACE.pod);
    remember(8080, 0);
    setSeen(spanNow());
    const answer = datagram(SERVER, 8080, UPLINK, PORT);
    assert.deepEqual(come(answer), { emitted: 1, counted: 0, unmatched: 0 });
    setSeen(spanNow() - 3);
    assert.deepEqual(come(answer), { emitted: 0, counted: 1, unmatched: 0 });
    assert.equal(seenAt(PORT), 0x80 | spanNow());
  });

  test('is not every port of what a followed pod’s own address says', () => {
    setKind(INTERFACE.uplink);
    const question = datagram(WORLD, 4000, POD, 8080);
    assert.deepEqual([come(question).emitted, come(question).counted], [1, 1]);
    assert.equal(seenAt(8080), 0);
  });

  test('has its connection counted on when targets change, however long nothing of it was told', () => {
    bench.tracer.setUplinks([]);
    setKind(INTERFACE.pod);
    setSeen(spanNow());
    const answer = datagram(SERVER, 8081, UPLINK, PORT);
    remember(8081, 0);
    assert.equal(come(answer).emitted, 1);
    remember(8081, 31);
    bench.tracer.targets.set(kernelTargets([flows(POD, WORLD)], [UPLINK]));
    assert.deepEqual(come(answer), { emitted: 0, counted: 1, unmatched: 0 });
    remember(8082, 31);
    const unknown = datagram(SERVER, 8082, UPLINK, PORT);
    assert.deepEqual(come(unknown), { emitted: 0, counted: 0, unmatched: 1 }, 'of a connection that is not known it is too old');
  });
});

function tupleBytes(src: string, sport: number, dst: string, dport: number): Buffer {
  const ports = Buffer.alloc(4);
  ports.writeUInt16LE(sport, 0);
  ports.writeUInt16LE(dport, 2);
  return Buffer.concat([addressBytes(src)!, addressBytes(dst)!, ports]);
}

const said = (child: ChildProcess) => new Promise((resolve) => child.once('message', resolve));
