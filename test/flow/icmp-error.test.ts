import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sighting } from '../../src/event/sighting.ts';
import { assembling, BRIDGE, conntrack, OTHER_POD, POD, sighting, tuple, UPLINK } from './sightings.ts';

const REQUEST = tuple('10.244.1.2', 40_000, '10.96.0.10', 53);
const REPLY = tuple('10.244.2.10', 5353, '192.168.0.1', 50_000);
const OF_FLOW = conntrack(REQUEST, REPLY, { isReply: true });
const QUOTED_ID = 4711;

/** An error about the request as it was on the wire, on its way back at the uplink. */
function unreachable(fields: Partial<Sighting> = {}): Sighting {
  return sighting({
    proto: 1,
    icmp: { type: 3, code: 3, id: 0, seq: 0, mtu: 0 },
    quoted: { proto: 17, tuple: tuple('192.168.0.1', 50_000, '10.244.2.10', 5353) },
    payloadHash: Math.imul(QUOTED_ID, 0x9e3779b1) >>> 0,
    tuple: tuple('10.244.2.10', 0, '192.168.0.1', 0),
    ifindex: UPLINK,
    entry: true,
    ...fields,
  });
}

test('an error is about the packet as its sender sent it, and about what NAT had made of it', () => {
  const { assembler, told } = assembling();
  assembler.add(unreachable({ conntrack: { ...OF_FLOW, remembered: true } }), 0);
  assembler.add(
    unreachable({
      timeNs: 1100n,
      tuple: tuple('10.96.0.10', 0, '10.244.1.2', 0),
      ifindex: POD,
      hook: 'tc-out',
      entry: false,
      conntrack: OF_FLOW,
    }),
    0,
  );
  assembler.flush();
  assert.equal(told.length, 1);
  const { icmp, nat, hops, verdict } = told[0]!.event;
  assert.deepEqual(icmp?.about, {
    proto: 'udp',
    src: { ip: '10.244.1.2', port: 40_000 },
    dst: { ip: '10.96.0.10', port: 53 },
    dir: 'request',
    nat: [
      { kind: 'dnat', before: { ip: '10.96.0.10', port: 53 }, after: { ip: '10.244.2.10', port: 5353 }, seenBy: 'conntrack' },
      {
        kind: 'snat',
        before: { ip: '10.244.1.2', port: 40_000 },
        after: { ip: '192.168.0.1', port: 50_000 },
        seenBy: 'conntrack',
      },
    ],
  });
  assert.deepEqual(
    nat?.map(({ kind, before, after }) => [kind, before.ip, after.ip]),
    [
      ['snat', '192.168.0.1', '10.244.1.2'],
      ['dnat', '10.244.2.10', '10.96.0.10'],
    ],
  );
  assert.deepEqual([hops.map(({ if: name }) => name), verdict, icmp?.by], [['eth0', 'veth1'], 'delivered', undefined]);
});

test('an error about a reply names the reply', () => {
  const { assembler, told } = assembling();
  const quoted = { proto: 17, tuple: tuple('10.96.0.10', 53, '10.244.1.2', 40_000) };
  const ends = tuple('10.244.1.2', 0, '10.96.0.10', 0);
  assembler.add(unreachable({ quoted, tuple: ends, ifindex: POD, conntrack: { ...OF_FLOW, isReply: false } }), 0);
  assembler.flush();
  const { about } = told[0]!.event.icmp!;
  assert.deepEqual([about?.dir, about?.src, about?.nat?.length], ['reply', { ip: '10.244.2.10', port: 5353 }, 2]);
});

test('without a known translation an error is about what it quotes', () => {
  const { assembler, told } = assembling();
  assembler.add(unreachable(), 0);
  assembler.flush();
  const { about } = told[0]!.event.icmp!;
  assert.deepEqual(about, { proto: 'udp', src: { ip: '192.168.0.1', port: 50_000 }, dst: { ip: '10.244.2.10', port: 5353 } });
});

