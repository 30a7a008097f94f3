import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timeFrom } from '../../../src/client/merge/instant.ts';
import { MERGE_DEFAULTS, Merge, type MergeOptions } from '../../../src/client/merge/merge.ts';
import type { Endpoint, FlowEvent, KtraceEvent, PacketEvent } from '../../../src/event/types.ts';
import { fc } from '../../support/fast-check.ts';
import { EPOCH_MS, flow, hop, packet, pod } from '../events.ts';

const frontend = pod('frontend', '10.244.1.2', 'host1', 41512, { app: 'guestbook' });
const redis = pod('redis-master', '10.244.3.2', 'host3', 6379);
const service: Endpoint = { ip: '10.96.0.10', port: 6379, service: { namespace: 'default', name: 'redis-master', port: '' } };
const exact = { offsetMs: 0, uncertaintyMs: 0 };
const tunnel = { kind: 'vxlan', vni: 1, src: '172.18.0.1', dst: '172.18.0.3' } as const;

function harness(options: Partial<MergeOptions> = {}) {
  const told: KtraceEvent[] = [];
  const consumed: Record<string, number> = {};
  const merge = new Merge({
    ...MERGE_DEFAULTS,
    epochMs: EPOCH_MS,
    isFollowed: () => true,
    crossed: () => undefined,
    decide: () => 'match',
    tell: (event) => told.push(event),
    consumed: (node) => {
      consumed[node] = (consumed[node] ?? 0) + 1;
    },
    ...options,
  });
  return { merge, told, consumed, packets: () => told.filter((event): event is PacketEvent => event.kind === 'packet') };
}

/** A packet that one node alone sees. */
function lone(id: string, node: string, atMs: number): PacketEvent {
  const ends = { src: pod('x', '10.0.0.1', node), dst: pod('y', '10.0.0.2', node) };
  return packet({ id, fingerprint: id, time: timeFrom(EPOCH_MS, atMs * 1e6), ...ends, hops: [hop(node, 'veth', 'in', 0)] });
}

/** What host1 tells of a SYN to a Service, and host3 of the same. */
function syn({ id = 'a', atNs = 0, fingerprint = 'f1', wireNs = 50_000 } = {}): { first: PacketEvent; second: PacketEvent } {
  const first = packet({
    id: `${id}1`,
    time: timeFrom(EPOCH_MS, atNs),
    fingerprint,
    src: frontend,
    dst: service,
    nat: [
      {
        kind: 'dnat',
        before: service,
        after: { ip: redis.ip, port: 6379 },
        service: 'default/redis-master',
        chains: ['KUBE-SVC-A', 'KUBE-SEP-B'],
        seenBy: 'conntrack',
      },
    ],
    hops: [hop('host1', 'veth1', 'in', 0), hop('host1', 'cni0', 'in', 9_000), hop('host1', 'flannel.1', 'out', 30_000, tunnel)],
  });
  const second = packet({
    id: `${id}2`,
    time: timeFrom(EPOCH_MS, atNs + 30_000 + wireNs),
    fingerprint,
    src: { ip: frontend.ip, port: 41512 },
    dst: { ...redis, pod: { ...redis.pod, labels: { app: 'redis' } } as NonNullable<Endpoint['pod']> },
    hops: [hop('host3', 'flannel.1', 'in', 0, tunnel), hop('host3', 'cni0', 'out', 4_000), hop('host3', 'veth9', 'out', 8_000)],
    verdict: 'delivered',
  });
  return { first, second };
}

