import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readFilterFile, watchFilterFile } from '../../../src/client/follow/filter-file.ts';
import { FollowFilter, readFilter } from '../../../src/client/merge/follow-filter.ts';
import { MERGE_DEFAULTS, Merge } from '../../../src/client/merge/merge.ts';
import { Undecided } from '../../../src/client/merge/undecided.ts';
import type { KtraceEvent } from '../../../src/event/types.ts';
import { until } from '../../support/until.ts';
import { EPOCH_MS, flow, hop, packet, pod } from '../events.ts';

const exact = { offsetMs: 0, uncertaintyMs: 0 };
const tunnel = { kind: 'vxlan', vni: 1, src: '172.18.0.1', dst: '172.18.0.3' } as const;
const redis = pod('redis', '10.244.3.2', 'host3', 6379);
const frontend = pod('frontend', '10.244.1.2', 'host1', 41512);

async function filtered(text: string) {
  const filter = new FollowFilter(await readFilter(text, () => Promise.resolve([])));
  const told: KtraceEvent[] = [];
  const merge = new Merge({
    ...MERGE_DEFAULTS,
    epochMs: EPOCH_MS,
    isFollowed: () => true,
    crossed: () => undefined,
    consumed: () => undefined,
    decide: (judged) => filter.decide(judged),
    tell: (event) => told.push(event),
  });
  return { filter, merge, told };
}

/** What host1 and host3 tell of one packet, with what each says to a filter. */
function parts(here: string, there: string, id = 'a') {
  const first = packet({
    id: `${id}1`,
    src: frontend,
    dst: { ip: redis.ip, port: 6379 },
    fingerprint: id,
    hops: [hop('host1', 'veth1', 'in', 0), hop('host1', 'flannel.1', 'out', 9_000, tunnel)],
    judged: here,
  });
  const second = packet({
    id: `${id}2`,
    time: '2026-11-22T08:45:00.000030000Z',
    src: { ip: frontend.ip, port: 41512 },
    dst: redis,
    fingerprint: id,
    hops: [hop('host3', 'flannel.1', 'in', 0, tunnel), hop('host3', 'veth9', 'out', 8_000)],
    verdict: 'delivered',
    judged: there,
  });
  return { first, second };
}

test('a packet is shown with all its parts when they match together, and no reader sees what they said', async () => {
  const { merge, told } = await filtered('dropped and host 10.96.0.10');
  const { first, second } = parts('1:01', '1:10');
  merge.add('host1', first, exact, 0);
  merge.add('host3', second, exact, 10);
  merge.release(1000);
  assert.equal(told.length, 1);
  assert.equal((told[0] as unknown as { hops: unknown[] }).hops.length, 4);
  assert.equal('judged' in (told[0] as object), false);
  assert.deepEqual(
    { ...merge.counts },
    { captured: 2, told: 1, packets: 1, flows: 0, joined: 1, duplicates: 0, amended: 0, filtered: 0, undecided: 0, invalid: 0 },
  );
});

test('a packet that no part makes match is not shown, and counted', async () => {
  const { merge, told } = await filtered('dropped and host 10.96.0.10');
  const { first, second } = parts('1:00', '1:10');
  merge.add('host1', first, exact, 0);
  merge.add('host3', second, exact, 10);
  merge.release(1000);
  assert.deepEqual(told, []);
  assert.deepEqual(
    { ...merge.counts },
    { captured: 2, told: 0, packets: 0, flows: 0, joined: 1, duplicates: 0, amended: 0, filtered: 1, undecided: 0, invalid: 0 },
  );
});

test('a part that comes late makes its packet match, which is then told for the first time and whole', async () => {
  const { merge, told } = await filtered('dropped and host 10.96.0.10');
  const { first, second } = parts('1:01', '1:10');
  merge.add('host1', first, exact, 0);
  merge.release(1000);
  assert.deepEqual(told, []);
  assert.equal(merge.counts.filtered, 1);
  merge.add('host3', second, exact, 1100);
  merge.release(2000);
  assert.equal(told.length, 1);
  assert.equal((told[0] as unknown as { hops: unknown[] }).hops.length, 4);
  assert.equal((told[0] as unknown as { amends?: true }).amends, undefined);
  assert.deepEqual(
    { ...merge.counts },
    { captured: 2, told: 1, packets: 1, flows: 0, joined: 1, duplicates: 0, amended: 0, filtered: 0, undecided: 0, invalid: 0 },
  );
});

test('a packet that was captured shorter than the filter reads is counted once, with how far it reads, and shown to nobody', async () => {
  const { merge, told } = await filtered('udp[20:2] = 1');
  const { first, second } = parts('1:x', '1:x');
  merge.add('host1', { ...first, wantsBytes: 42 }, exact, 0);
  merge.release(1000);
  merge.add('host3', { ...second, wantsBytes: 42 }, exact, 1100);
  merge.release(2000);
  assert.deepEqual(told, []);
  assert.equal(merge.wantsBytes, 42);
  assert.deepEqual(
    { ...merge.counts },
    { captured: 2, told: 0, packets: 0, flows: 0, joined: 1, duplicates: 0, amended: 0, filtered: 1, undecided: 1, invalid: 0 },
  );
});

