import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { PacketEvent } from '../../../../src/event/types.ts';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { bridgedNodes, type Net } from '../../support/net.ts';
import { TracedNode, way } from '../../support/traced-node.ts';

const CLIENT = '10.244.1.2';
const SERVER = '10.244.2.2';
const SERVICE = '10.96.0.10';
const GROUP = '224.0.0.251';
/** Of one segment, at most: 1500 bytes without the headers. */
const SEGMENT_BYTES = 1448;
/** At most, besides time stamps: acknowledgements of parts. */
const MORE_OPTIONS = 40;
const OUT = 'veth-a in, cni0 in, flannel.1 out, eth0 out';
const BACK = 'eth0 in, flannel.1 in, cni0 out, veth-a out';

/**
 * One packet, one record, whatever the kernel does with its sk_buff on the node: reuses it for the next packet, clones it, grows its head for a
 * tunnel, merges and splits segments, sends the same bytes once more.
 */
suite('a packet’s identity on a node', { skip: SKIP }, () => {
  let net: Net;
  before(async () => {
    net = bridgedNodes();
    const rule = (...args: string[]) => net.exec('node1', 'iptables', '-t', 'nat', '-A', ...args);
    rule('PREROUTING', '-d', SERVICE, '-p', 'udp', '--dport', '53', '-j', 'DNAT', '--to', `${SERVER}:5353`);
    rule('PREROUTING', '-d', SERVICE, '-p', 'tcp', '--dport', '80', '-j', 'DNAT', '--to', `${SERVER}:8080`);
    await net.serve('c');
  });
  after(() => net.close());

  const following = () =>
    TracedNode.following(net, {
      node: 'node1',
      addresses: [CLIENT],
      units: 'packets',
      ringBytes: 16 << 20,
      serviceAddresses: [
        { ip: SERVICE, port: 53, proto: 'udp' },
        { ip: SERVICE, port: 80, proto: 'tcp' },
      ],
    });

  /** One of the counters of a pod's own kernel side. */
  const counted = (pod: string, counter: string): number =>
    Number(/ (\d+)/.exec(net.exec(pod, 'nstat', '-asz', counter).split('\n')[1] ?? '')?.[1]);
  /** Segments that the pod has sent more than once: a slow machine's acknowledgements may come too late. */
  const retransmitted = (pod: string): number => counted(pod, 'TcpRetransSegs');

  /** Ends it, and holds it to have lost nothing and to have cut no record short. */
  async function closed(node: TracedNode): Promise<void> {
    const { stats, counts, malformed, misses } = await node.close();
    const { cut, lostRing, lostScratch } = stats;
    assert.deepEqual(
      { cut, lostRing, lostScratch, malformed, misses, evicted: counts.evicted },
      { cut: 0, lostRing: 0, lostScratch: 0, malformed: 0, misses: 0, evicted: 0 },
    );
  }

  /** Waits until there are so many, and then until there are no more. */
  async function packets(node: TracedNode, count: number, is: (packet: PacketEvent) => boolean): Promise<PacketEvent[]> {
    await until(`${count} packets`, () => node.packets().filter(is).length >= count).catch((error: Error) => {
      throw new Error(`${error.message}; told were ${node.packets().filter(is).length}`);
    });
    await node.ask('unfollow');
    return node.packets().filter(is);
  }

  const send = (count: number, to: { ip: string; port: number }, payload: string) =>
    net.exec(
      'a',
      process.execPath,
      '-e',
      `const socket = require('node:dgram').createSocket('udp4');
      const next = (n) => n < ${count} ? socket.send(${payload}, ${to.port}, '${to.ip}', () => next(n + 1)) : socket.close();
      socket.bind(40053, () => next(0));`,
    );

  test('is kept through NAT, the bridge and the tunnel, and a reused sk_buff is another packet: a thousand datagrams and their answers', async () => {
    const node = await following();
    const [answeredBefore, unreadBefore] = [counted('c', 'UdpOutDatagrams'), counted('c', 'UdpInErrors')];
    send(1000, { ip: SERVICE, port: 53 }, "'datagram ' + n");
    // One that is on its way when following ends is told with the hops that it had.
    const isAnswer = ({ proto, src, dst }: PacketEvent) => proto === 'udp' && src.ip === SERVER && dst.ip === CLIENT;
    const answered = await until('all questions are answered, or found no room in their socket', () => {
      const count = counted('c', 'UdpOutDatagrams') - answeredBefore;
      return count + counted('c', 'UdpInErrors') - unreadBefore === 1000 && count;
    });
    await until('all answers are told', () => node.packets().filter(isAnswer).length >= answered);
    const asked = await packets(node, 1000, ({ proto, dst }) => proto === 'udp' && dst.ip === SERVICE);
    assert.equal(asked.length, 1000);
    assert.equal(new Set(asked.map(({ fingerprint }) => fingerprint)).size, 1000);
    for (const packet of asked) assert.equal(way(packet), OUT, JSON.stringify(packet));
    for (const { nat } of asked)
      assert.deepEqual(
        nat?.map(({ kind, after: to }) => [kind, to.ip, to.port]),
        [['dnat', SERVER, 5353]],
      );
    const answers = node.packets().filter(isAnswer);
    assert.ok(answered > 0);
    assert.equal(answers.length, answered);
    for (const packet of answers) assert.equal(way(packet), BACK, JSON.stringify(packet));
    await closed(node);
  });

  test('is not what a packet carries: datagrams of the same bytes are as many records as were sent', async () => {
    const node = await following();
    // Not to be fragmented, so that not even their IP id differs: IP_MTU_DISCOVER is IP_PMTUDISC_DO.
    const script = `socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!;
      setsockopt($s, 0, 10, pack('i', 2)) or die $!;
      bind($s, sockaddr_in(40053, INADDR_ANY)) or die $!;
      for (1 .. 300) { send($s, 'the same', 0, sockaddr_in(9, inet_aton('${SERVER}'))) or die $!; }`;
    net.exec('a', 'perl', '-MSocket', '-e', script);
    const sent = await packets(node, 300, ({ proto, dst }) => proto === 'udp' && dst.ip === SERVER && dst.port === 9);
    assert.equal(sent.length, 300);
    assert.equal(new Set(sent.map(({ fingerprint }) => fingerprint)).size, 1);
    for (const packet of sent) assert.equal(way(packet), OUT, JSON.stringify(packet));
    await closed(node);
  });

  test('is new for every retransmission, whose bytes are in the same memory', async () => {
    const node = await following();
    // Answers get through, acknowledgements do not: what was sent is sent again.
    const withheld = ['FORWARD', '-s', SERVER, '-p', 'tcp', '--tcp-flags', 'SYN,ACK', 'ACK', '-j', 'DROP'];
    net.exec('node1', 'iptables', '-A', ...withheld);
    try {
      net.try('a', `exec 3<>/dev/tcp/${SERVICE}/80; echo hello >&3; sleep 2`);
    } finally {
      net.exec('node1', 'iptables', '-D', ...withheld);
    }
    const isHello = ({ proto, dst, tcp, len }: PacketEvent) =>
      proto === 'tcp' && dst.ip === SERVICE && tcp?.flags.includes('P') === true && len > 52;
    const sent = await packets(node, 3, isHello);
    assert.equal(new Set(sent.map(({ tcp }) => tcp?.seq)).size, 1);
    for (const packet of sent) assert.equal(way(packet), OUT, JSON.stringify(packet));
    await closed(node);
  });

  test('is one for segments that travel as one, through the head’s growth at the tunnel', async () => {
    const node = await following();
    const bytes = 2_000_000;
    const before = retransmitted('a');
    net.exec(
      'a',
      process.execPath,
      '-e',
      `let left = ${bytes};
      const socket = require('node:net').connect(80, '${SERVICE}', () => socket.write(Buffer.alloc(${bytes})));
      socket.on('data', ({ length }) => { left -= length; if (left === 0) socket.end(); });`,
    );
    const isClose = ({ proto, dst, tcp }: PacketEvent) =>
      proto === 'tcp' && dst.ip === SERVICE && tcp?.flags.includes('F') === true;
    await packets(node, 1, isClose);
    const sent = node.packets().filter(({ proto, dst }) => proto === 'tcp' && dst.ip === SERVICE);
    for (const packet of sent) assert.equal(way(packet), OUT, JSON.stringify(packet));
    assert.ok(sent.some(({ segments = 1 }) => segments > 1));
    const first = (sent.find(({ tcp }) => tcp?.flags === 'S')?.tcp?.seq ?? 0) + 1;
    const told = bytesTold(sent, first, bytes);
    assert.equal(told.once, bytes);
    assert.ok(told.again <= (retransmitted('a') - before) * SEGMENT_BYTES, `${told.again} bytes are told twice`);
    const answers = node.packets().filter(({ proto, src }) => proto === 'tcp' && src.ip === SERVER);
    assert.ok(answers.length > 0);
    for (const packet of answers) assert.equal(way(packet), BACK, JSON.stringify(packet));
    await closed(node);
  });

  test('is one for the clones that a bridge floods', async () => {
    const node = await following();
    send(20, { ip: GROUP, port: 5353 }, "'to all ' + n");
    const sent = await packets(node, 20, ({ dst }) => dst.ip === GROUP);
    assert.equal(sent.length, 20);
    for (const packet of sent) {
      assert.equal(packet.hops[0]?.if, 'veth-a');
      assert.deepEqual(packet.hops.map((hop) => `${hop.if} ${hop.dir}`).sort(), [
        'cni0 in',
        'veth-a in',
        'veth-b out',
        'veth-d out',
      ]);
      const times = packet.hops.map(({ atNs }) => atNs);
      assert.deepEqual(
        times,
        [...times].sort((one, other) => one - other),
      );
    }
    await closed(node);
  });
});

/**
 * How many bytes of a stream of `bytes` are told, one record after the other from sequence number `first` on, and how many more than once.
 * The headers are 20 bytes of IP and 32 of TCP with its time stamps; what more there may be of TCP's options looks like data.
 */
function bytesTold(packets: readonly PacketEvent[], first: number, bytes: number): { once: number; again: number } {
  const parts = packets
    .map(({ tcp, len }) => ({ at: ((tcp?.seq ?? 0) - first) >>> 0, size: len - 52 }))
    .filter(({ size }) => size > 0)
    .sort((one, other) => one.at - other.at || other.size - one.size);
  let end = 0;
  let again = 0;
  for (const { at, size } of parts) {
    // An acknowledgement without data.
    if (size <= MORE_OPTIONS && (at !== end || end >= bytes)) continue;
    assert.ok(at <= end && at < bytes, `${size} bytes at ${at}, behind ${end}`);
    const overlap = Math.min(size, end - at);
    if (overlap > MORE_OPTIONS) again += overlap;
    end = Math.max(end, at + size);
  }
  return { once: Math.min(end, bytes), again };
}