test('the parts that two nodes tell of a packet become one record, in the order the packet went', () => {
  for (const order of ['first', 'second'] as const) {
    const { merge, packets, consumed } = harness();
    const parts = syn();
    const [one, other] = order === 'first' ? (['host1', 'host3'] as const) : (['host3', 'host1'] as const);
    merge.add(one, one === 'host1' ? parts.first : parts.second, exact, 0);
    merge.add(other, other === 'host1' ? parts.first : parts.second, exact, 20);
    merge.release(100);
    const [event, ...more] = packets();
    assert.deepEqual(more, []);
    assert.ok(event !== undefined);
    assert.deepEqual(event.nodes, ['host1', 'host3']);
    assert.deepEqual(
      event.hops.map(({ node, if: name, atNs }) => [node, name, atNs]),
      [
        ['host1', 'veth1', 0],
        ['host1', 'cni0', 9_000],
        ['host1', 'flannel.1', 30_000],
        ['host3', 'flannel.1', 80_000],
        ['host3', 'cni0', 84_000],
        ['host3', 'veth9', 88_000],
      ],
    );
    assert.equal(event.verdict, 'delivered');
    assert.deepEqual(event.dst, service);
    assert.deepEqual(event.src.pod?.labels, { app: 'guestbook' });
    assert.deepEqual(event.nat?.[0]?.after.pod?.labels, { app: 'redis' }, "the destination's own node knows its labels");
    assert.equal(event.amends, undefined);
    assert.deepEqual(consumed, { host1: 1, host3: 1 });
  }
});

test('a part whose neighbour never comes is told alone, after a bounded time', () => {
  const { merge, packets } = harness();
  merge.add('host1', syn().first, exact, 0);
  assert.equal(merge.nextDueMs(), MERGE_DEFAULTS.holdMs, 'nobody knows yet that host3 has the other end of this tunnel');
  merge.add('host3', { ...syn({ id: 'b', fingerprint: 'other' }).second }, exact, 0);
  merge.release(MERGE_DEFAULTS.holdMs);
  merge.release(200);
  assert.deepEqual(
    packets().map(({ id }) => id),
    ['a1', 'b2'],
  );
  // Now the tunnel's other end is known: it is waited for.
  merge.add('host1', syn({ id: 'c', atNs: 1e9, fingerprint: 'c' }).first, exact, 1000);
  merge.release(1199);
  assert.equal(packets().length, 2);
  merge.release(1200);
  assert.equal(packets().length, 3);
});

test('a node that never tells its part is soon waited for no more', () => {
  const { merge, packets } = harness();
  merge.add('host3', syn({ id: 'z', fingerprint: 'z' }).second, exact, 0);
  merge.release(500);
  for (let index = 0; index < 10; index++) {
    merge.add('host1', syn({ id: `n${index}`, atNs: index * 1e9, fingerprint: `n${index}` }).first, exact, index * 1000);
    merge.release(index * 1000 + 300);
  }
  const before = packets().length;
  merge.add('host1', syn({ id: 'last', atNs: 20e9, fingerprint: 'last' }).first, exact, 20_000);
  merge.release(20_061);
  assert.equal(packets().length, before + 1);
});

test('a part that comes late tells the record again, under the same id, with all its parts', () => {
  const { merge, packets } = harness();
  const { first, second } = syn();
  merge.add('host3', second, exact, 0);
  merge.release(200);
  merge.add('host1', first, exact, 300);
  merge.release(500);
  assert.deepEqual(
    packets().map(({ id, amends, nodes }) => [id, amends, nodes]),
    [
      ['a2', undefined, ['host3']],
      ['a2', true, ['host1', 'host3']],
    ],
  );
});

test('what a node amends amends the joined record', () => {
  const { merge, packets } = harness();
  const echo = { type: 8, code: 0, name: 'echo-request', id: 7, seq: 1 };
  const { first, second } = syn();
  merge.add('host1', { ...first, proto: 'icmp', icmp: echo }, exact, 0);
  merge.add('host3', { ...second, proto: 'icmp', icmp: echo }, exact, 1);
  merge.release(60);
  merge.add('host1', { ...first, proto: 'icmp', icmp: echo, unanswered: { ms: 1000 }, amends: true }, exact, 1000);
  merge.release(1100);
  const [once, again] = packets();
  assert.equal(once?.id, again?.id);
  assert.equal(again?.amends, true);
  assert.equal(again?.unanswered?.ms, 1000);
  assert.deepEqual(again?.nodes, ['host1', 'host3']);
});

