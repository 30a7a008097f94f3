import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sighting, Tuple } from '../../src/event/sighting.ts';
import type { FlowEvent } from '../../src/event/types.ts';
import {
  type CountedFlow,
  type FlowTable,
  FlowTracker,
  type FlowTrackerOptions,
  type InterfaceCount,
  type TrackedFlow,
} from '../../src/flow/flows.ts';
import { assembling, conntrack, echo, OTHER_POD, POD, sighting, tuple, UPLINK } from './sightings.ts';

const OUT = tuple('10.244.1.2', 40_000, '10.244.2.10', 80);
const BACK = tuple('10.244.2.10', 80, '10.244.1.2', 40_000);
const clock = { monotonicNs: 1_000_000_000_000n, realtimeOffsetNs: 0n };

function tracking(options: Partial<FlowTrackerOptions> = {}) {
  const told: FlowEvent[] = [];
  const flows = new FlowTracker({ node: 'host1', idPrefix: 'n-', onFlow: ({ event }) => told.push(event), ...options });
  /** Each sighting is a packet of its own. */
  const note = (nowMs: number, fields: Partial<Sighting>) => {
    const { assembler, told: packets } = assembling();
    assembler.add('proto' in fields && fields.proto === 1 ? (fields as Sighting) : sighting(fields), 0);
    assembler.flush();
    flows.note(packets[0]!, nowMs);
    return packets[0]!.event;
  };
  const states = () => told.map(({ state }) => state);
  const table = new Table();
  /** With these entries in the kernel's table, besides those of before; gives what was removed of it. */
  const count = (entries: CountedFlow[], nowMs: number, monotonicNs = clock.monotonicNs): CountedFlow[] => {
    table.put(entries);
    flows.count({ ...clock, table, nowMs, monotonicNs });
    return table.taken.splice(0);
  };
  return { flows, told, note, states, count, table };
}

const nameOf = ({ proto, tuple: { src, sport, dst, dport }, counts }: CountedFlow) =>
  [proto, src, sport, dst, dport, counts[0]?.ifindex].join();

/** A kernel's flow table. */
class Table implements FlowTable {
  readonly #entries = new Map<string, CountedFlow>();
  #changed = new Set<CountedFlow>();
  readonly taken: CountedFlow[] = [];
  /** What an entry has counted after it was read, when it is removed. */
  last: CountedFlow[] = [];

  put(entries: readonly CountedFlow[]): void {
    for (const entry of entries) {
      const known = this.#entries.get(nameOf(entry)) ?? entry;
      this.#entries.set(nameOf(entry), known);
      this.#changed.add(Object.assign(known, { counts: entry.counts, lastNs: entry.lastNs }));
    }
  }

