import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { REPORT_LIMITS, type ReportLimits } from '../../src/client/report/limits.ts';
import type { Peers } from '../../src/client/report/peers.ts';
import { Report } from '../../src/client/report/report.ts';
import { stepsOf } from '../../src/client/report/steps.ts';
import { BAR_KINDS, Timeline } from '../../src/client/report/timeline.ts';
import type { Endpoint, KtraceEvent, PacketEvent, Translation } from '../../src/event/types.ts';
import { fc } from '../support/fast-check.ts';
import { flow, hop, packet, pod } from './events.ts';

const client = pod('web', '10.1.0.1', 'host1', 40_000);
const master = pod('db-0', '10.2.0.1', 'host2', 6379);
const service: Endpoint = { ip: '10.96.0.10', port: 6379, service: { namespace: 'default', name: 'db', port: '' } };
const world: Endpoint = { ip: '192.0.2.9', port: 443, world: true };
const outside: Endpoint = { ip: '172.18.0.1', port: 61_000, node: 'host1' };
const dnat: Translation = { kind: 'dnat', before: service, after: master, service: 'default/db', seenBy: 'kprobe' };
const masquerade: Translation = { kind: 'snat', before: client, after: outside, seenBy: 'conntrack' };
const back = (one: Translation): Translation => ({ ...one, before: one.after, after: one.before });
const here = [hop('host1', 'veth1', 'in', 0)];
const drop = { reason: 'NO_SOCKET', at: 'tcp_v4_rcv' };
let ids = 0;

const told = (fields: Partial<PacketEvent> & Pick<PacketEvent, 'src' | 'dst'>): PacketEvent =>
  packet({ id: `p${++ids}`, hops: here, ...fields });

function reportOf(events: readonly KtraceEvent[], limits: Partial<ReportLimits> = {}): { report: Report; rows: Peers[] } {
  const report = new Report({ ...REPORT_LIMITS, ...limits });
  for (const event of events) report.add(event);
  report.end();
  return { report, rows: report.peers.shown(100).rows };
}

suite('a report of records', () => {
  test('puts both directions, the counts and the errors of a translated conversation together', () => {
    const about = { proto: 'tcp', src: client, dst: service, dir: 'request' as const, nat: [dnat] };
    const icmp = { type: 3, code: 1, name: 'host-unreachable', about };
    const { report, rows } = reportOf([
      told({ src: client, dst: service, nat: [dnat] }),
      told({ src: master, dst: client, dir: 'reply', nat: [back(dnat)] }),
      // Seen on the other node alone, where nobody knows the Service.
      told({ src: client, dst: master }),
      told({ src: { ip: '10.2.0.254', node: 'host2' }, dst: { ip: client.ip }, proto: 'icmp', icmp }),
      flow({ id: 'f1', node: 'host1', src: client, dst: service, nat: [dnat], packets: { request: 7, reply: 5 } }),
    ]);
    assert.equal(rows.length, 1);
    const [row] = rows;
    assert.deepEqual([row?.src, row?.dst, row?.conversations], [client, service, 1]);
    assert.deepEqual([row?.told, row?.packets, row?.errors], [{ request: 2, reply: 1 }, { request: 7, reply: 5 }, 1]);
    assert.deepEqual([report.totals.packets, report.totals.errors, report.totals.translated], [4, 1, 2]);
    assert.deepEqual(
      report.translations.shown(9).rows.map(({ of: { before, after }, count }) => [before.ip, after.ip, count]),
      [[service.ip, master.ip, 2]],
    );
  });

  test('takes the reply to a masqueraded packet for its reply', () => {
    const { rows } = reportOf([
      told({ src: client, dst: world, nat: [masquerade] }),
      told({ src: world, dst: outside, dir: 'reply', nat: [back(masquerade)] }),
    ]);
    assert.deepEqual(
      rows.map(({ src, dst, told }) => [src, dst, told]),
      [[client, world, { request: 1, reply: 1 }]],
    );
  });

  test('takes a packet that was dropped before its translation for one of the translated conversation', () => {
    const { rows } = reportOf([told({ src: client, dst: service, nat: [dnat] }), told({ src: client, dst: service, drop })]);
    assert.deepEqual(
      rows.map(({ conversations, drops }) => [conversations, drops]),
      [[1, 1]],
    );
  });

  test('replaces a packet that is told again with more known of it', () => {
    const first = told({ src: client, dst: master });
    const { report, rows } = reportOf([first, { ...first, amends: true, drop, verdict: 'dropped' }]);
    assert.deepEqual([report.totals.packets, report.totals.dropped, rows[0]?.told.request, rows[0]?.drops], [1, 1, 1, 1]);
    assert.deepEqual(
      [...(rows[0]?.ways ?? [])].map(({ packet: { drop: at }, count }) => [at, count]),
      [[drop, 1]],
    );
    assert.deepEqual(
      report.lastPackets.map(({ verdict }) => verdict),
      ['dropped'],
    );
    const again = reportOf([first, { ...first, amends: true, drop }, { ...first, amends: true }]);
    assert.deepEqual([again.report.totals.dropped, again.report.drops.shown(9).rows], [0, []]);
    // What a filter lets through may be the second telling alone.
    assert.equal(reportOf([{ ...first, amends: true, drop }]).report.totals.packets, 1);
  });

  test('adds up counts that grow, those of a new conversation with the same ports, and none twice that two nodes counted', () => {
    const counted = (id: string, node: string, request: number, start: number): KtraceEvent =>
      flow({
        ...{ id, node, src: client, dst: master, packets: { request, reply: 0 }, bytes: { request: 0, reply: 0 } },
        ...{ startTime: `2026-11-22T08:45:0${start}.000000000Z`, endTime: `2026-11-22T08:45:0${start + 2}.000000000Z` },
      });
    const requests = (...events: KtraceEvent[]) => reportOf(events).rows[0]?.packets.request;
    assert.equal(requests(counted('a', 'host1', 3, 0), counted('a', 'host1', 8, 1)), 8);
    assert.equal(requests(counted('a', 'host1', 8, 0), counted('b', 'host1', 2, 5)), 10);
    assert.equal(requests(counted('a', 'host2', 8, 0), counted('b', 'host1', 9, 0)), 9);
    assert.equal(reportOf([counted('a', 'host1', 3, 0)]).rows[0]?.silent, 1);
  });

  test('takes a conversation that was not counted for no silent one', () => {
    const { rows } = reportOf([flow({ id: 'a', node: 'host1', src: client, dst: master, state: 'close', counted: false })]);
    assert.deepEqual([rows[0]?.isCounted, rows[0]?.silent], [false, 0]);
  });

  test('holds so many conversations, and sums the others up with their peers', () => {
    const many = Array.from({ length: 100 }, (_, at) => told({ src: { ...client, port: 1000 + at }, dst: master }));
    const { report, rows } = reportOf(many, { conversations: 10, shownConversations: 5 });
    assert.deepEqual([rows.length, rows[0]?.conversations, rows[0]?.told.request, rows[0]?.listed.length], [1, 100, 100, 5]);
    assert.deepEqual([report.conversations.begun, report.conversations.letGo], [100, 90]);
    // All took the same way, whatever their ports.
    assert.deepEqual(
      [...(rows[0]?.ways ?? [])].map(({ count }) => count),
      [100],
    );
  });

  test('lists those with trouble although others came first', () => {
    const calm = Array.from({ length: 30 }, (_, at) => told({ src: pod(`web-${at}`, `10.1.1.${at}`, 'host1', 9), dst: master }));
    const bad = told({ src: client, dst: master, drop });
    const { report, rows } = reportOf([...calm, bad], { heldRows: 12, heldWays: 12 });
    assert.deepEqual([rows[0]?.drops, rows[0]?.ways.size, rows.length], [1, 1, 9]);
    assert.equal(report.peers.shown(5).leftOut.told, 26);
    const ports = Array.from({ length: 30 }, (_, at) => told({ src: { ...client, port: at + 1 }, dst: master }));
    assert.ok(reportOf([...ports, bad], { shownConversations: 4 }).rows[0]?.listed.some(({ drops }) => drops > 0));
  });
});

