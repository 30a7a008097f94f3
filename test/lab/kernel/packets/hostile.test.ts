import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, afterEach, beforeEach, suite, test } from 'node:test';
import { addressOf, emptyBits, setBit } from '../../../../src/agent/kernel/address-bits.ts';
import { before } from '../../../support/evidence.ts';
import { fc } from '../../../support/fast-check.ts';
import { SEED } from '../../../support/seed.ts';
import { Bench, followed, isAccounted, LOOPBACK } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { ends, inUdp, NODE_ADDRESSES, NODES, POD, POD6, ports, router, TABLE } from '../../support/packet-table.ts';
import { ethernet, geneve, IPV4, IPV6, ipv4, ipv6, tcp, UNKNOWN, udp, vxlan } from '../../support/packets.ts';

const SERVICE = { ip: '10.96.0.10', port: 80, proto: 'tcp' as const };
const HOSTILE_PACKETS = 24_000;
/** Bytes that headers' fields are made of: what decides in a parser is more often hit by these than by chance. */
const TELLING = [0, 1, 4, 6, 17, 41, 43, 44, 51, 58, 60, 132, 135, 0x3f, 0x40, 0x45, 0x46, 0x4f, 0x60, 0x6f, 0x7f, 0x80, 0xff];

/** xorshift32: the same packets for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** A known packet that was cut, lengthened and changed in some bytes, or only chance. */
function hostilePacket(pick: (below: number) => number): Buffer {
  if (pick(8) === 0)
    return Buffer.from(Uint8Array.from({ length: pick(200) }, (_, n) => (n === 0 ? TELLING[13 + pick(7)]! : pick(256))));
  const known = TABLE[pick(TABLE.length)]![1];
  const length = pick(3) === 0 ? pick(known.length + 1) : known.length + (pick(4) === 0 ? pick(300) : 0);
  const packet = Buffer.alloc(length, pick(256));
  known.copy(packet);
  for (let changes = pick(6); changes > 0 && length > 0; changes--) {
    packet[pick(Math.min(length, 80))] = pick(2) === 0 ? TELLING[pick(TELLING.length)]! : pick(256);
  }
  return packet;
}

/** With the EtherType that belongs to it, where the kernel's test run takes it. */
function realFrame(l3: Buffer): Buffer | undefined {
  const version = (l3[0] ?? 0) >> 4;
  if (version === 4 && l3.length >= 20) return ethernet(IPV4, l3);
  if (version === 6 && l3.length >= 40) return ethernet(IPV6, l3);
  return undefined;
}

suite('hostile packets', { skip: SKIP }, () => {
  let bench: Bench;
  before(() => {
    const set = followed([POD, POD6], { serviceAddresses: [SERVICE] });
    bench = new Bench(set, NODE_ADDRESSES);
  });
  after(() => bench.close());

  test('are never an error, never read past their end, and each is accounted for', () => {
    const pick = random(SEED);
    let told = 0;
    let late = 0;
    for (let n = 0; n < HOSTILE_PACKETS; n++) {
      const l3 = hostilePacket(pick);
      const program = pick(2) === 0 ? 'body_in' : 'body_out';
      const seen = bench.run(program, ethernet(UNKNOWN, l3));
      // On its way out a packet may look like one that came in before, in the same sk_buff: then that goes first.
      const entered = program === 'body_out' ? seen.slice(0, -1) : [];
      assert.ok(entered.length <= 1 && seen.length - entered.length <= 1);
      for (const { hook, provisional, len } of entered)
        assert.deepEqual([hook, provisional, len], ['tc-in', true, seen.at(-1)?.len], `seed ${SEED}: ${l3.toString('hex')}`);
      late += entered.length;
      for (const sighting of seen.slice(-1)) {
        assert.ok(sighting.len <= l3.length && sighting.data.length <= sighting.len, `seed ${SEED}: ${l3.toString('hex')}`);
        assert.ok(l3.includes(Buffer.from(sighting.data)), `seed ${SEED}: ${l3.toString('hex')}`);
      }
      told += seen.length;
    }
    const stats = bench.stats();
    assert.ok(isAccounted(stats), JSON.stringify(stats));
    assert.deepEqual([stats.emitted, stats.matched + stats.unmatched + stats.unparsed], [told, HOSTILE_PACKETS + late]);
    assert.ok(told > HOSTILE_PACKETS / 10, 'enough of them are still somebody’s');
    assert.equal(bench.malformed, 0);
  });

  test('that the body would match are never held back by the dispatcher', () => {
    const pick = random(SEED);
    let matched = 0;
    for (let n = 0; n < HOSTILE_PACKETS / 2; n++) {
      const l3 = hostilePacket(pick);
      const packet = realFrame(l3);
      if (packet === undefined) continue;
      const byBody = bench.run('body_in', packet).length;
      assert.equal(bench.run('ktrace_in', packet).length, byBody, `seed ${SEED}: ${l3.toString('hex')}`);
      matched += byBody;
    }
    assert.ok(matched > 1000);
  });
});

