import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sighting } from '../../src/event/sighting.ts';
import { assembling, BRIDGE, conntrack, hops, POD, sighting, tuple, UPLINK } from './sightings.ts';

const POD_TO_SERVICE = tuple('10.244.1.2', 40_000, '10.96.0.10', 80);
const POD_TO_ENDPOINT = tuple('10.244.1.2', 40_000, '10.244.2.10', 8080);
const MASQUERADED = conntrack(POD_TO_SERVICE, tuple('10.244.2.10', 8080, '192.168.0.1', 50_000));
const SYN = { tcp: { flags: 2, seq: 100, ack: 0 } };

/** A SYN's rewrites as nf_nat_manip_pkt does them: the destination before routing, the source after it. */
const REWRITES: Partial<Sighting>[] = [
  {
    ...SYN,
    timeNs: 1100n,
    hook: 'nat',
    ifindex: POD,
    tuple: POD_TO_SERVICE,
    conntrack: MASQUERADED,
    rewrite: { end: 'destination', hook: 'prerouting' },
  },
  {
    ...SYN,
    timeNs: 1300n,
    hook: 'nat',
    ifindex: POD,
    tuple: POD_TO_ENDPOINT,
    conntrack: MASQUERADED,
    rewrite: { end: 'source', hook: 'postrouting' },
  },
];

test('a rewrite that was seen joins its packet as no hop, with its time, and once beside what conntrack tells', () => {
  const { assembler, told } = assembling();
  const [destination, source] = REWRITES;
  const wire = tuple('192.168.0.1', 50_000, '10.244.2.10', 8080);
  for (const fields of [
    { ...SYN, tuple: POD_TO_SERVICE, entry: true, ifindex: POD },
    { ...destination },
    { ...SYN, timeNs: 1200n, tuple: POD_TO_ENDPOINT, ifindex: BRIDGE },
    { ...source },
    { ...SYN, timeNs: 1400n, tuple: wire, ifindex: UPLINK, hook: 'tc-out' as const, conntrack: MASQUERADED },
  ])
    assembler.add(sighting(fields), 0);
  assembler.flush();
  assert.equal(told.length, 1);
  assert.deepEqual(hops(told[0]!), ['veth1 in', 'cni0 in', 'eth0 out']);
  assert.deepEqual(told[0]?.event.nat, [
    {
      kind: 'dnat',
      before: { ip: '10.96.0.10', port: 80 },
      after: { ip: '10.244.2.10', port: 8080 },
      seenBy: 'kprobe',
      hook: 'prerouting',
      atNs: 100,
    },
    {
      kind: 'snat',
      before: { ip: '10.244.1.2', port: 40_000 },
      after: { ip: '192.168.0.1', port: 50_000 },
      seenBy: 'kprobe',
      hook: 'postrouting',
      atNs: 300,
    },
  ]);
});

test('a connection that enters conntrack’s table with its first packet says when, in each of its translations and in no hop', () => {
  const { assembler, told } = assembling();
  const wire = tuple('192.168.0.1', 50_000, '10.244.2.10', 8080);
  const confirmed = { ...SYN, timeNs: 1350n, hook: 'confirmed' as const, tuple: wire, ifindex: UPLINK, conntrack: MASQUERADED };
  for (const fields of [
    { ...SYN, tuple: POD_TO_SERVICE, entry: true, ifindex: POD },
    ...REWRITES,
    confirmed,
    { ...SYN, timeNs: 1400n, tuple: wire, ifindex: UPLINK, hook: 'tc-out' as const, conntrack: MASQUERADED },
  ])
    assembler.add(sighting(fields), 0);
  assembler.flush();
  assert.equal(told.length, 1);
  assert.deepEqual(hops(told[0]!), ['veth1 in', 'eth0 out']);
  assert.deepEqual(
    told[0]?.event.nat?.map(({ kind, atNs, confirmedAtNs }) => [kind, atNs, confirmedAtNs]),
    [
      ['dnat', 100, 350],
      ['snat', 300, 350],
    ],
  );
});

test('a connection of the node’s own enters the table before the first hop, and its packet says so', () => {
  const { assembler, told } = assembling();
  const masqueraded = conntrack(
    tuple('192.168.0.1', 40_000, '10.96.0.10', 80),
    tuple('10.244.2.10', 8080, '192.168.0.1', 40_000),
  );
  const wire = tuple('192.168.0.1', 40_000, '10.244.2.10', 8080);
  const own = { ...SYN, tuple: wire, ifindex: UPLINK, conntrack: masqueraded };
  assembler.add(sighting({ ...own, timeNs: 900n, hook: 'confirmed' }), 0);
  assembler.add(sighting({ ...own, timeNs: 1000n, hook: 'tc-out' }), 0);
  assembler.flush();
  assert.deepEqual(
    told[0]?.event.nat?.map(({ kind, confirmedAtNs }) => [kind, confirmedAtNs]),
    [['dnat', -100]],
  );
});

