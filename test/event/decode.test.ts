import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeBatch } from '../../src/event/decode.ts';
import { FLAG, HOOK, SIGHTING, TUNNEL } from '../../src/event/layout.ts';
import type { Sighting } from '../../src/event/sighting.ts';
import { fc } from '../support/fast-check.ts';
import { batch, fullRecord, putTuple, record } from './record.ts';

function decode(bytes: Uint8Array): { sightings: Sighting[]; malformed: number } {
  const sightings: Sighting[] = [];
  const { malformed } = decodeBatch(bytes, (sighting) => sightings.push(sighting));
  return { sightings, malformed };
}

test('a record is decoded field by field', () => {
  const { sightings, malformed } = decode(batch([fullRecord()]));
  assert.equal(malformed, 0);
  const { data, ...rest } = sightings[0]!;
  assert.deepEqual([...data], [0x45, 1, 2]);
  const original = { src: '10.244.1.2', dst: '10.96.0.10', sport: 40_000, dport: 80 };
  assert.deepEqual(rest, {
    timeNs: 5_000_000_001n,
    skb: 0x1f_8880_0000_1000,
    netns: 4_026_531_840,
    ifindex: 7,
    hook: 'tc-out',
    provisional: true,
    nothingNew: true,
    entry: true,
    len: 60,
    gsoSegs: 3,
    ipVersion: 4,
    proto: 6,
    tuple: original,
    ipId: 777,
    fragment: undefined,
    tcp: { flags: 0x12, seq: 0xffff_fff0, ack: 2 },
    icmp: undefined,
    quoted: undefined,
    conntrack: {
      original,
      reply: { src: '10.244.2.10', dst: '192.168.0.1', sport: 8080, dport: 61_000 },
      status: 0x1a8,
      isReply: true,
      remembered: true,
    },
    tunnel: { kind: 'vxlan', vni: 1, src: '192.168.0.1', dst: 'fd00::2' },
    vlan: { id: 100 },
    drop: undefined,
    rewrite: undefined,
    sent: undefined,
    payloadHash: 99,
    headerBytes: 2,
  });
});

test('a tunnel is told by its kind', () => {
  const kindOf = (tunnelKind: number) => decode(batch([record({ tunnelKind })])).sightings[0]?.tunnel?.kind;
  const { none, vxlan, ipip, geneve } = TUNNEL;
  assert.deepEqual([none, vxlan, ipip, geneve].map(kindOf), [undefined, 'vxlan', 'ipip', 'geneve']);
});

test('an ICMP error brings id and seq of the echo that it quotes, and of no other ICMP', () => {
  for (const [sport, icmpSeq, seq] of [
    [77, 3, 3],
    [77, 0, 0],
    [0, 0, undefined],
  ] as const) {
    const error = record({ flags: FLAG.l4 | FLAG.quoted, proto: 1, icmpType: 3, quotedProto: 1, icmpSeq });
    putTuple(error, SIGHTING.quoted, { src: '10.244.1.2', dst: '10.244.2.10', sport, dport: 0 });
    const quoted = decode(batch([error])).sightings[0]?.quoted;
    assert.deepEqual([quoted?.tuple.sport, quoted?.seq], [sport, seq]);
  }
});

test('an ICMP error brings its quoted flow, a drop its reason and place, a fragment its offset', () => {
  const error = record({
    hook: HOOK.drop,
    flags: FLAG.l4 | FLAG.quoted | FLAG.fragment | FLAG.moreFragments,
    proto: 58,
    ipVersion: 6,
    icmpType: 2,
    icmpMtu: 1280,
    quotedProto: 17,
    fragmentOffset: 1480,
    dropReason: 5,
    dropLocation: 0xffff_ffff_8100_0000n,
    tunnelKind: TUNNEL.ipip,
  });
  putTuple(error, SIGHTING.quoted, { src: 'fd00::1', dst: 'fd00::2', sport: 53, dport: 4000 });
  const [sighting] = decode(batch([error])).sightings;
  assert.equal(sighting?.hook, 'drop');
  assert.deepEqual(sighting.icmp, { type: 2, code: 0, id: 0, seq: 0, mtu: 1280 });
  assert.deepEqual(sighting.quoted, { proto: 17, tuple: { src: 'fd00::1', dst: 'fd00::2', sport: 53, dport: 4000 } });
  assert.deepEqual(sighting.drop, { reason: 5, location: 0xffff_ffff_8100_0000n });
  assert.deepEqual(sighting.fragment, { offset: 1480, more: true });
  assert.equal(sighting.tunnel?.kind, 'ipip');
  assert.equal(sighting.conntrack, undefined);
});