  changed(): CountedFlow[] {
    const changed = [...this.#changed];
    this.#changed = new Set();
    return changed;
  }

  take(entries: readonly CountedFlow[]): void {
    if (entries.length > 0) this.put(this.last.splice(0));
    for (const entry of entries) {
      this.#entries.delete(nameOf(entry));
      this.#changed.delete(entry);
    }
    this.taken.push(...entries);
  }
}

function counted({
  tuple,
  proto = 'tcp',
  lastNs = 0n,
  ...count
}: Partial<InterfaceCount> & { tuple: Tuple; proto?: string; lastNs?: bigint; packets: number }): CountedFlow {
  return {
    proto,
    tuple,
    lastNs,
    counts: [{ ifindex: POD, interfaceKind: 'pod', direction: 'in', bytes: count.packets * 100, ...count }],
  };
}

test('the first packet opens a flow and its sender began it; what comes back is a reply', () => {
  const { told, note } = tracking();
  const request = note(0, { tuple: OUT });
  const reply = note(1, { tuple: BACK, ipId: 2 });
  assert.deepEqual([request.dir, reply.dir], ['request', 'reply']);
  assert.equal(told.length, 1);
  assert.deepEqual(
    [told[0]?.state, told[0]?.src, told[0]?.dst],
    ['open', { ip: '10.244.1.2', port: 40_000 }, { ip: '10.244.2.10', port: 80 }],
  );
});

test('a SYN-ACK that comes first is a reply: its receiver began', () => {
  const { told, note } = tracking();
  note(0, { tuple: BACK, tcp: { flags: 0x12, seq: 1, ack: 1 } });
  assert.equal(told[0]?.src.ip, '10.244.1.2');
});

test('a flow is one under its Service’s and its endpoint’s address, in both directions', () => {
  const { told, note, flows, count } = tracking();
  const toService = tuple('10.244.1.2', 40_000, '10.96.0.10', 8000);
  const entry = conntrack(toService, BACK);
  note(0, { tuple: toService, conntrack: entry });
  note(1, { tuple: BACK, conntrack: { ...entry, isReply: true } });
  note(2, { tuple: OUT });
  assert.equal(told.length, 1);
  assert.deepEqual(told[0]?.dst, { ip: '10.96.0.10', port: 8000 });
  assert.equal(told[0]?.nat?.[0]?.after.ip, '10.244.2.10');
  count([counted({ tuple: toService, packets: 3 }), counted({ tuple: BACK, packets: 2 })], 10);
  flows.closeAll();
  assert.deepEqual(told[1]?.packets, { request: 3, reply: 2 });
});

test('masquerade and DNAT together are one flow under every name it has on its way', () => {
  const { told, note } = tracking();
  const toService = tuple('10.244.1.2', 40_000, '10.96.0.10', 8000);
  const masqueradedBack = tuple('10.244.2.10', 80, '192.168.0.1', 61_000);
  const entry = conntrack(toService, masqueradedBack);
  note(0, { tuple: toService, conntrack: entry });
  note(1, { tuple: tuple('192.168.0.1', 61_000, '10.244.2.10', 80) });
  note(1, { tuple: masqueradedBack });
  note(1, { tuple: OUT });
  assert.equal(told.length, 1);
});

test('a masqueraded ping and its reply are one flow, counted also where it has another id', () => {
  const { told, note, count } = tracking();
  const asked = tuple('10.244.1.2', 77, '8.8.8.8', 0);
  const wire = tuple('8.8.8.8', 40_001, '192.168.0.1', 0);
  const entry = conntrack(asked, wire);
  const icmp = { code: 0, seq: 1, mtu: 0 };
  note(0, sighting({ proto: 1, tuple: asked, icmp: { ...icmp, type: 8, id: 77 }, conntrack: entry }));
  const reply = { proto: 1, ifindex: UPLINK, tuple: wire, icmp: { ...icmp, type: 0, id: 40_001 } };
  note(1, sighting({ ...reply, conntrack: { ...entry, isReply: true } }));
  assert.equal(told.length, 1);
  const alike = tuple('10.244.1.3', 77, '8.8.8.8', 0);
  const other = conntrack(alike, tuple('8.8.8.8', 40_002, '192.168.0.1', 0));
  note(2, sighting({ proto: 1, tuple: alike, icmp: { ...icmp, type: 8, id: 77 }, conntrack: other }));
  assert.deepEqual(
    told.map(({ src }) => src.ip),
    ['10.244.1.2', '10.244.1.3'],
    'another pod’s ping with the same id is another flow',
  );
  const entries = [counted({ proto: 'icmp', tuple: wire, packets: 1, ifindex: UPLINK, interfaceKind: 'uplink' })];
  assert.deepEqual(count(entries, 10), []);
  assert.deepEqual(count(entries, 60_000), entries, 'its entry is removed with it');
});

test('a flow’s pods are those whose own interfaces were seen, from either direction', () => {
  const [web, db] = ['web', 'db'].map((name) => ({ namespace: 'shop', name, uid: name }));
  const seen: TrackedFlow['pods'][] = [];
  const flows = new FlowTracker({ node: 'host1', idPrefix: 'n-', onFlow: ({ pods }) => seen.push(pods) });
  const { assembler, told } = assembling();
  assembler.add(sighting({ tuple: OUT, entry: true }), 0);
  assembler.add(sighting({ tuple: BACK, entry: true, ifindex: UPLINK }), 0);
  assembler.flush();
  flows.note(told[0]!, 0, { from: web });
  flows.note(told[1]!, 1, { from: db });
  flows.note(told[0]!, 2, {});
  flows.closeAll();
  assert.deepEqual(seen, [{ src: web }, { src: web, dst: db }]);
});

test('what another pod sends under an end’s address is not counted into its flow', () => {
  const own = (ifindex: number, ip: string) => ifindex === POD && ip === '10.244.1.2';
  const { told, note, flows, count } = tracking({ isAddressOf: own });
  note(0, { tuple: OUT });
  const forged = counted({ tuple: OUT, packets: 5000, ifindex: OTHER_POD });
  count([forged, counted({ tuple: OUT, packets: 3 }), counted({ tuple: BACK, packets: 2 })], 5);
  flows.closeAll();
  assert.deepEqual(told.at(-1)?.packets, { request: 3, reply: 2 });
});

test('of several interfaces the pod’s own counts, else the fullest: of two pods’, or the uplink’s', () => {
  const entries = () => [
    counted({ tuple: OUT, packets: 50, ifindex: UPLINK, interfaceKind: 'uplink' }),
    counted({ tuple: OUT, packets: 10, ifindex: POD }),
    counted({ tuple: BACK, packets: 8, ifindex: POD, direction: 'out' }),
    counted({ tuple: OUT, packets: 9, ifindex: OTHER_POD }),
    counted({ tuple: BACK, packets: 8, ifindex: OTHER_POD, direction: 'out' }),
  ];
  const isPods = (ifindex: number) => ifindex === POD || ifindex === OTHER_POD;
  for (const [isAddressOf, packets] of [
    [isPods, { request: 10, reply: 8 }],
    [() => false, { request: 50, reply: 0 }],
  ] as const) {
    const { told, note, flows, count } = tracking({ isAddressOf });
    note(0, { tuple: OUT });
    count(entries(), 5);
    flows.closeAll();
    assert.deepEqual(told.at(-1)?.packets, packets);
    assert.deepEqual(told.at(-1)?.bytes, { request: packets.request * 100, reply: packets.reply * 100 });
  }
});

test('a flow’s counts do not go back when a pod that is none of its ends begins to send under its addresses', () => {
  const { told, note, flows, count } = tracking({ isAddressOf: () => false });
  note(0, { tuple: OUT });
  const uplink = (packets: number) =>
    counted({ tuple: OUT, packets, ifindex: UPLINK, interfaceKind: 'uplink', direction: 'out' });
  count([uplink(1000)], 5);
  count([uplink(1001), counted({ tuple: OUT, packets: 1, ifindex: OTHER_POD })], 10);
  flows.closeAll();
  assert.deepEqual(told.at(-1)?.packets, { request: 1001, reply: 0 });
});

test('what passes a pod’s interface twice is counted once: a pod that is its own Service’s endpoint', () => {
  const { told, note, flows, count } = tracking({ isAddressOf: (_ifindex, ip) => ip === OUT.src });
  const [toService, toItself] = [tuple(OUT.src, 40_000, '10.96.0.10', 80), tuple('10.244.1.1', 61_000, OUT.src, 8080)];
  const back = tuple(OUT.src, 8080, '10.244.1.1', 61_000);
  note(0, { tuple: toService, conntrack: conntrack(toService, back) });
  count(
    [
      counted({ tuple: toService, packets: 5 }),
      counted({ tuple: toItself, packets: 5, direction: 'out' }),
      counted({ tuple: back, packets: 4 }),
      counted({ tuple: tuple('10.96.0.10', 80, OUT.src, 40_000), packets: 4, direction: 'out' }),
    ],
    5,
  );
  flows.closeAll();
  assert.deepEqual(told.at(-1)?.packets, { request: 5, reply: 4 });
  assert.deepEqual(told.at(-1)?.bytes, { request: 500, reply: 400 });
});

test('what passes a node’s uplink twice is counted once: through a node port to a pod of another node', () => {
  const { told, note, flows, count } = tracking();
  const toNode = tuple('203.0.113.9', 40_000, '192.168.0.1', 30_080);
  const [toPod, back] = [tuple('192.168.0.1', 61_000, OUT.dst, 80), tuple(OUT.dst, 80, '192.168.0.1', 61_000)];
  note(0, { tuple: toNode, ifindex: UPLINK, conntrack: conntrack(toNode, back) });
  const at = (direction: 'in' | 'out', way: Tuple, packets: number) =>
    counted({ tuple: way, packets, ifindex: UPLINK, interfaceKind: 'uplink', direction });
  count(
    [
      // The first is not counted before its translation is known.
      at('in', toNode, 4),
      at('out', toPod, 5),
      at('in', back, 3),
      at('out', tuple('192.168.0.1', 30_080, '203.0.113.9', 40_000), 3),
    ],
    5,
  );
  flows.closeAll();
  assert.deepEqual(told.at(-1)?.packets, { request: 5, reply: 3 });
});

test('what a node forwards from one uplink to another is counted in both directions, each where it came in', () => {
  const { told, note, flows, count } = tracking();
  note(0, { tuple: OUT });
  const at = (ifindex: number, way: Tuple, packets: number) =>
    counted({ tuple: way, packets, ifindex, interfaceKind: 'uplink', direction: 'in' });
  count([at(UPLINK, OUT, 5), at(UPLINK + 1, BACK, 4)], 5);
  flows.closeAll();
  assert.deepEqual(told.at(-1)?.packets, { request: 5, reply: 4 });
});

test('a flow that only interfaces see which count nothing is not counted, and lives as long as they see it', () => {
  const { told, note, count, states } = tracking();
  const after = (seconds: number) => clock.monotonicNs + BigInt(seconds) * 1_000_000_000n;
  const seen = (seconds: number): CountedFlow => ({ proto: 'tcp', tuple: OUT, counts: [], lastNs: after(seconds) });
  note(0, { tuple: OUT });
  for (const seconds of [60, 120, 180, 240]) count([seen(seconds)], seconds * 1000, after(seconds));
  assert.deepEqual(states(), ['open']);
  count([], 370_000, after(370));
  assert.deepEqual([states(), told.at(-1)?.counted], [['open', 'close'], false]);
});

test('a flow whose counts change is told again, at most every ten seconds', () => {
  const { states, note, count } = tracking();
  note(0, { tuple: OUT });
  count([counted({ tuple: OUT, packets: 1 })], 5000);
  assert.deepEqual(states(), ['open']);
  count([counted({ tuple: OUT, packets: 2 })], 10_000);
  assert.deepEqual(states(), ['open', 'update']);
  count([counted({ tuple: OUT, packets: 2 })], 20_000);
  count([counted({ tuple: OUT, packets: 3 })], 20_001);
  assert.deepEqual(states(), ['open', 'update', 'update']);
});

test('a connection ends with both FINs, or one RST, and its entries are given back', () => {
  for (const ends of [
    [
      { tuple: OUT, tcp: { flags: 0x11, seq: 1, ack: 1 } },
      { tuple: BACK, tcp: { flags: 0x11, seq: 1, ack: 1 } },
    ],
    [{ tuple: BACK, tcp: { flags: 0x14, seq: 1, ack: 1 } }],
  ]) {
    const { states, note, flows, count } = tracking();
    note(0, { tuple: OUT });
    for (const end of ends) note(10, end);
    const entries = [counted({ tuple: OUT, packets: 1 }), counted({ tuple: BACK, packets: 1 })];
    assert.deepEqual(count(entries, 900), []);
    assert.deepEqual(states(), ['open'], 'the last segments may still come');
    assert.equal(count(entries, 2000).length, 2);
    assert.deepEqual(states(), ['open', 'close']);
    assert.equal(flows.open, 0);
  }
});

test('one FIN alone leaves the connection open', () => {
  const { states, note, count } = tracking();
  note(0, { tuple: OUT });
  note(0, { tuple: OUT, tcp: { flags: 0x11, seq: 1, ack: 1 } });
  count([], 60_000);
  assert.deepEqual(states(), ['open']);
});

test('a silent flow is closed by its protocol’s time, a counted packet keeps it', () => {
  const { states, note, count } = tracking();
  note(0, { tuple: OUT });
  count([counted({ tuple: OUT, packets: 5 })], 100_000);
  count([counted({ tuple: OUT, packets: 5 })], 200_000);
  assert.equal(states().includes('close'), false);
  count([counted({ tuple: OUT, packets: 5 })], 220_001);
  assert.equal(states().at(-1), 'close');

  const pings = tracking();
  pings.note(0, echo(8, 1));
  pings.note(1, echo(0, 1));
  assert.equal(pings.told.length, 1);
  pings.count([], 10_002);
  assert.deepEqual(pings.states(), ['open', 'close']);
});

test('a question and its answer over UDP are closed early, a longer exchange is not', () => {
  for (const [asked, closedMs] of [
    [2, 5_001],
    [3, 30_001],
  ] as const) {
    const { states, note, count } = tracking();
    note(0, { proto: 17, tuple: OUT });
    const entries = [counted({ proto: 'udp', tuple: OUT, packets: asked }), counted({ proto: 'udp', tuple: BACK, packets: 2 })];
    count(entries, 0);
    assert.deepEqual(count(entries, closedMs - 1), []);
    assert.equal(states().includes('close'), false);
    assert.equal(count(entries, closedMs).length, 2);
    assert.equal(states().at(-1), 'close');
  }
  const unanswered = tracking();
  unanswered.note(0, { proto: 17, tuple: OUT });
  const entries = [counted({ proto: 'udp', tuple: OUT, packets: 1 })];
  unanswered.count(entries, 0);
  unanswered.count(entries, 29_999);
  assert.equal(unanswered.states().includes('close'), false, 'its answer may still come');
});

test('a flow that found no room in the kernel’s table says that it was not counted', () => {
  const { told, note, flows, count } = tracking();
  note(0, { tuple: OUT });
  note(0, { tuple: tuple('10.244.1.2', 40_001, '10.244.2.10', 80) });
  count([counted({ tuple: OUT, packets: 1 })], 1);
  flows.closeAll();
  assert.deepEqual(
    told.map(({ state, counted: isCounted }) => [state, isCounted]),
    [
      ['open', undefined],
      ['open', undefined],
      ['close', undefined],
      ['close', false],
    ],
  );
});

test('an ICMP error opens no flow', () => {
  const { told, note } = tracking();
  note(0, { ...echo(8, 1), icmp: { type: 3, code: 3, id: 0, seq: 0, mtu: 0 } });
  assert.equal(told.length, 0);
});

test('entries that no flow claims are given back once they are old, and a question’s early: a filter may have left it out', () => {
  for (const [proto, packets, limitS] of [
    ['tcp', 1, 120],
    ['udp', 3, 30],
    ['udp', 2, 10],
    ['icmp', 1, 10],
  ] as const) {
    const { count } = tracking();
    const entry = counted({ proto, tuple: OUT, packets, lastNs: 1n });
    assert.deepEqual(count([entry], 0, BigInt(limitS) * 1_000_000_000n), []);
    assert.deepEqual(count([], 0, BigInt(limitS) * 1_000_000_000n + 2n), [entry], `${proto} ${packets}`);
    assert.deepEqual(count([], 0, BigInt(limitS) * 2_000_000_000n), [], 'once');
  }
});

test('an entry that is read before its packet is told is claimed by its flow', () => {
  const { told, note, flows, count } = tracking();
  count([counted({ tuple: OUT, packets: 2, lastNs: clock.monotonicNs })], 0);
  note(1, { tuple: OUT });
  count([], 2);
  flows.closeAll();
  assert.deepEqual([told.at(-1)?.packets.request, told.at(-1)?.counted], [2, undefined]);
});

test('what an entry counts after it was read for the last time is its flow’s', () => {
  const { told, note, flows, count, table } = tracking();
  note(0, { tuple: OUT });
  note(0, { tuple: tuple('10.244.1.2', 40_001, '10.244.2.10', 80) });
  note(0, { tuple: BACK, tcp: { flags: 0x14, seq: 1, ack: 1 } });
  count([counted({ tuple: OUT, packets: 1 }), counted({ tuple: BACK, packets: 1 })], 900);
  table.last = [counted({ tuple: OUT, packets: 4 }), counted({ tuple: BACK, packets: 5 })];
  assert.equal(count([], 2000).length, 2);
  assert.deepEqual(told.at(-1)?.packets, { request: 4, reply: 5 });
  const other = counted({ tuple: tuple('10.244.1.2', 40_001, '10.244.2.10', 80), packets: 1 });
  const nobodys = counted({ tuple: tuple('10.244.1.2', 40_002, '10.244.2.10', 80), packets: 1 });
  table.put([other, nobodys]);
  table.last = [{ ...other, counts: [{ ...other.counts[0]!, packets: 7 }] }];
  flows.closeAll({ ...clock, table, nowMs: 3000 });
  assert.deepEqual([told.at(-1)?.state, told.at(-1)?.packets], ['close', { request: 7, reply: 0 }]);
  assert.deepEqual(table.taken, [other, nobodys]);
});

test('how long a flow was silent is told by its last packet, not by when that was read', () => {
  const { states, note, count } = tracking();
  note(0, { proto: 17, tuple: OUT });
  const at = (ms: number) => clock.monotonicNs + BigInt(ms) * 1_000_000n;
  const entries = [OUT, BACK].map((tuple) => counted({ proto: 'udp', tuple, packets: 1, lastNs: at(100) }));
  assert.deepEqual(count(entries, 2000, at(2000)), []);
  assert.deepEqual(count([], 5100, at(5100)), []);
  assert.equal(count([], 5101, at(5101)).length, 2);
  assert.deepEqual(states(), ['open', 'close']);
});

test('entries of a flow that had to be closed early are given back as those of nobody', () => {
  const { note, count } = tracking({ limit: 1 });
  note(0, { proto: 17, tuple: OUT });
  const entry = counted({ proto: 'udp', tuple: OUT, packets: 1 });
  count([entry], 0);
  note(1, { proto: 17, tuple: tuple('10.244.1.2', 1, '10.244.2.10', 80) });
  assert.deepEqual(count([], 2), [entry]);
});

test('how many flows are open is bounded: the oldest is closed early, and counted', () => {
  const { flows, note, states } = tracking({ limit: 5 });
  for (let port = 1; port <= 20; port++) note(0, { tuple: tuple('10.244.1.2', port, '10.244.2.10', 80) });
  assert.equal(flows.open, 5);
  assert.deepEqual(flows.counts, { opened: 20, closed: 15, evicted: 15 });
  assert.equal(states().filter((state) => state === 'close').length, 15);
});

/** The second asks for ECN. */
const SYNS = [0x02, 0xc2].map((flags) => ({ flags, seq: 1, ack: 0 }));

for (const syn of SYNS) {
  test(`a connection that did not come about is closed early, and goes before a conversation when there are too many (SYN ${syn.flags})`, () => {
    const { note, count, told } = tracking({ limit: 3 });
    const to = (sport: number) => tuple('10.244.1.2', sport, '10.244.2.10', 80);
    const from = (sport: number) => tuple('10.244.2.10', 80, '10.244.1.2', sport);
    const entries = [counted({ tuple: to(1), packets: 2 }), counted({ tuple: from(1), packets: 1 })];
    note(0, { tuple: to(1), tcp: syn, ipId: 1 });
    count(entries, 1);
    for (const sport of [2, 3, 4]) note(sport, { tuple: to(sport), tcp: syn, ipId: sport });
    const closed = () => told.filter(({ state }) => state === 'close').map(({ src }) => src.port);
    assert.deepEqual(closed(), [2], 'the oldest of those that are half open, not the oldest');
    count(entries, 19_000);
    assert.deepEqual(closed(), [2]);
    count(entries, 25_000);
    assert.deepEqual(closed(), [2, 3, 4]);
  });

  test(`a SYN (${syn.flags}) on the ports of a connection that has ended begins another one`, () => {
    const { states, note, count } = tracking();
    note(0, { tuple: OUT, tcp: syn });
    note(1, { tuple: BACK, tcp: { flags: 0x14, seq: 1, ack: 1 } });
    note(2, { tuple: OUT, tcp: syn, timeNs: 2000n });
    count([], 2000);
    assert.deepEqual(states(), ['open'], 'it goes on');
  });
}

test('how many packets a packet’s flow got back is known once it is counted', () => {
  const { assembler, told } = assembling();
  const { flows, count } = tracking();
  assembler.add(sighting({ proto: 17, tuple: OUT }), 0);
  assembler.flush();
  const packet = told[0]!;
  assert.equal(flows.repliesTo(packet), undefined);
  flows.note(packet, 0);
  assert.equal(flows.repliesTo(packet), undefined, 'not counted yet');
  count([counted({ proto: 'udp', tuple: OUT, packets: 2 })], 0);
  assert.equal(flows.repliesTo(packet), 0);
  count([counted({ proto: 'udp', tuple: BACK, packets: 3 })], 1);
  assert.equal(flows.repliesTo(packet), 3);
});