test('a ping that another node dropped is not told again for want of an answer', () => {
  const { merge, packets, consumed } = harness();
  const echo = { type: 8, code: 0, name: 'echo-request', id: 7, seq: 1 };
  const { first, second } = syn();
  const drop = { reason: 'NETFILTER_DROP', at: 'nft_do_chain' };
  merge.add('host1', { ...first, proto: 'icmp', icmp: echo }, exact, 0);
  merge.add('host3', { ...second, proto: 'icmp', icmp: echo, drop, verdict: 'dropped' }, exact, 1);
  merge.release(60);
  merge.add('host1', { ...first, proto: 'icmp', icmp: echo, unanswered: { ms: 1000 }, amends: true }, exact, 1000);
  merge.release(1100);
  assert.deepEqual(
    packets().map(({ verdict, unanswered }) => [verdict, unanswered]),
    [['dropped', undefined]],
  );
  assert.deepEqual(consumed, { host1: 2, host3: 1 });
  assert.equal(merge.counts.captured, merge.counts.told + merge.counts.joined + merge.counts.amended);
});

test('two nodes that miss the same answer tell it once, whenever the second one says so', () => {
  const { merge, packets, consumed } = harness();
  const { first, second } = syn();
  merge.add('host1', first, exact, 0);
  merge.add('host3', second, exact, 1);
  merge.release(60);
  merge.add('host3', { ...second, unanswered: { ms: 1000, retransmissions: 1 }, amends: true }, exact, 1100);
  merge.release(1200);
  merge.add('host1', { ...first, unanswered: { ms: 1000 }, amends: true }, exact, 2900);
  merge.release(3000);
  assert.deepEqual(
    packets().map(({ unanswered, nodes }) => [unanswered, nodes]),
    [
      [undefined, ['host1', 'host3']],
      [{ ms: 1000, retransmissions: 1 }, ['host1', 'host3']],
    ],
  );
  assert.deepEqual(consumed, { host1: 2, host3: 2 });
});

test('every record is counted: also one that says what was told, of a packet whose first record a node’s filter kept back', () => {
  const { merge, packets } = harness();
  const { first, second } = syn();
  merge.add('host1', { ...first, unanswered: { ms: 1000 } }, exact, 0);
  merge.release(100);
  merge.add('host3', { ...second, unanswered: { ms: 1000 }, amends: true }, exact, 101);
  merge.release(1000);
  assert.equal(packets().length, 1);
  const { captured, told, joined, duplicates, amended, filtered, invalid } = merge.counts;
  assert.equal(captured, told + joined + duplicates + amended + filtered + invalid);
  assert.deepEqual([captured, told, joined], [2, 1, 1]);
});

test('what amends a packet that was told before this follow is told again, and counted so', () => {
  const { merge, packets } = harness();
  merge.add('host1', { ...syn().first, amends: true }, exact, 0);
  merge.release(1000);
  assert.deepEqual(
    packets().map(({ amends }) => amends),
    [true],
  );
  const { captured, told, packets: first, amended } = merge.counts;
  assert.deepEqual([captured, told, first, amended], [1, 0, 0, 1]);
});

test('what is amended while it still waits is told once, as no amendment', () => {
  const { merge, packets } = harness();
  const { second } = syn();
  merge.add('host3', second, exact, 0);
  merge.add('host3', { ...second, verdict: 'answered', amends: true }, exact, 1);
  merge.release(10_000);
  assert.deepEqual(
    packets().map(({ amends, verdict }) => [amends, verdict]),
    [[undefined, 'answered']],
  );
});

test('a retransmission is another packet: the part nearest in time is joined', () => {
  const { merge, packets } = harness();
  const one = syn({ id: 'a', atNs: 0 });
  const again = syn({ id: 'b', atNs: 200e6 });
  // The first one's end is lost on the way, the second one's comes first.
  merge.add('host3', again.second, exact, 250);
  merge.add('host1', one.first, exact, 251);
  merge.add('host1', again.first, exact, 252);
  merge.release(600);
  assert.deepEqual(
    packets().map(({ hops, nodes }) => [hops.length, nodes.length]),
    [
      [3, 1],
      [6, 2],
    ],
  );
});

test('other addresses on the wire, another fingerprint, or a time that cannot be keep packets apart', () => {
  const { first, second } = syn();
  const others: PacketEvent[] = [
    { ...second, fingerprint: 'other' },
    { ...second, proto: 'udp' },
    { ...second, src: { ...second.src, port: 1 } },
    { ...second, dst: { ...second.dst, ip: '10.244.3.9' } },
    { ...second, time: timeFrom(EPOCH_MS, 30_000 + 251e6) },
    { ...second, time: timeFrom(EPOCH_MS, 29_000) },
  ];
  for (const other of others) {
    const { merge, packets } = harness();
    merge.add('host1', first, exact, 0);
    merge.add('host3', other, exact, 0);
    merge.release(1000);
    assert.equal(packets().length, 2, JSON.stringify(other));
  }
});