/** The kernel makes an error about the request, whose destination was rewritten already. */
const MADE: Partial<Sighting> = {
  timeNs: 900n,
  hook: 'icmp-sent',
  proto: 17,
  tcp: undefined,
  tuple: tuple('10.244.1.2', 40_000, '10.244.2.10', 5353),
  ipId: QUOTED_ID,
  sent: { type: 3, code: 3, mtu: 0 },
};
const AT_POD: Partial<Sighting> = { tuple: tuple('192.168.0.1', 0, '10.244.1.2', 0), ifindex: POD, hook: 'tc-out', entry: false };

test('an error that the kernel was seen making is this node’s, at the interface whose packet it refused', () => {
  const { assembler, told } = assembling();
  assembler.add(sighting({ ...MADE, ifindex: BRIDGE }), 0);
  assembler.add(unreachable({ ...AT_POD, conntrack: OF_FLOW, quoted: { proto: 17, tuple: REQUEST } }), 0);
  assembler.flush();
  assert.deepEqual(told[0]?.event.icmp?.by, { node: 'host1', if: 'cni0', seenBy: 'kprobe' });
});

for (const [what, fields] of Object.entries<Partial<Sighting>>({
  'another packet': { ipId: QUOTED_ID + 1 },
  'another flow': { tuple: tuple('10.244.1.9', 40_000, '10.244.2.10', 5353) },
  'another code': { sent: { type: 3, code: 1, mtu: 0 } },
  'long ago': { timeNs: -200_000_000n },
})) {
  test(`an error is not taken for one that was made about ${what}`, () => {
    const { assembler, told } = assembling();
    assembler.add(sighting({ ...MADE, ifindex: BRIDGE, ...fields }), 0);
    assembler.add(unreachable({ ...AT_POD, conntrack: OF_FLOW, quoted: { proto: 17, tuple: REQUEST } }), 0);
    assembler.flush();
    assert.equal(told[0]?.event.icmp?.by?.seenBy, 'address');
  });
}

/** The kernel makes so many errors about packets of these senders in turn, one a microsecond; none of them is seen at an interface. */
function making(count: number, senderOf: (at: number) => string): ReturnType<typeof assembling> {
  const opened = assembling();
  for (let at = 0; at < count; at++) {
    const ends = tuple(senderOf(at), 40_000, '10.244.2.10', 5353);
    opened.assembler.add(sighting({ ...MADE, timeNs: 900n + BigInt(at) * 1000n, ipId: at, tuple: ends }), 0);
  }
  return opened;
}

test('errors that were made and are seen at no interface are counted as unjoined, when they are too many or too old', () => {
  assert.equal(making(256, (at) => `10.0.0.${at}`).assembler.counts.unjoined, 0);
  const { assembler } = making(300, (at) => `10.0.${at & 1}.${at >> 1}`);
  assert.equal(assembler.counts.unjoined, 44);
  assembler.add(sighting({ ...MADE, timeNs: 200_000_000n }), 0);
  assert.equal(assembler.counts.unjoined, 300);
});

test('a sender whose packets are all refused does not push out what another’s error was made of', () => {
  const { assembler, told } = making(300, (at) => (at === 0 ? '10.244.1.2' : '10.244.9.9'));
  assert.equal(assembler.counts.unjoined, 299 - 32);
  const quoted = { proto: 17, tuple: REQUEST };
  assembler.add(unreachable({ ...AT_POD, timeNs: 400_000n, payloadHash: 0, conntrack: OF_FLOW, quoted }), 0);
  assembler.flush();
  assert.equal(told[0]?.event.icmp?.by?.seenBy, 'kprobe');
});

test('who made an error is told from its source where the kernel was not seen: the node’s own address, or a pod’s interface', () => {
  for (const [fields, by] of [
    [AT_POD, { node: 'host1', if: 'eth0', seenBy: 'address' }],
    [{ ifindex: OTHER_POD }, { node: 'host1', if: 'veth2', seenBy: 'address' }],
    [
      { ...AT_POD, tuple: tuple('10.96.0.10', 0, '10.244.1.2', 0) },
      { node: 'host1', seenBy: 'way' },
    ],
    [{ ifindex: UPLINK }, undefined],
  ] as const) {
    const { assembler, told } = assembling();
    assembler.add(unreachable(fields), 0);
    assembler.flush();
    assert.deepEqual(told[0]?.event.icmp?.by, by);
  }
});
