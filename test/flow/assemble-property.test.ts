import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sighting } from '../../src/event/sighting.ts';
import { fc } from '../support/fast-check.ts';
import { assembling, conntrack, hops, sighting, tuple, WAY_OUT } from './sightings.ts';

const HOPS = ['veth1 in', 'cni0 in', 'flannel.1 out', 'eth0 out'];

/**
 * A packet of its own content; its sk_buff may have been another packet's before, and may change at the tunnel. What the node itself sends has no
 * entry hook, and begins at the tunnel. It is seen at `seen` hooks at most: then it is handed to a socket, or freed.
 */
interface Packet {
  skb: number;
  isMoved: boolean;
  isTranslated: boolean;
  isOwn: boolean;
  seen: number;
}

const packets: fc.Arbitrary<Packet[]> = fc.array(
  fc.record({
    skb: fc.integer({ min: 1, max: 4 }),
    isMoved: fc.boolean(),
    isTranslated: fc.boolean(),
    isOwn: fc.boolean(),
    seen: fc.integer({ min: 1, max: 4 }),
  }),
  { minLength: 1, maxLength: 60 },
);

const wayOf = ({ isOwn, seen }: Packet) => (isOwn ? WAY_OUT.slice(2) : WAY_OUT).slice(0, seen);

function sightingsOf(packet: Packet, n: number): Sighting[] {
  const { skb, isMoved, isTranslated, isOwn } = packet;
  return wayOf(packet).map((hop, step) =>
    sighting({
      ...hop,
      skb: (step >= 2 || (isOwn && step === 1)) && isMoved ? skb + 100 : skb,
      tcp: { flags: 0x10, seq: n * 1448, ack: 7 },
      ipId: 0,
      tuple: tuple('10.244.1.2', 40_000, isTranslated && !isOwn && step === 0 ? '10.96.0.10' : '10.244.2.10', 80),
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
      for (const packet of told) {
        const { seen, isOwn } = all[(packet.event.tcp?.seq ?? 0) / 1448] as Packet;
        assert.deepEqual(hops(packet), (isOwn ? HOPS.slice(2) : HOPS).slice(0, seen));
      }
    }),
  );
});

/**
 * Packets of the same content between the same ends, each with an sk_buff that no other one has at that time: retransmissions, or datagrams without
 * an id; all of a pod, or all of the node itself.
 */
const twins: fc.Arbitrary<Packet[]> = fc.boolean().chain((isOwn) =>
  fc.array(
    fc.integer({ min: 1, max: 3 }).map((skb) => ({ skb, isMoved: false, isTranslated: false, isOwn, seen: 4 })),
    { minLength: 2, maxLength: 40 },
  ),
);

test('packets of one content are never joined, also where they are on their way at once or one has the sk_buff of the other', () => {
  fc.assert(
    fc.property(twins, fc.array(fc.nat(), { minLength: 1, maxLength: 50 }), (all, picks) => {
      const { assembler, told } = assembling();
      for (const { sighting: seen } of interleave(all, picks))
        assembler.add({ ...seen, tcp: { flags: 0x10, seq: 1, ack: 7 } }, 0);
      assembler.flush();
      assert.equal(told.length, all.length);
      assert.equal(new Set(told.map(({ event }) => event.id)).size, all.length);
      for (const packet of told) assert.deepEqual(hops(packet), all[0]?.isOwn ? HOPS.slice(2) : HOPS);
    }),
  );
});

test('what the stack does with a packet is told of that packet alone, whichever had its sk_buff before', () => {
  fc.assert(
    fc.property(packets, fc.array(fc.nat(), { minLength: 1, maxLength: 50 }), (all, picks) => {
      const { assembler, told } = assembling();
      for (const { sighting: seen } of interleave(all, picks)) {
        assembler.add(seen, 0);
        // NAT of the packet that has just been seen: its own number is the port it is translated to.
        const port = (seen.tcp?.seq ?? 0) / 1448 + 1;
        const reply = tuple('10.244.2.10', port, '10.244.1.2', 40_000);
        assembler.add(
          {
            ...seen,
            entry: false,
            hook: 'nat',
            rewrite: { end: 'destination', hook: 'prerouting' },
            conntrack: conntrack(seen.tuple, reply),
          },
          0,
        );
      }
      assembler.flush();
      assert.equal(told.length, all.length);
      for (const { event } of told) {
        const seen = (event.nat ?? []).filter(({ seenBy }) => seenBy === 'kprobe');
        assert.deepEqual([...new Set(seen.map(({ after }) => after.port))], [(event.tcp?.seq ?? 0) / 1448 + 1]);
      }
      assert.equal(assembler.counts.unjoined, 0);
    }),
  );
});

test('whatever is seen in whatever order, every sighting is in exactly one packet and what is held is bounded', () => {
  const any = fc.record({
    skb: fc.integer({ min: 1, max: 5 }),
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