test('a packet over a node port is joined through three nodes, in whatever order they tell', () => {
  const external: Endpoint = { ip: '10.244.1.2', port: 5000, pod: frontend.pod as NonNullable<Endpoint['pod']> };
  const nodePort: Endpoint = { ip: '172.18.0.2', port: 30080, node: 'host2' };
  const masqueraded: Endpoint = { ip: '10.244.2.1', port: 1024, node: 'host2' };
  const parts: [string, PacketEvent][] = [
    [
      'host1',
      packet({ id: '1', src: external, dst: nodePort, hops: [hop('host1', 'veth1', 'in', 0), hop('host1', 'eth0', 'out', 10)] }),
    ],
    [
      'host2',
      packet({
        id: '2',
        time: timeFrom(EPOCH_MS, 1000),
        src: { ip: external.ip, port: 5000 },
        dst: nodePort,
        nat: [
          { kind: 'dnat', before: nodePort, after: redis, seenBy: 'conntrack' },
          { kind: 'snat', before: { ip: external.ip, port: 5000 }, after: masqueraded, seenBy: 'conntrack' },
        ],
        hops: [hop('host2', 'eth0', 'in', 0), hop('host2', 'flannel.1', 'out', 10)],
      }),
    ],
    [
      'host3',
      packet({
        id: '3',
        time: timeFrom(EPOCH_MS, 2000),
        src: masqueraded,
        dst: redis,
        verdict: 'delivered',
        hops: [hop('host3', 'flannel.1', 'in', 0), hop('host3', 'veth9', 'out', 10)],
      }),
    ],
  ];
  fc.assert(
    fc.property(fc.shuffledSubarray([0, 1, 2], { minLength: 3, maxLength: 3 }), (order) => {
      const { merge, packets } = harness();
      for (const at of order) {
        const [node, event] = parts[at] as [string, PacketEvent];
        merge.add(node, event, exact, 0);
      }
      merge.release(1000);
      assert.deepEqual(
        packets().map(({ nodes }) => nodes),
        [['host1', 'host2', 'host3']],
      );
      assert.equal(packets()[0]?.nat?.length, 2);
    }),
  );
});

test('whatever the skew, the order of arrival and the parts that are missing: every part is told once, and joined parts are of one packet', () => {
  const scenario = fc.record({
    skewsMs: fc.record({ host1: fc.integer({ min: -500, max: 500 }), host3: fc.integer({ min: -500, max: 500 }) }),
    errorsMs: fc.record({ host1: fc.integer({ min: -5, max: 5 }), host3: fc.integer({ min: -5, max: 5 }) }),
    sent: fc.array(
      fc.record({
        gapMs: fc.integer({ min: 1, max: 400 }),
        wireUs: fc.integer({ min: 20, max: 5_000 }),
        lateMs: fc.tuple(fc.integer({ min: 0, max: 90 }), fc.integer({ min: 0, max: 90 })),
        isMissing: fc.constantFrom(undefined, undefined, undefined, 'first', 'second'),
      }),
      { minLength: 1, maxLength: 30 },
    ),
  });
  fc.assert(
    fc.property(scenario, ({ skewsMs, errorsMs, sent }) => {
      const { merge, packets, consumed } = harness();
      const arrivals: { atMs: number; node: 'host1' | 'host3'; event: PacketEvent }[] = [];
      let atMs = 0;
      for (const [index, { gapMs, wireUs, lateMs, isMissing }] of sent.entries()) {
        atMs += gapMs;
        const { first, second } = syn({ id: `p${index}-`, atNs: atMs * 1e6, wireNs: wireUs * 1000, fingerprint: `f${index}` });
        const skewed = (event: PacketEvent, extraNs: number, skewMs: number): PacketEvent => ({
          ...event,
          time: timeFrom(EPOCH_MS, atMs * 1e6 + extraNs + skewMs * 1e6),
        });
        if (isMissing !== 'first')
          arrivals.push({ atMs: atMs + 50 + lateMs[0], node: 'host1', event: skewed(first, 0, skewsMs.host1) });
        if (isMissing !== 'second') {
          arrivals.push({
            atMs: atMs + 50 + lateMs[1],
            node: 'host3',
            event: skewed(second, 30_000 + wireUs * 1000, skewsMs.host3),
          });
        }
      }
      arrivals.sort((a, b) => a.atMs - b.atMs);
      for (const { atMs, node, event } of arrivals) {
        merge.release(atMs);
        merge.add(node, event, { offsetMs: skewsMs[node] + errorsMs[node], uncertaintyMs: 5 }, atMs);
      }
      merge.release(atMs + 10_000);
      // The last telling of every record counts.
      const records = new Map(packets().map((event) => [event.id, event]));
      const partsTold = [...records.values()].reduce((sum, event) => sum + event.nodes.length, 0);
      assert.equal(partsTold, arrivals.length);
      const expected = sent.length;
      assert.equal(records.size, expected, 'parts of one packet are joined');
      for (const event of records.values()) {
        const times = event.hops.map(({ atNs }) => atNs);
        assert.deepEqual(
          times,
          [...times].sort((a, b) => a - b),
        );
        assert.ok(event.nodes.length === 1 || event.nodes[0] === 'host1');
      }
      assert.equal((consumed['host1'] ?? 0) + (consumed['host3'] ?? 0), arrivals.length, 'every credit is given back');
      const { counts } = merge;
      assert.equal(counts.captured, counts.told + counts.joined + counts.duplicates + counts.amended + counts.invalid);
    }),
  );
});

