import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Sighting } from '../../src/event/sighting.ts';
import { assembling, hops, sighting, tuple, WAY_OUT } from './sightings.ts';

/** A packet of its own content; its sk_buff may have been another packet's before, and may change at the tunnel. */
interface Packet {
  skb: number;
  isMoved: boolean;
  isTranslated: boolean;
}

const packets: fc.Arbitrary<Packet[]> = fc.array(
  fc.record({ skb: fc.integer({ min: 1, max: 4 }), isMoved: fc.boolean(), isTranslated: fc.boolean() }),
  { minLength: 1, maxLength: 60 },
);

function sightingsOf({ skb, isMoved, isTranslated }: Packet, n: number): Sighting[] {
  return WAY_OUT.map((hop, step) =>
    sighting({
      ...hop,
      skb: BigInt(step >= 2 && isMoved ? skb + 100 : skb),
      tcp: { flags: 0x10, seq: n * 1448, ack: 7 },
      ipId: 0,
      tuple: tuple('10.244.1.2', 40_000, isTranslated && step === 0 ? '10.96.0.10' : '10.244.2.10', 80),
    }),
  );
}

/** Interleaves the packets' sightings by `picks`; those of one sk_buff never overlap, as the kernel has it. */
function interleave(all: Packet[], picks: number[]): { sighting: Sighting; packet: number }[] {
  const waiting = all.map((packet, n) => ({ n, packet, left: sightingsOf(packet, n) }));
  const order: { sighting: Sighting; packet: number }[] = [];
  const busy = new Map<number, number>();
  for (let step = 0; waiting.some(({ left }) => left.length > 0); step++) {
    const ready = waiting.filter(({ n, packet, left }) => left.length > 0 && (busy.get(packet.skb) ?? n) === n);
    const { n, packet, left } = ready[(picks[step % picks.length] ?? 0) % ready.length]!;
    busy.set(packet.skb, n);
    order.push({ sighting: { ...left.shift()!, timeNs: BigInt(order.length) }, packet: n });
    if (left.length === 0) busy.delete(packet.skb);
  }
  return order;
}

test('packets whose sightings are interleaved over a few reused sk_buffs are never joined, and never torn', () => {
  fc.assert(
    fc.property(packets, fc.array(fc.nat(), { minLength: 1, maxLength: 50 }), (all, picks) => {
      const { assembler, told } = assembling();
      for (const { sighting } of interleave(all, picks)) assembler.add(sighting, 0);
      assembler.flush();
      assert.equal(told.length, all.length);
      assert.equal(new Set(told.map(({ event }) => event.tcp?.seq)).size, all.length);
      for (const packet of told) assert.deepEqual(hops(packet), ['veth1 in', 'cni0 in', 'flannel.1 out', 'eth0 out']);
    }),
  );
});

test('whatever is seen in whatever order, every sighting is in exactly one packet and what is held is bounded', () => {
  const any = fc.record({
    skb: fc.bigInt({ min: 1n, max: 5n }),
    ifindex: fc.integer({ min: 1, max: 6 }),
    hook: fc.constantFrom('tc-in' as const, 'tc-out' as const, 'drop' as const),
    entry: fc.boolean(),
    provisional: fc.boolean(),
    ipId: fc.integer({ min: 0, max: 3 }),
    waitMs: fc.constantFrom(0, 0, 1, 30, 6000),
  });
  fc.assert(
    fc.property(fc.array(any, { maxLength: 200 }), (all) => {
      const { assembler, told } = assembling({ limit: 8 });
      let nowMs = 0;
      for (const { waitMs, ...fields } of all) {
        nowMs += waitMs;
        assembler.tick(nowMs);
        const drop = fields.hook === 'drop' ? { reason: 6, location: 1n } : undefined;
        assembler.add(sighting({ ...fields, drop, timeNs: BigInt(nowMs) }), nowMs);
        assert.ok(assembler.held <= 17);
      }
      assembler.flush();
      const { counts } = assembler;
      assert.equal(counts.sightings, all.length);
      assert.equal(counts.told + counts.amended, told.length);
      const ids = new Set(told.filter(({ event }) => event.amends !== true).map(({ event }) => event.id));
      assert.equal(ids.size, counts.told, 'an id is told as new once');
      assert.ok(told.every(({ event }) => event.amends !== true || ids.has(event.id)));
      assert.ok(counts.begun >= counts.told);
    }),
  );
});