test('a reply’s rewrites are the same translations on their way back', () => {
  const { assembler, told } = assembling();
  const reply = { ...MASQUERADED, isReply: true };
  const wire = tuple('10.244.2.10', 8080, '192.168.0.1', 50_000);
  assembler.add(sighting({ tuple: wire, ifindex: UPLINK, entry: true }), 0);
  assembler.add(
    sighting({ timeNs: 1100n, hook: 'nat', tuple: wire, conntrack: reply, rewrite: { end: 'destination', hook: 'prerouting' } }),
    0,
  );
  const back = tuple('10.244.2.10', 8080, '10.244.1.2', 40_000);
  assembler.add(
    sighting({ timeNs: 1200n, hook: 'nat', tuple: back, conntrack: reply, rewrite: { end: 'source', hook: 'postrouting' } }),
    0,
  );
  assembler.flush();
  const { nat, dir } = told[0]!.event;
  assert.equal(dir, 'reply');
  assert.deepEqual(
    nat?.map(({ kind, before, after, seenBy }) => [kind, before.ip, after.ip, seenBy]),
    [
      ['snat', '192.168.0.1', '10.244.1.2', 'kprobe'],
      ['dnat', '10.244.2.10', '10.96.0.10', 'kprobe'],
    ],
  );
});

test('without a rewrite that was seen, conntrack’s entry tells it', () => {
  const { assembler, told } = assembling();
  assembler.add(sighting({ ...SYN, tuple: POD_TO_SERVICE, entry: true, conntrack: MASQUERADED }), 0);
  assembler.flush();
  assert.deepEqual(
    told[0]?.event.nat?.map(({ seenBy, atNs }) => [seenBy, atNs]),
    [
      ['conntrack', undefined],
      ['conntrack', undefined],
    ],
  );
});

test('what the stack does with a packet that no interface has shown is counted, and told of nobody', () => {
  const { assembler, told } = assembling();
  assembler.add(sighting(REWRITES[0]), 0);
  assembler.flush();
  assert.deepEqual([told.length, assembler.counts.unjoined], [0, 0]);
  assembler.add(sighting({ ...REWRITES[0], hook: 'icmp-received' }), 0);
  for (let skb = 1; skb <= 300; skb += 1) assembler.add(sighting({ ...REWRITES[0], skb }), 0);
  assert.deepEqual([told.length, assembler.counts.unjoined], [0, 1 + 45]);
});

test('a rewrite of what the node itself sends waits for its first hop, and for that of no other packet', () => {
  const { assembler, told } = assembling();
  assembler.add(sighting(REWRITES[0]), 0);
  const leaves = {
    ...SYN,
    tuple: POD_TO_ENDPOINT,
    hook: 'tc-out' as const,
    ifindex: UPLINK,
    conntrack: { ...MASQUERADED, status: 0 },
  };
  assembler.add(sighting({ ...leaves, timeNs: 1150n, skb: 7 }), 0);
  assembler.add(sighting({ ...leaves, timeNs: 1200n }), 0);
  assembler.flush();
  assert.deepEqual(
    told.map(({ event }) => event.nat?.map(({ seenBy, atNs }) => [seenBy, atNs])),
    [[['conntrack', undefined]], [['kprobe', -100]]],
  );
});

test('a rewrite of a packet whose entry is told late waits for that, and alone makes nothing worth telling', () => {
  const { assembler, told } = assembling();
  const [destination, source] = REWRITES;
  assembler.add(sighting({ ...destination, timeNs: 900n, skb: 7 }), 0);
  assembler.add(sighting(destination), 0);
  assembler.add(sighting(source), 0);
  assembler.flush();
  assert.equal(told.length, 0);
  assembler.add(sighting({ ...SYN, tuple: POD_TO_SERVICE, entry: true, provisional: true, ifindex: POD }), 0);
  const wire = tuple('192.168.0.1', 50_000, '10.244.2.10', 8080);
  const out = { timeNs: 1400n, tuple: wire, ifindex: UPLINK, hook: 'tc-out' as const, conntrack: MASQUERADED };
  assembler.add(sighting({ ...SYN, ...out }), 0);
  assembler.flush();
  assert.deepEqual(told.map(hops), [['veth1 in', 'eth0 out']]);
  assert.deepEqual(
    told[0]?.event.nat?.map(({ kind, seenBy, atNs }) => [kind, seenBy, atNs]),
    [
      ['dnat', 'kprobe', 100],
      ['snat', 'kprobe', 300],
    ],
  );
});

test('a ping that the kernel was seen answering is answered, and one that it took in delivered', () => {
  for (const [hook, verdict] of [
    ['echo-answered', 'answered'],
    ['icmp-received', 'delivered'],
  ] as const) {
    const { assembler, told } = assembling();
    const ping = { proto: 1, icmp: { type: 8, code: 0, id: 7, seq: 1, mtu: 0 }, tuple: tuple('10.244.1.2', 7, '10.96.0.10', 0) };
    assembler.add(sighting({ ...ping, entry: true }), 0);
    assembler.add(sighting({ ...ping, timeNs: 1100n, hook }), 0);
    assembler.flush();
    assert.equal(told[0]?.event.verdict, verdict);
  }
});