test('records of several nodes are told in order of time when they come within the reordering delay', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          atMs: fc.integer({ min: 0, max: 500 }),
          lateMs: fc.integer({ min: 0, max: MERGE_DEFAULTS.holdMs - 1 }),
          node: fc.constantFrom('a', 'b', 'c'),
        }),
      ),
      (sent) => {
        const { merge, packets } = harness();
        const arrivals = sent
          .map((one, index) => ({ ...one, index, arriveMs: one.atMs + one.lateMs }))
          .sort((a, b) => a.arriveMs - b.arriveMs);
        for (const { atMs, arriveMs, node, index } of arrivals) {
          merge.release(arriveMs);
          merge.add(node, lone(`${index}`, node, atMs), exact, arriveMs);
        }
        merge.release(10_000);
        const times = packets().map(({ time }) => time);
        assert.equal(times.length, sent.length);
        assert.deepEqual(times, [...times].sort());
      },
    ),
  );
});

test('where one node’s records come later than they are held for, they are held longer, and again less when none does', () => {
  const { merge, packets } = harness();
  let serial = 0;
  /** Records of two nodes in turn, one each 10 ms, those of the second late: how many are told after a later one. */
  const outOfOrder = (fromMs: number, lateMs: number): number => {
    const before = packets().length;
    const sent = Array.from({ length: 40 }, (_, at) => ({ node: at % 2 === 0 ? 'a' : 'b', atMs: fromMs + at * 10 }));
    const arrivals = sent.map((one) => ({ ...one, arriveMs: one.atMs + (one.node === 'b' ? lateMs : 5) }));
    for (const { node, atMs, arriveMs } of arrivals.sort((one, other) => one.arriveMs - other.arriveMs)) {
      merge.release(arriveMs);
      serial += 1;
      merge.add(node, lone(`${serial}`, node, atMs), exact, arriveMs);
    }
    merge.release(fromMs + 1000);
    const times = packets()
      .slice(before)
      .map(({ time }) => time);
    assert.equal(times.length, sent.length);
    return times.filter((time, at) => at > 0 && time < times[at - 1]!).length;
  };
  const heldMs = (nowMs: number): number => {
    merge.release(nowMs);
    merge.add('a', lone(`held ${nowMs}`, 'a', nowMs), exact, nowMs);
    return (merge.nextDueMs() ?? 0) - nowMs;
  };
  assert.equal(outOfOrder(0, 30), 0, 'within the time that all are held for');
  const first = outOfOrder(2000, 100);
  assert.ok(first > 0 && first < 10, `${first} until it was noticed`);
  assert.equal(outOfOrder(4000, 100), 0);
  const longMs = heldMs(5000);
  assert.ok(longMs > 80 && longMs < 125, `held for ${longMs} ms`);
  assert.ok(heldMs(600_000) < MERGE_DEFAULTS.holdMs + 1);
});

