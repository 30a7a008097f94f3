import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { addressOf } from '../../../../src/agent/kernel/address-bits.ts';
import { INTERFACE, POD_CUT, POD_CUT_STATE } from '../../../../src/event/layout.ts';
import type { PacketEvent } from '../../../../src/event/types.ts';
import { u32 } from '../../../../src/native/bytes.ts';
import { before } from '../../../support/evidence.ts';
import { until, untilHolds } from '../../../support/until.ts';
import { Bench, followed, isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { ethernet, IPV4, ipv4, udp } from '../../support/packets.ts';
import { TracedNode } from '../../support/traced-node.ts';

/** Pod a floods c, which is on the other node; b is a's neighbour. */
const [A, B, C] = ['10.9.1.2', '10.9.1.3', '10.9.2.2'];
/** In the VM, whose processor is emulated, the tests are plain JavaScript. */
const IS_EMULATED = !import.meta.url.endsWith('.ts');
const FLOOD = IS_EMULATED ? 2000 : 20_000;
const POD_RATE = 200;
/** Half of it is full before the flood is read; the rest has room for what the usual rate lets in at once. */
const RING_BYTES = 128 << 10;
/** What is sent beside the flood, slowly: less than the usual rate of one flow, a quarter of its pod's. */
const TALKS = 10;
const FLOOD_PORT = 4000;
const LOOPBACK = 1;

suite('every packet of a pod that floods another', { skip: SKIP }, () => {
  let net: Net;
  before(() => {
    net = twoNodes();
    // Nobody answers them, and nobody says so.
    net.exec('c', 'sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0', 'net.ipv4.icmp_ratemask=0');
    net.exec('c', 'iptables', '-A', 'INPUT', '-p', 'udp', '-j', 'DROP');
  });
  after(() => net?.close());

  test('is told while there is room, each whole; the rest is cut where it comes in, counted, and told as lost', async (t) => {
    const node = await TracedNode.following(net, {
      node: 'node1',
      addresses: [A],
      units: 'packets',
      podRate: POD_RATE,
      ringBytes: RING_BYTES,
    });
    const script = `use Time::HiRes 'sleep'; my $to = sockaddr_in(9, inet_aton('${C}'));
      sub from { socket(my $s, AF_INET, SOCK_DGRAM, 17) or die $!; bind($s, sockaddr_in($_[0], INADDR_ANY)) or die $!; $s }
      my ($flood, $talk) = (from(${FLOOD_PORT}), from(${FLOOD_PORT + 1}));
      send($talk, "hello", 0, $to); sleep 0.2;
      for my $n (1 .. ${FLOOD}) { send($flood, pack('N', $n), 0, $to); send($talk, pack('n', $n), 0, $to) if $n % ${FLOOD / TALKS} == 0; }`;
    net.exec('a', 'perl', '-MSocket', '-e', script);
    const sent = FLOOD + TALKS + 1;
    // In at the pod's interface and out at the uplink, each of them told or cut: none is only counted.
    const stats = await untilHolds('everything is read, and what was cut told', async () => {
      const { stats, counts } = await node.ask('state');
      const lost = node.events.reduce((sum, event) => sum + (event.kind === 'lost' ? event.count : 0), 0);
      const { matched, emitted, cut, counted, lostRing } = stats;
      assert.deepEqual([matched, emitted + cut, counted, lostRing], [2 * sent, 2 * sent, 0, 0], JSON.stringify(stats));
      assert.deepEqual([counts.sightings, lost], [emitted, cut]);
      return stats;
    });
    t.diagnostic(JSON.stringify(stats));
    assert.ok(isAccounted(stats), JSON.stringify(stats));
    await untilHolds('what was not cut is told', () => {
      const told = node.packets().filter(({ src }) => src.ip === A);
      assert.equal(told.length * 2, stats.emitted);
      for (const { hops } of told) assert.equal(hops.length, 2, JSON.stringify(hops));
      const of = (port: number) => told.filter(({ src }: PacketEvent) => src.port === port).length;
      assert.equal(of(FLOOD_PORT + 1), TALKS + 1, 'the other flow of the pod is told to the last packet');
      assert.ok(of(FLOOD_PORT) > 0 && of(FLOOD_PORT) < FLOOD / 2, `${of(FLOOD_PORT)} of the flood`);
    });
    const { attached } = await node.close();
    assert.equal(attached, 0);
  });
});

suite('a pod whose every packet is asked for', { skip: SKIP }, () => {
  /**
   * `unread`: more than half of the ring takes; sent within two seconds, or the pod goes on at its usual rate to fill a ring that is not read. `again`: less than
   * that, and more than the usual rate lets in at once.
   */
  const { rate, ringBytes, unread, others, again } = IS_EMULATED
    ? { rate: 200, ringBytes: 256 << 10, unread: 1200, others: 40, again: 300 }
    : { rate: 2000, ringBytes: 1 << 20, unread: 20_000, others: 80, again: 1000 };

  test('leaves others a part of the ring when nobody reads it fast enough, and a while later has all that is read again', async () => {
    const sets = [followed([A]), followed([C], { wantsEveryPacket: false })];
    const bench = new Bench(sets, [], { podRate: rate, ringBytes });
    bench.tracer.object.mapUpdate('interfaces', u32(LOOPBACK), Buffer.concat([u32(INTERFACE.uplink), u32(0)]));
    const udpTo = (dst: string, sport: number) => ipv4({ src: B, dst, proto: 17 }, udp({ sport, dport: 9 }));
    // The ring is not read in between.
    const send = (packet: Uint8Array) => bench.tracer.object.testRun('ktrace_in', ethernet(IPV4, packet), LOOPBACK);
    try {
      for (let n = 0; n < unread; n++) send(udpTo(A, 4000));
      const { emitted, cut, lostRing } = bench.stats();
      for (let n = 0; n < others; n++) send(udpTo(C, 5000 + n));
      const all = bench.stats();
      assert.deepEqual([lostRing, all.lostRing], [0, 0]);
      assert.equal(all.emitted, emitted + others);
      assert.equal(emitted + cut, unread);
      assert.ok(cut > 0);
      assert.ok(isAccounted(all), JSON.stringify(all));
      const told = bench.take();
      assert.equal(told.filter(({ tuple }) => tuple.dst === C).length, others);
      await until('what has been read makes room for every packet again', () => {
        bench.take();
        const before = bench.stats().emitted;
        for (let n = 0; n < again; n++) send(udpTo(A, 4000));
        return bench.stats().emitted === before + again || undefined;
      });
      assert.ok(isAccounted(bench.stats()), JSON.stringify(bench.stats()));
    } finally {
      bench.close();
    }
  });
});

suite('a packet that is cut without a closer look', { skip: SKIP }, () => {
  const SENT = 1000;
  /** The kernel's number of an address, `bit_of` in bpf/packet/address.h, in the part of `pod_cuts` that has them. */
  const POD_CUTS = 1024;
  const placeOf = (ip: string) => POD_CUTS + (addressOf(ip).bit & (POD_CUTS - 1));

  for (const { kind, followedEnd, place } of [
    { kind: 'pod', followedEnd: A, place: LOOPBACK },
    { kind: 'uplink', followedEnd: A, place: placeOf(A) },
    { kind: 'uplink', followedEnd: C, place: placeOf(C) },
  ] as const) {
    const whose = kind === 'pod' ? 'the pod whose interface it is' : `the followed end, ${followedEnd}`;
    test(`at ${kind === 'pod' ? 'a pod’s interface' : 'an uplink'} is charged to ${whose}; with a filter each is looked at, and the rate has it`, () => {
      const bench = new Bench([followed([followedEnd])], [], { podRate: POD_RATE, ringBytes: RING_BYTES });
      const packet = ethernet(IPV4, ipv4({ src: A, dst: C, proto: 17 }, udp({ sport: FLOOD_PORT, dport: 9 })));
      const send = () => bench.tracer.object.testRun('ktrace_in', packet, LOOPBACK);
      const chargedAt = (at: number) => Number(bench.tracer.podCuts().readBigUInt64LE(at * POD_CUT.size + POD_CUT.cut));
      try {
        bench.tracer.object.mapUpdate('interfaces', u32(LOOPBACK), Buffer.concat([u32(INTERFACE[kind]), u32(0)]));
        // The ring is not read in between.
        for (let n = 0; n < SENT; n++) send();
        const { cut, emitted, counted } = bench.stats();
        assert.deepEqual([emitted + cut, counted], [SENT, 0]);
        const charged = chargedAt(place);
        assert.ok(charged > SENT / 2 && charged <= cut, `${charged} of ${cut} were charged`);
        const of = bench.tracer.podCuts().subarray(place * POD_CUT.size, (place + 1) * POD_CUT.size);
        assert.equal(of.readUInt32LE(POD_CUT.ifindex), kind === 'pod' ? LOOPBACK : 0);
        if (kind === 'uplink') {
          assert.equal(of.readUInt32LE(POD_CUT.state), POD_CUT_STATE.address);
          assert.deepEqual(new Uint8Array(of.subarray(POD_CUT.address, POD_CUT.address + 16)), addressOf(followedEnd).bytes);
        }
        bench.tracer.object.setGlobal('filter_is_set', u32(1));
        for (let n = 0; n < SENT; n++) send();
        assert.equal(chargedAt(place), charged);
        assert.ok(bench.stats().cut > cut + SENT / 2);
        // Refused again and again it has its usual rate all the same.
        const told = bench.stats().emitted;
        const untilMs = performance.now() + 10_000;
        while (bench.stats().emitted === told && performance.now() < untilMs) send();
        assert.ok(bench.stats().emitted > told, 'one more is told');
        assert.ok(isAccounted(bench.stats()), JSON.stringify(bench.stats()));
      } finally {
        bench.close();
      }
    });
  }
});