suite('the steps of a way', () => {
  test('have a translation between the hops it was seen between, on the node it was seen on', () => {
    const hops = [hop('host1', 'veth1', 'in', 0), hop('host1', 'eth0', 'out', 20), hop('host2', 'eth0', 'in', 90)];
    const at = (atNs: number): Translation => ({ ...dnat, atNs });
    const kinds = (nat: Translation[]) =>
      stepsOf(packet({ id: 'x', src: client, dst: service, hops, nat })).map((step) =>
        step.kind === 'hop' ? step.hop.if : `${step.kind} ${'node' in step ? step.node : ''}`,
      );
    assert.deepEqual(kinds([at(10)]), ['veth1', 'translation host1', 'eth0', 'eth0']);
    assert.deepEqual(kinds([at(100)]), ['veth1', 'eth0', 'eth0', 'translation host2']);
    assert.deepEqual(kinds([at(-5)]), ['translation host1', 'veth1', 'eth0', 'eth0']);
    assert.deepEqual(kinds([dnat]), ['veth1', 'eth0', 'eth0', 'translation undefined']);
  });

  test('end where the packet was dropped', () => {
    const steps = stepsOf(packet({ id: 'x', src: client, dst: master, hops: here, drop }));
    assert.deepEqual(steps.at(-1), { kind: 'drop', node: 'host1' });
  });
});

test('a timeline has every packet in one of its bars, however long it gets', () => {
  const times = fc.array(fc.tuple(fc.date({ noInvalidDate: true }), fc.constantFrom(...BAR_KINDS)), { minLength: 1 });
  fc.assert(
    fc.property(times, fc.integer({ min: 2, max: 50 }), (records, most) => {
      const timeline = new Timeline(most);
      for (const [date, kind] of records) timeline.add(date.toISOString(), kind, 1);
      const bars = timeline.bars();
      const span = ((bars.at(-1)?.atMs ?? 0) - (bars[0]?.atMs ?? 0)) / timeline.widthMs;
      assert.ok(span < most);
      for (const kind of BAR_KINDS) {
        const sum = bars.reduce((total, { counts }) => total + counts[kind], 0);
        assert.equal(sum, records.filter(([, one]) => one === kind).length);
      }
      for (const [date] of records)
        assert.ok(bars.some(({ atMs }) => atMs <= date.getTime() && date.getTime() < atMs + timeline.widthMs));
    }),
  );
});