test('what is told again, or comes after minutes, holds nothing up', () => {
  const { merge } = harness();
  merge.add('a', lone('1', 'a', 0), exact, 0);
  merge.add('a', lone('2', 'a', 90), exact, 90);
  merge.release(1000);
  merge.add('a', { ...lone('1', 'a', 0), amends: true }, exact, 1000);
  merge.add('b', lone('3', 'b', -60_000), exact, 1000);
  merge.release(2000);
  merge.add('a', lone('4', 'a', 2000), exact, 2000);
  assert.equal(merge.nextDueMs(), 2000 + MERGE_DEFAULTS.holdMs);
});

test('a packet that two agents tell alike is told once', () => {
  const { merge, packets } = harness();
  const { first } = syn();
  merge.add('host1', first, exact, 0);
  merge.add('host2', { ...first, id: 'other' }, exact, 1);
  merge.release(300);
  assert.equal(packets().length, 1);
  assert.equal(merge.counts.duplicates, 1);
});

test("a conversation is told once, by its source's node where that tells it", () => {
  const { merge, told, consumed } = harness();
  const nat: FlowEvent['nat'] = [
    { kind: 'dnat', before: service, after: redis, service: 'default/redis-master', seenBy: 'conntrack' },
  ];
  merge.add('host3', flow({ id: '3', node: 'host3', src: frontend, dst: redis }), exact, 0);
  merge.add('host1', flow({ id: '1', node: 'host1', src: frontend, dst: service, nat }), exact, 500);
  merge.release(2000);
  assert.deepEqual(
    told.map((event) => (event as FlowEvent).node),
    ['host1'],
  );
  assert.deepEqual(consumed, { host1: 1, host3: 1 });
  const alone = harness();
  alone.merge.add('host3', flow({ id: '3', node: 'host3', src: frontend, dst: redis }), exact, 0);
  alone.merge.release(999);
  assert.equal(alone.told.length, 0);
  alone.merge.release(1000);
  assert.equal(alone.told.length, 1);
});

test('of a recording’s conversations the source’s node tells, though its clock is late and what it tells comes late', () => {
  const HOLD_MS = 5000;
  const { merge, told } = harness({ holdMs: HOLD_MS, mostHoldMs: HOLD_MS });
  const at = (ms: number) => ({ startTime: timeFrom(EPOCH_MS, ms * 1e6), endTime: timeFrom(EPOCH_MS, ms * 1e6) });
  // By the clocks the destination's node saw it first.
  merge.add('host3', flow({ id: '3', node: 'host3', src: frontend, dst: redis, ...at(0) }), exact, 0);
  merge.add('host1', flow({ id: '1', node: 'host1', src: frontend, dst: redis, ...at(0.1) }), exact, 0);
  // Waited for its pod's name, while others were told.
  const later = { ...frontend, port: 41_513 };
  merge.add('host3', flow({ id: '33', node: 'host3', src: later, dst: redis, ...at(10_000) }), exact, 10_000);
  for (let nowMs = 10_500; nowMs < 13_000; nowMs += 500) merge.release(nowMs);
  merge.add('host1', flow({ id: '11', node: 'host1', src: later, dst: redis, ...at(10_000) }), exact, 13_000);
  merge.release(30_000);
  assert.deepEqual(
    told.map((event) => 'id' in event && event.id),
    ['1', '11'],
  );
});

test("a conversation whose source's node is gone is told by the other end's, and by its source's again when that is back", () => {
  const up = new Set(['host1', 'host3']);
  const { merge, told } = harness({ isFollowed: (node) => up.has(node) });
  const tell = (node: string, atMs: number): void => {
    merge.add(node, flow({ id: node, node, src: frontend, dst: redis }), exact, atMs);
    merge.release(atMs + 2000);
  };
  tell('host1', 0);
  tell('host3', 1000);
  up.delete('host1');
  tell('host3', 2000);
  up.add('host1');
  tell('host1', 3000);
  tell('host3', 4000);
  assert.deepEqual(
    told.map((event) => (event as FlowEvent).node),
    ['host1', 'host3', 'host1'],
  );
  assert.equal(merge.counts.duplicates, 2);
});

