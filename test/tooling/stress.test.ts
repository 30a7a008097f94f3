import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Echoes, pingsOf } from '../../scripts/stress/echoes.ts';
import { metricSum } from '../../scripts/stress/metric-sum.ts';
import { unreadableIn } from '../../scripts/stress/unreadable.ts';
import { judge, MOST_GROWN_MIB, type Outcome } from '../../scripts/stress/verdict.ts';
import { summaryText } from '../../src/client/render/summary.ts';
import type { KtraceEvent, LostEvent, LostStage, PacketEvent } from '../../src/event/types.ts';

const MIB = 1024 * 1024;
const NOTHING = {
  captured: 0,
  told: 0,
  packets: 0,
  flows: 0,
  joined: 0,
  duplicates: 0,
  amended: 0,
  filtered: 0,
  undecided: 0,
  invalid: 0,
};
const GOOD: Outcome = {
  name: 'flood',
  node: 'host2',
  seconds: 60,
  thrown: { SYNs: 1000, refused: 0 },
  memory: { 'agent-host2': { cold: 80 * MIB, begin: 100 * MIB, max: 300 * MIB, end: (100 + MOST_GROWN_MIB) * MIB } },
  faults: [],
  restarted: [],
  honest: { sent: 600, whole: 600, lost: {}, isAlive: true },
  newcomer: 'did not come',
  problems: [],
};

test('the events that a client could not read are counted as its summary says them', () => {
  const counts = { ...NOTHING, captured: 30_000, told: 16_601, packets: 16_601, invalid: 13_399 };
  const said = summaryText({ counts, lost: {}, agents: 3, missing: [], gaps: [] }, { packets: 16_601, dropped: 0, flows: 0 }, 60);
  assert.equal(unreadableIn(said), 13_399);
  assert.equal(unreadableIn('30 packets'), 0);
});

test('a peak that goes away again, and every ping told, is good', () => {
  assert.deepEqual(judge(GOOD), []);
});

test('a ping that is not told is good where at least as much is told as lost, and only there', () => {
  const missing = (lost: number) =>
    judge({ ...GOOD, honest: { ...GOOD.honest, whole: 597, lost: { 'kernel-ring': lost - 1, 'client-socket': 1 } } });
  assert.deepEqual(missing(3), []);
  assert.deepEqual(missing(2), ['3 of 600 pings were not told whole to the other follower, and 2 told as lost']);
});

const BAD: [what: string, outcome: Partial<Outcome>, problem: RegExp][] = [
  ['nothing was thrown', { thrown: { SYNs: 0 } }, /^nothing was thrown/],
  ['an agent is gone', { memory: { 'agent-host2': { cold: 1, begin: 1, max: 1, end: undefined } } }, /^agent-host2 is gone$/],
  ['an agent is another process', { restarted: ['agent-host2'] }, /^agent-host2 was started anew$/],
  [
    'another agent keeps more than it may',
    { memory: { ...GOOD.memory, 'agent-host1': { cold: 0, begin: 0, max: 0, end: MOST_GROWN_MIB * MIB + MIB / 2 } } },
    /^agent-host1 has 48\.5 MiB more than before/,
  ],
  [
    'a gate had more than its container may',
    { memory: { 'gate-host1': { cold: 0, begin: 0, max: 200 * MIB, end: 0 } } },
    /^gate-host1 had 200\.0 MiB \(at most 192\)$/,
  ],
  ['a log tells of a fault', { faults: ['agent-host1.log: no'] }, /^1 faults, the first: agent-host1/],
  ['the other follower has ended', { honest: { ...GOOD.honest, isAlive: false } }, /^the other follower has ended$/],
  ['no ping was sent', { honest: { ...GOOD.honest, sent: 0, whole: 0 } }, /^the other follower had nothing/],
  ['the scenario says so', { problems: ['the client has ended'] }, /^the client has ended$/],
];
for (const [what, outcome, problem] of BAD) {
  test(`it is bad when ${what}`, () => {
    const problems = judge({ ...GOOD, ...outcome });
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? '', problem);
  });
}

const echo = (seq: number, name: string, hops: number, id = 7) =>
  ({
    kind: 'packet',
    icmp: { type: 8, code: 0, name, id, seq },
    hops: Array.from({ length: hops }, () => ({})),
  }) as unknown as PacketEvent;

const lost = (stage: LostStage, count: number, name?: string): LostEvent => ({
  v: 1,
  kind: 'lost',
  node: 'host2',
  stage,
  count,
  from: '2026-11-28T00:00:00Z',
  to: '2026-11-28T00:00:01Z',
  ...(name === undefined ? {} : { pod: { namespace: 'default', name, uid: '' } }),
});

test('a ping is whole when it and its reply were told with all hops, however often they were told', () => {
  const echoes = new Echoes('quiet');
  const events: KtraceEvent[] = [
    ...[1, 2, 3, 4].map((seq) => echo(seq, 'echo-request', 6)),
    // Amended, from one node's part to both nodes'.
    ...[echo(1, 'echo-reply', 3), echo(1, 'echo-reply', 6), echo(2, 'echo-reply', 3)],
    ...[echo(3, 'echo-request', 6, 8), echo(3, 'echo-reply', 6, 8)],
    lost('kernel-ring', 5),
    lost('pod-rate', 2, 'quiet'),
    // What the flooded pod's rate cut excuses no ping of the quiet one.
    ...[lost('pod-rate', 70, 'flooded'), lost('pod-rate', 900)],
  ];
  for (const event of events) echoes.add(event);
  const way = echoes.way(7);
  assert.deepEqual(way, { request: 6, reply: 6 });
  const whole = (...answered: number[]) => echoes.whole(7, way, 4, new Set(answered));
  assert.equal(whole(1, 2, 3), 2, '1, and 4 that nobody answered');
  assert.equal(echoes.whole(7, way, 5, new Set([1])), 4, '5 was not told at all');
  assert.deepEqual(echoes.takeLost(), { 'kernel-ring': 5, 'pod-rate': 2 });
  assert.deepEqual(echoes.takeLost(), {});
  echoes.forget(7);
  assert.equal(whole(1), 0);
});

test('what ping says is read: how many it sent, and which were answered', () => {
  const said = `PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.
64 bytes from 10.0.0.1: icmp_seq=1 ttl=62 time=0.1 ms
64 bytes from 10.0.0.1: icmp_seq=3 ttl=62 time=0.1 ms (DUP!)
From 10.0.0.9 icmp_seq=4 Destination Host Unreachable

--- 10.0.0.1 ping statistics ---
4 packets transmitted, 2 received, +1 duplicates, +1 errors, 50% packet loss, time 3ms
`;
  assert.deepEqual(pingsOf(said), { sent: 4, answered: new Set([1, 3]) });
});

test('a metric is summed over its labels', () => {
  const page = '# HELP a b\na_total{x="1"} 2\na_total{x="2"} 3\na_total_more 9\na_total 4\n';
  assert.equal(metricSum(page, 'a_total'), 9);
  assert.equal(metricSum(page, 'a_total', 'x="2"'), 3);
});