test('a rewrite brings its end and the hook of netfilter that it is done at, an ICMP error that NAT translates none', () => {
  const of = (flags: number): Uint8Array => record({ hook: HOOK.nat, flags, proto: 6 });
  const source = FLAG.natSource;
  const { sightings } = decode(
    batch([
      ...[0, FLAG.natLocal, source, source | FLAG.natLocal, source | FLAG.natUnhooked, source | FLAG.quoted].map(of),
      record({ hook: HOOK.tcOut, flags: FLAG.natLocal, proto: 6 }),
    ]),
  );
  assert.deepEqual(
    sightings.map(({ rewrite }) => (rewrite === undefined ? 'none' : `${rewrite.end} ${rewrite.hook ?? 'nowhere'}`)),
    [
      ...['destination prerouting', 'destination output', 'source postrouting', 'source input'],
      ...['source nowhere', 'none', 'none'],
    ],
  );
});

test('without an L4 header there are no TCP and no ICMP facts', () => {
  const sightings = decode(batch([record({ hook: 1, proto: 6 }), record({ hook: 1, proto: 1 })])).sightings;
  assert.deepEqual(
    sightings.map(({ tcp, icmp, hook }) => ({ tcp, icmp, hook })),
    [
      { tcp: undefined, icmp: undefined, hook: 'tc-in' },
      { tcp: undefined, icmp: undefined, hook: 'tc-in' },
    ],
  );
});

test('a record that is too short is counted, and those after it are decoded', () => {
  const { sightings, malformed } = decode(batch([fullRecord(), new Uint8Array(12), new Uint8Array(0), fullRecord()]));
  assert.equal(sightings.length, 2);
  assert.equal(malformed, 2);
});

test('a record ends with its captured bytes, which may be few or many, and has no more of them than it holds', () => {
  const head = fullRecord().subarray(0, SIGHTING.data);
  const of = (bytes: number, dataLen: number, headersLen: number): Uint8Array => {
    const whole = new Uint8Array(SIGHTING.data + bytes).fill(7);
    whole.set(head);
    const view = new DataView(whole.buffer);
    view.setUint16(SIGHTING.dataLen, dataLen, true);
    view.setUint16(SIGHTING.headersLen, headersLen, true);
    return whole;
  };
  const { sightings, malformed } = decode(batch([of(0, 0, 0), of(40, 40, 28), of(1500, 1500, 52), of(40, 1500, 1400)]));
  assert.equal(malformed, 0);
  assert.deepEqual(
    sightings.map(({ data, headerBytes }) => [data.length, headerBytes]),
    [
      [0, 0],
      [40, 28],
      [1500, 52],
      [40, 40],
    ],
  );
});

test('a batch cut off anywhere is counted as malformed and never read past its end', () => {
  const whole = batch([fullRecord(), fullRecord()]);
  const one = batch([fullRecord()]).length;
  for (let length = 0; length < whole.length; length++) {
    const { sightings, malformed } = decode(whole.slice(0, length));
    assert.equal(sightings.length, length >= one ? 1 : 0);
    const rest = length % one;
    assert.equal(malformed, rest >= 8 ? 1 : 0, `${length} bytes`);
  }
});

test('any bytes are decoded or counted, never thrown at', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4096 }), (bytes) => {
      const { sightings, malformed } = decode(bytes);
      assert.ok(sightings.length + malformed <= Math.ceil(bytes.length / 8));
    }),
  );
});

test('hostile content of a well-formed record is decoded, its data within its bounds', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: SIGHTING.size, maxLength: SIGHTING.size }), (bytes) => {
      const { sightings, malformed } = decode(batch([bytes]));
      assert.deepEqual([sightings.length, malformed], [1, 0]);
      assert.ok((sightings[0]?.data.length ?? 0) <= SIGHTING.size - SIGHTING.data);
    }),
  );
});

test('records that differ from the one before in a few bytes are decoded as each by itself', () => {
  const change = fc.record({ at: fc.integer({ min: 0, max: SIGHTING.data }), byte: fc.nat(255) });
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 2 }), { minLength: 2, maxLength: 8 }), (all) => {
      const records = [fullRecord()];
      for (const changes of all) {
        const next = records.at(-1)!.slice();
        for (const { at, byte } of changes) next[at] = byte;
        records.push(next);
      }
      const alone = records.flatMap((one) => decode(batch([one])).sightings);
      assert.deepEqual(decode(batch(records)).sightings, alone);
    }),
  );
});

test('captured bytes are copied where they are kept, and only there', () => {
  const bytes = batch([fullRecord()]);
  const kept = decode(bytes).sightings[0]!.data;
  bytes.fill(0);
  assert.deepEqual([...kept], [0x45, 1, 2]);
  const left: number[] = [];
  decodeBatch(batch([fullRecord()]), ({ data }) => left.push(data.length), false);
  assert.deepEqual(left, [0]);
});