suite('what is sent to look like another’s', { skip: SKIP }, () => {
  const STRANGER = '10.244.1.66';
  const WORLD = '8.8.8.8';
  const forged = ipv4({ ...ends, proto: 6 }, tcp(ports));
  const garbage = Buffer.alloc(64, 0xee);
  const inTunnels = (outer: { src: string; dst: string }, inner: Buffer): [string, Buffer][] => [
    ['VXLAN', ipv4({ ...outer, proto: 17 }, inUdp(vxlan(1, IPV4, inner)))],
    ['Geneve', ipv4({ ...outer, proto: 17 }, inUdp(geneve(1, ethernet(IPV4, inner), { options: 1 }), 6081))],
    ['VXLAN over options', ipv4({ ...outer, proto: 17, options: Buffer.alloc(8, 1) }, inUdp(vxlan(1, IPV4, inner)))],
    ['IPIP', ipv4({ ...outer, proto: 4 }, inner)],
    ['protocol 41', ipv4({ ...outer, proto: 41 }, inner)],
  ];
  const PROGRAMS = ['ktrace_in', 'ktrace_out', 'body_in', 'body_out'];
  let bench: Bench;
  beforeEach(() => {
    bench = new Bench(followed([POD]), [NODES.src]);
  });
  afterEach(() => bench.close());

  /** What each program tells of each, without a flow of the victim's. */
  const told = (packets: [string, Buffer][], programs = PROGRAMS) =>
    packets.flatMap(([what, packet]) =>
      programs.flatMap((program) =>
        bench
          .run(program, ethernet(IPV4, packet))
          .map(({ tuple, tunnel }) => `${what} by ${program}: ${tuple.src}, ${tunnel?.kind}`),
      ),
    );

  test('in a tunnel of its own, at a pod’s interface, is its sender’s packet, whoever it is addressed to', () => {
    bench.tracer.setUplinks([]);
    for (const dst of [WORLD, NODES.src, STRANGER]) assert.deepEqual(told(inTunnels({ src: STRANGER, dst }, forged)), []);
    assert.equal(bench.flowEntries(), 0);
  });

  test('in a tunnel that is none of the node’s, at an uplink, is its sender’s packet', () => {
    assert.deepEqual(told(inTunnels({ src: STRANGER, dst: WORLD }, forged)), []);
    assert.deepEqual(told(inTunnels({ src: NODES.src, dst: NODES.dst }, forged), ['ktrace_in', 'body_in']), []);
    assert.deepEqual(told(inTunnels({ src: NODES.dst, dst: NODES.src }, forged), ['ktrace_out', 'body_out']), []);
    bench.tracer.setIpTunnels(false);
    const [, , , ...inIp] = inTunnels({ src: NODES.dst, dst: NODES.src }, forged);
    assert.deepEqual(told(inIp), []);
    assert.equal(bench.flowEntries(), 0);
  });

  test('does not hide a followed pod: what is no tunnel’s packet is told as what it is', () => {
    for (const uplinks of [[], [LOOPBACK]]) {
      bench.tracer.setUplinks(uplinks);
      for (const dst of [WORLD, NODES.src])
        for (const inner of [garbage, Buffer.alloc(0), ...(dst === WORLD ? [ipv4({ ...router, proto: 6 }, tcp(ports))] : [])])
          for (const [what, packet] of inTunnels({ src: POD, dst }, inner))
            for (const program of PROGRAMS) {
              const [seen] = bench.run(program, ethernet(IPV4, packet));
              assert.deepEqual([seen?.tuple.src, seen?.tuple.dst, seen?.tunnel], [POD, dst, undefined], `${what} by ${program}`);
            }
    }
  });

  test('as the first fragment of another’s datagram, at another interface, gives its later ones no ports', (t) => {
    const name = `ktf${process.pid}`;
    execFileSync('ip', ['link', 'add', name, 'type', 'bridge']);
    t.after(() => execFileSync('ip', ['link', 'del', name]));
    const other = Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8'));
    const first = (dport: number) => ipv4({ ...ends, proto: 17, id: 7, more: true }, udp({ sport: 1, dport }, Buffer.alloc(16)));
    const later = ipv4({ ...ends, proto: 17, id: 7, offset: 24 }, Buffer.alloc(16));
    const portAt = (ifindex: number, packet: Buffer) => bench.run('body_in', ethernet(IPV4, packet), ifindex)[0]?.tuple.dport;
    assert.deepEqual([portAt(LOOPBACK, first(53)), portAt(other, first(666))], [53, 666]);
    assert.deepEqual([portAt(LOOPBACK, later), portAt(other, later)], [53, 666]);
  });
});

suite('the bit set', { skip: SKIP }, () => {
  test('has the bit that the kernel looks at, for any address', () => {
    const bench = new Bench(followed([]));
    try {
      const bits = (ip: string) => {
        const set = emptyBits();
        setBit(set, addressOf(ip).bit);
        return set;
      };
      /** The body's own count tells whether the dispatcher let the packet through. */
      const passes = (packet: Buffer) => {
        const before = bench.stats().unmatched;
        bench.run('ktrace_out', packet);
        return bench.stats().unmatched - before === 1;
      };
      fc.assert(
        fc.property(fc.ipV4(), fc.ipV6(), (ip, ip6) => {
          bench.tracer.object.setGlobal('target_bits', bits(ip));
          assert.ok(passes(ethernet(IPV4, ipv4({ src: ip, dst: '0.0.0.0', proto: 6 }, tcp(ports)))));
          bench.tracer.object.setGlobal('target_bits', bits(ip6));
          assert.ok(passes(ethernet(IPV6, ipv6({ src: '::', dst: ip6, next: 6 }, tcp(ports)))));
          bench.tracer.object.setGlobal('target_bits', emptyBits());
          assert.ok(!passes(ethernet(IPV4, ipv4({ src: ip, dst: '0.0.0.0', proto: 6 }, tcp(ports)))));
        }),
      );
    } finally {
      bench.close();
    }
  });
});