test('what a node said to the filter counts until it is followed no more', () => {
  const up = new Set(['host1', 'host3']);
  const decided: (string | undefined)[][] = [];
  const decide: MergeOptions['decide'] = (judged) => {
    decided.push([...judged]);
    return 'match';
  };
  const { merge } = harness({ isFollowed: (node) => up.has(node), decide });
  const tell = (node: string, judged: string, atMs: number): void => {
    merge.add(node, flow({ id: node, node, src: frontend, dst: redis, judged }), exact, atMs);
    if (judged === 'last') up.delete(node);
    merge.release(atMs + 2000);
  };
  tell('host1', 'first', 0);
  tell('host1', 'last', 1000);
  tell('host3', 'other', 2000);
  assert.deepEqual(decided, [['first'], ['last'], ['other']]);
});

test('where more conversations wait than there may, the dropped one gives its own node the credit back', () => {
  const { merge, consumed } = harness({ maxPackets: 1 });
  merge.add('host3', flow({ id: '3', node: 'host3', src: frontend, dst: redis }), exact, 0);
  merge.add('host2', flow({ id: '2', node: 'host2', src: frontend, dst: service }), exact, 0);
  assert.deepEqual(consumed, { host3: 1 });
});

test('what is lost and what there is to know is told at once, and memory is bounded', () => {
  const { merge, told, packets } = harness({ maxPackets: 100 });
  merge.add('host1', { v: 1, kind: 'lost', node: 'host1', stage: 'kernel-ring', count: 3, from: '', to: '' }, exact, 0);
  assert.equal(told.length, 1);
  for (let index = 0; index < 500; index++) {
    merge.add('host1', syn({ id: `${index}`, atNs: index * 1000, fingerprint: `${index}` }).first, exact, 1);
    merge.release(1);
  }
  assert.equal(packets().length, 400, 'beyond the bound the oldest is told without waiting');
});

test('nothing is held of packets that were told, whichever part of them came first', () => {
  const { merge, packets } = harness();
  for (let index = 0; index < 500; index++) {
    const { first, second } = syn({ id: `${index}`, atNs: index * 1000, fingerprint: `${index}` });
    merge.add('host3', second, exact, index);
    merge.add('host1', first, exact, index);
    merge.release(index);
  }
  assert.ok(merge.heldPackets > 0);
  merge.release(1000);
  assert.equal(packets().length, 500);
  assert.equal(merge.heldPackets, 0);
});

test('every record’s credit is given back once, whatever comes again, is joined, forgotten or let go for want of room', () => {
  const step = fc.record({
    which: fc.integer({ min: 0, max: 4 }),
    part: fc.constantFrom('first' as const, 'second' as const),
    amends: fc.boolean(),
    judged: fc.constantFrom(undefined, '1:1', '1:0'),
    laterMs: fc.integer({ min: 0, max: 6000 }),
    isReleased: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.integer({ min: 1, max: 5 }), (steps, maxPackets) => {
      const decide: MergeOptions['decide'] = (judged) =>
        judged.includes('1:0') && !judged.includes('1:1') ? 'mismatch' : 'match';
      const { merge, consumed } = harness({ maxPackets, decide });
      let nowMs = 0;
      for (const { which, part, amends, judged, laterMs, isReleased } of steps) {
        nowMs += laterMs;
        const { [part]: event } = syn({ id: `p${which}-`, atNs: nowMs * 1e6, wireNs: 100_000, fingerprint: `f${which}` });
        const told = { ...event, ...(amends ? { amends: true as const } : {}), ...(judged === undefined ? {} : { judged }) };
        merge.add(part === 'first' ? 'host1' : 'host3', told, { offsetMs: 0, uncertaintyMs: 1 }, nowMs);
        if (isReleased) merge.release(nowMs + laterMs / 10);
      }
      merge.release(nowMs, true);
      assert.equal((consumed['host1'] ?? 0) + (consumed['host3'] ?? 0), steps.length);
      assert.equal(merge.heldPackets, 0);
      const { captured, told, joined, duplicates, amended, filtered, invalid } = merge.counts;
      assert.equal(captured, told + joined + duplicates + amended + filtered + invalid);
    }),
  );
});
