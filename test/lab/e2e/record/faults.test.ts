import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { Recorder } from '../../../../src/agent/record/recorder.ts';
import { readRecords } from '../../../../src/agent/record/recording.ts';
import type { KtraceEvent, LostEvent, NoticeEvent } from '../../../../src/event/types.ts';
import { createLog } from '../../../../src/util/log.ts';
import { FakeFeed } from '../../../agent/serve/fake-feed.ts';
import { packet } from '../../../client/events.ts';
import { until } from '../../../support/until.ts';
import { SKIP } from '../../support/lab-fixture.ts';

const MIB = 1024 * 1024;

interface Recording {
  recorder: Recorder;
  notices: Pick<NoticeEvent, 'level' | 'text'>[];
  lost: LostEvent[];
  record(count: number): void;
}

/** A file system of its own, as small as it is asked for. */
function smallDisk(t: TestContext, bytes: number): string {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', folder]);
  t.after(() => {
    execFileSync('umount', ['-l', folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** One on a block device, which can be stopped: a write waits until it is let go on. */
function stoppableDisk(t: TestContext, bytes: number): string {
  const place = mkdtempSync(join(tmpdir(), 'ktrace-disk-'));
  const [image, folder] = [join(place, 'image'), join(place, 'disk')];
  writeFileSync(image, '');
  truncateSync(image, bytes);
  mkdirSync(folder);
  execFileSync('mkfs.ext4', ['-q', image]);
  execFileSync('mount', ['-o', 'loop', image, folder]);
  t.after(() => {
    execFileSync('umount', ['-l', folder]);
    rmSync(place, { recursive: true, force: true });
  });
  return folder;
}

/** Why there is no such disk here. */
function withoutLoop(): string | undefined {
  if (!existsSync('/dev/loop-control')) return 'needs loop devices';
  const lacking = ['mkfs.ext4', 'fsfreeze'].find(
    (program) => spawnSync(program, ['-V'], { stdio: 'ignore' }).error !== undefined,
  );
  return lacking === undefined ? undefined : `needs ${lacking}`;
}

async function start(t: TestContext, folder: string): Promise<Recording> {
  const notices: Recording['notices'] = [];
  const lost: LostEvent[] = [];
  const feed = new FakeFeed();
  const recorder = await Recorder.start({
    config: { directory: join(folder, 'recording'), budgetBytes: 64 * MIB, ageMs: 3_600_000 },
    feed,
    ownPods: () => [],
    isPodAddress: () => false,
    name: () => undefined,
    notice: (notice) => notices.push(notice),
    withdraw: (_, by) => by && notices.push(by),
    lost: (event) => lost.push(event),
    log: createLog('agent', 'silent'),
  });
  t.after(() => recorder.close());
  let serial = 0;
  const record = (count: number): void => {
    for (let at = 0; at < count; at++) {
      // Of many pods: within the shares of all there is more than the disk takes.
      const pod = { namespace: 'shop', name: 'web', uid: `u${serial % 50}`, node: feed.node, labels: {} };
      const ends = { src: { ip: '10.0.0.1', pod }, dst: { ip: '10.0.0.2' }, hops: [] };
      const event = packet({ ...ends, id: `p${serial++}`, time: new Date().toISOString() });
      // With bytes that do not compress.
      recorder.event(event, [randomBytes(600)]);
    }
  };
  return { recorder, notices, lost, record };
}

/** Those of packets, and how many records the recording says are lost on the disk. */
async function readingOf(recorder: Recorder): Promise<{ ids: string[]; lost: number }> {
  recorder.flush();
  const found = { ids: [] as string[], lost: 0 };
  const damaged: unknown[] = [];
  const options = { sinceMs: 0, untilMs: 8e15, keys: undefined, after: undefined, onDamage: (one: unknown) => damaged.push(one) };
  for await (const { raw } of readRecords(recorder, options)) {
    for (const line of raw.toString().trimEnd().split('\n')) {
      const event = JSON.parse(line) as KtraceEvent;
      if (event.kind === 'packet') found.ids.push(event.id);
      else if (event.kind === 'lost' && event.stage === 'recorder') found.lost += event.count;
    }
  }
  assert.deepEqual(damaged, []);
  return found;
}

suite('a recorder whose disk fails', { skip: SKIP }, () => {
  test('a full disk is told, what cannot be kept is counted, and recording goes on when there is room', async (t) => {
    // Without the filler there is room for all that may wait.
    const folder = smallDisk(t, 16 * MIB);
    const { recorder, notices, lost, record } = await start(t, folder);
    record(10);
    await until('the first are written', () => recorder.stores.share.counts.writtenRecords >= 10);
    writeFileSync(join(folder, 'filler'), Buffer.alloc(16 * MIB - 64 * 1024));
    // Each has its own id and bytes: the disk is full long before all of them are on it.
    await until('it is told', () => {
      record(1000);
      return notices.some(({ level }) => level === 'warn') && lost.some(({ stage }) => stage === 'recorder');
    });
    assert.match(notices[0]?.text ?? '', /not recorded: .*ENOSPC/);
    // So many are also more than their share.
    assert.ok(lost.every(({ stage, count }) => ['recorder', 'recorder-share'].includes(stage) && count > 0));
    rmSync(join(folder, 'filler'));
    await until('it records again', () => notices.some(({ level }) => level === 'info'));
    record(1);
    await until('the last is written', async () => (await readingOf(recorder)).ids.length > 10);
    assert.deepEqual((await readingOf(recorder)).ids.slice(0, 2), ['p0', 'p1']);
    const lostRecords = () => Object.values(recorder.stores).reduce((sum, { counts }) => sum + counts.lostRecords, 0);
    await until('what was lost is in the recording', async () => (await readingOf(recorder)).lost >= lostRecords());
    assert.equal((await readingOf(recorder)).lost, lostRecords());
  });

  test('a disk that is read-only is told, and used again when it may be written', async (t) => {
    const folder = smallDisk(t, 16 * MIB);
    const { notices, record, recorder } = await start(t, folder);
    record(1);
    await until('the first is written', () => recorder.stores.share.counts.writtenRecords >= 1);
    rmSync(join(folder, 'recording'), { recursive: true });
    // A view of it that may not be written: a mount with a file open for writing cannot be made so itself.
    execFileSync('mount', ['--bind', folder, folder]);
    try {
      execFileSync('mount', ['-o', 'remount,bind,ro', folder]);
      await until('it is told', () => {
        record(1);
        return notices.some(({ level }) => level === 'warn');
      });
      assert.match(notices[0]?.text ?? '', /EROFS/);
    } finally {
      execFileSync('umount', ['-l', folder]);
    }
    await until('it records again', () => notices.some(({ level }) => level === 'info'));
  });

  test('a disk that hangs makes nobody wait, is told, and what waited and what was lost are in the recording when it answers', async (t) => {
    const why = withoutLoop();
    if (why !== undefined) return t.skip(why);
    const folder = stoppableDisk(t, 64 * MIB);
    const { recorder, notices, lost, record } = await start(t, folder);
    record(10);
    await until('the first are written', () => recorder.stores.share.counts.writtenRecords >= 10);
    execFileSync('fsfreeze', ['-f', folder]);
    try {
      // Whoever records is not held up: this goes on while nothing is written.
      await until('it is told', () => {
        record(500);
        return notices.some(({ level }) => level === 'warn') && lost.some(({ stage }) => stage === 'recorder');
      });
    } finally {
      execFileSync('fsfreeze', ['-u', folder]);
    }
    assert.match(notices[0]?.text ?? '', /not recorded: slow/);
    await until('it records again', () => notices.some(({ level }) => level === 'info'));
    const lostRecords = () => Object.values(recorder.stores).reduce((sum, { counts }) => sum + counts.lostRecords, 0);
    await until('what was lost is in the recording', async () => (await readingOf(recorder)).lost >= lostRecords());
    const { ids, lost: told } = await readingOf(recorder);
    assert.equal(told, lostRecords());
    assert.deepEqual(ids.slice(0, 2), ['p0', 'p1']);
    // What waited in memory is there, too.
    assert.ok(ids.length > 100, `${ids.length} records`);
  });
});