test('nor is it counted when another part makes it match, or when the packet itself is shorter', async () => {
  const { merge, told } = await filtered('udp[20:2] = 1 or dropped');
  const { first, second } = parts('1:x0', '1:10');
  merge.add('host1', { ...first, wantsBytes: 42 }, exact, 0);
  merge.release(1000);
  assert.equal(merge.counts.undecided, 1);
  merge.add('host3', second, exact, 1100);
  merge.add('host1', parts('1:x0', '', 'short').first, exact, 1200);
  merge.release(3000);
  assert.equal(told.length, 1);
  assert.equal('wantsBytes' in (told[0] as object), false);
  assert.deepEqual([merge.counts.filtered, merge.counts.undecided], [1, 0]);
});

test('what agents count of their streams adds up, also over streams that ended', () => {
  const undecided = new Undecided();
  undecided.begins('host1');
  undecided.told('host1', 3, 42);
  undecided.told('host1', 5, 42);
  undecided.told('host2', 1, 60);
  undecided.begins('host1');
  undecided.told('host1', 2, 42);
  assert.deepEqual(undecided.sum(4, 45), { packets: 12, wantsBytes: 60 });
});

test('what was shown is told to its end, also when it no longer matches', async () => {
  const { merge, told } = await filtered('not dropped');
  const { first } = parts('1:0', '1:0');
  merge.add('host1', first, exact, 0);
  merge.release(1000);
  merge.add('host1', { ...first, amends: true, verdict: 'dropped', judged: '1:1' }, exact, 1100);
  merge.release(2000);
  assert.deepEqual(
    told.map((event) => [(event as { verdict: string }).verdict, 'amends' in event]),
    [
      ['forwarded', false],
      ['dropped', true],
    ],
  );
});

test('an amendment of what was never shown is told as new', async () => {
  const { merge, told } = await filtered('dropped');
  const { first } = parts('1:1', '');
  merge.add('host1', { ...first, amends: true, verdict: 'dropped' }, exact, 0);
  merge.release(1000);
  assert.deepEqual(
    told.map((event) => 'amends' in event),
    [false],
  );
});

test('a record is decided by the filter that it was judged by, also when the filter is another one by then', async () => {
  const { filter, merge, told } = await filtered('dropped');
  filter.set(await readFilter('icmp and dropped', () => Promise.resolve([])));
  assert.deepEqual(filter.wanted.filter, { text: 'icmp and dropped', revision: 2 });
  merge.add('host1', parts('1:1', '', 'x').first, exact, 0);
  merge.add('host1', parts('2:01', '', 'y').first, exact, 0);
  merge.release(1000);
  assert.deepEqual(
    told.map((event) => (event as { fingerprint: string }).fingerprint),
    ['x'],
  );
  filter.set(undefined);
  assert.deepEqual(filter.wanted, {});
});

test('a conversation is shown when what its nodes say together matches, by the record of its source', async () => {
  const { merge, told } = await filtered('host 10.96.0.10 and label app=redis');
  const at = (node: string, judged: string) =>
    flow({ id: `f-${node}`, node, src: frontend, dst: { ip: redis.ip, port: 6379 }, judged });
  merge.add('host1', at('host1', '1:10'), exact, 0);
  merge.release(500);
  assert.equal(merge.counts.filtered, 1);
  merge.add('host3', at('host3', '1:01'), exact, 600);
  merge.add('host1', at('host1', '1:10'), exact, 700);
  merge.release(5000);
  assert.deepEqual(
    told.map((event) => [(event as { node: string }).node, 'judged' in event]),
    [['host1', false]],
  );
});

test('names of hosts become addresses before an agent sees the filter', async () => {
  const read = await readFilter('tcp and (host web or port 80)', () => Promise.resolve(['10.0.0.1', 'fe80::1']));
  assert.equal(read?.text, 'tcp and (host 10.0.0.1 or host fe80::1 or port 80)');
  await assert.rejects(
    readFilter('host web', () => Promise.resolve([])),
    { code: 'KTRACE_E_FILTER_HOST' },
  );
  assert.equal(await readFilter('  ', () => Promise.resolve([])), undefined);
});

test('a file of a filter is read again whenever it is another one, put in its place or written', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-filter-file-'));
  const path = join(folder, 'now.filter');
  writeFileSync(path, 'tcp\n  and port 80\n');
  const seen: string[] = [];
  const watcher = watchFilterFile(
    path,
    readFilterFile(path),
    (text) => seen.push(text),
    (error) => seen.push(String(error)),
  );
  t.after(() => {
    watcher.close();
    rmSync(folder, { recursive: true });
  });
  assert.equal(readFilterFile(path), 'tcp and port 80');
  writeFileSync(path, 'udp');
  await until('the written one is read', () => seen.includes('udp'));
  writeFileSync(join(folder, 'next'), 'icmp');
  renameSync(join(folder, 'next'), path);
  await until('the one in its place is read', () => seen.includes('icmp'));
  rmSync(path);
  await until('its absence is told', () => seen.some((text) => text.includes('ENOENT')));
});
