import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sighting } from '../../src/event/sighting.ts';
import { fingerprintOf } from '../../src/flow/fingerprint.ts';
import { fc } from '../support/fast-check.ts';
import { echo, sighting } from './sightings.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const ip = fc.ipV4();
const tuple = fc.record({ src: ip, dst: ip, sport: u16, dport: u16 });
const packet: fc.Arbitrary<Sighting> = fc.oneof(
  fc
    .record({ ipId: u16, tcp: fc.record({ flags: fc.integer({ min: 0, max: 255 }), seq: u32, ack: u32 }) })
    .map((fields) => sighting(fields)),
  fc
    .record({ seq: u16, id: u16, ipId: u16, payloadHash: u32 })
    .map(({ seq, id, ...rest }) => echo(8, seq, { ...rest, icmp: { type: 8, code: 0, id, seq, mtu: 0 } })),
  fc.record({ ipId: u16, payloadHash: u32 }).map((fields) => sighting({ proto: 17, tcp: undefined, ...fields })),
);
/** What hops, NAT and tunnels change of a packet, and where it is seen. */
const change = fc.record({
  tuple,
  ifindex: u16,
  skb: fc.maxSafeNat(),
  timeNs: fc.bigInt({ min: 0n, max: 1n << 60n }),
  len: u16,
  gsoSegs: u16,
  hook: fc.constantFrom('tc-in' as const, 'tc-out' as const, 'drop' as const),
  conntrack: fc.option(
    fc.record({ original: tuple, reply: tuple, status: u32, isReply: fc.boolean(), remembered: fc.boolean() }),
    {
      nil: undefined,
    },
  ),
  tunnel: fc.constantFrom(undefined, { kind: 'vxlan' as const, vni: 1, src: '1.1.1.1', dst: '2.2.2.2' }),
});

test('NAT, tunnels, time, place and the id of an echo do not change the fingerprint', () => {
  fc.assert(
    fc.property(packet, change, u16, (before, changed, id) => {
      const after: Sighting = { ...before, ...changed };
      if (before.icmp !== undefined) after.icmp = { ...before.icmp, id };
      assert.equal(fingerprintOf(after), fingerprintOf(before));
    }),
  );
});

test('another seq, ack, flags, IP id, fragment, ICMP seq or payload is another packet', () => {
  const tcp = (fields: object) => sighting({ tcp: { flags: 0x10, seq: 100, ack: 200, ...fields } });
  const variants = [
    tcp({}),
    tcp({ seq: 101 }),
    tcp({ ack: 201 }),
    tcp({ seq: 200, ack: 100 }),
    tcp({ flags: 0x18 }),
    sighting({ ipId: 2 }),
    sighting({ fragment: { offset: 1480, more: false } }),
    sighting({ proto: 17, tcp: undefined, payloadHash: 1 }),
    sighting({ proto: 17, tcp: undefined, payloadHash: 2 }),
    sighting({ proto: 132, tcp: undefined, payloadHash: 1 }),
    echo(8, 1),
    echo(8, 2),
    echo(0, 1),
    echo(8, 1, { payloadHash: 5 }),
  ];
  assert.equal(new Set(variants.map(fingerprintOf)).size, variants.length);
});

test('a hundred thousand segments of one connection have different fingerprints', () => {
  const seen = new Set<number>();
  for (let n = 0; n < 100_000; n++)
    seen.add(fingerprintOf(sighting({ ipId: 0, tcp: { flags: 0x10, seq: (n * 1448) >>> 0, ack: 7 } })));
  assert.equal(seen.size, 100_000);
});
