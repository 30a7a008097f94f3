import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { redact } from '../../../../src/access/redact.ts';
import type { Recorder } from '../../../../src/agent/record/recorder.ts';
import { readRecords } from '../../../../src/agent/record/recording.ts';
import type { KtraceEvent, LostEvent, LostStage } from '../../../../src/event/types.ts';
import { cleanUp } from '../../../support/clean-up.ts';
import { until } from '../../../support/until.ts';
import { FakeFeed, packet } from '../../serve/fake-feed.ts';
import { startRecorder } from './recorder-fixture.ts';

test('what a pod loses by its share names it to who may see it; what the disk loses is of all pods, and told to all', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-losses-'));
  cleanUp(t, () => rmSync(directory, { recursive: true, force: true }));
  const feed = new FakeFeed();
  const lost: LostEvent[] = [];
  const recorder = await startRecorder(t, {
    directory,
    budgetBytes: 1024 * 1024,
    feed,
    // As the pipeline does: every follower is told, this recorder too.
    lost: (event) => {
      lost.push(event);
      feed.publish(event);
    },
  });
  const pod = { namespace: 'secret', name: 'vault-0', uid: 'u-vault', node: 'host1', labels: { app: 'vault' } };
  for (let at = 0; at < 3000; at++) {
    feed.publish({ ...packet(at), time: new Date().toISOString(), src: { ip: '10.0.0.1', pod } });
  }
  assert.ok(recorder.counts.cut > 0);
  recorder.wasLost(7);
  await until('told', () => lost.length === 2);
  const byShare = lost.find((event) => event.pod !== undefined);
  const byDisk = lost.find((event) => event.pod === undefined);
  assert.deepEqual([byShare?.count, byShare?.pod, byDisk?.count], [recorder.counts.cut, pod, 7]);
  const shown = (namespace: string): unknown[] => lost.filter((event) => redact(event, new Set([namespace])) !== undefined);
  assert.deepEqual([shown('shop'), shown('secret')], [[byDisk], lost]);
  assert.equal(recorder.counts.records, 3000 - recorder.counts.cut);
  // Each once, though the recorder is told of its own losses as every follower is.
  await until('recorded', async () => (await lossesOf(recorder)).length >= 2);
  assert.deepEqual((await lossesOf(recorder)).sort(byStage), [...lost].sort(byStage));
});

const byStage = (a: LostEvent, b: LostEvent) => a.stage.localeCompare(b.stage);

/** What the recording says was lost, as a dump of these keys finds it. */
async function lossesOf(recorder: Recorder, keys?: string[]): Promise<LostEvent[]> {
  await recorder.settled();
  const found: LostEvent[] = [];
  const options = { sinceMs: 0, untilMs: 8e15, keys, after: undefined, onDamage: () => assert.fail('damaged') };
  for await (const { raw } of readRecords(recorder, options)) {
    for (const line of raw.toString().trimEnd().split('\n')) {
      const event = JSON.parse(line) as KtraceEvent;
      if (event.kind === 'lost') found.push(event);
    }
  }
  return found;
}

/** Packets of fifty pods, with bytes that do not compress: within all pods' shares they are more than may wait for the disk. */
function publish(feed: FakeFeed, count: number): void {
  for (let at = 0; at < count; at++) {
    const pod = { namespace: 'shop', name: 'web', uid: `u${at % 50}`, node: 'host1', labels: {} };
    feed.publish({ ...packet(at), time: new Date().toISOString(), src: { ip: '10.0.0.1', pod } }, [randomBytes(600)]);
  }
}

const sumOf = (losses: readonly LostEvent[], stage: LostStage) =>
  losses.reduce((sum, event) => sum + (event.stage === stage ? event.count : 0), 0);

suite('what a disk does not take', () => {
  for (const [what, hold] of [
    ['is slow', (gate: Promise<void>) => gate],
    ['fails', () => Promise.reject(new Error('EIO: i/o error, write'))],
  ] as const) {
    test(`is in the recording as a number, to the last record, also where the disk ${what} for seconds`, async (t) => {
      const directory = mkdtempSync(join(tmpdir(), 'ktrace-losses-'));
      cleanUp(t, () => rmSync(directory, { recursive: true, force: true }));
      const feed = new FakeFeed();
      const lost: LostEvent[] = [];
      const gate = Promise.withResolvers<void>();
      let isHeld = false;
      let rounds = 0;
      const recorder = await startRecorder(t, {
        directory,
        budgetBytes: 64 * 1024 * 1024,
        feed,
        lost: (event) => void lost.push(event),
        write: async (file, blocks) => {
          if (isHeld) await hold(gate.promise);
          const { bytesWritten } = await file.writev(blocks);
          await file.datasync();
          return bytesWritten;
        },
      });
      publish(feed, 10);
      await recorder.settled();
      isHeld = true;
      const beganMs = Date.now();
      // Also what others report is evidence.
      const ring = { v: 1, kind: 'lost', node: 'host1', stage: 'kernel-ring', count: 3 } as const;
      const now = new Date().toISOString();
      await until('told three times', () => {
        rounds += 1;
        publish(feed, 1000);
        feed.publish({ ...ring, from: now, to: now });
        return lost.filter(({ stage }) => stage === 'recorder').length >= 3;
      });
      const rings = 3 * rounds;
      const endedMs = Date.now();
      isHeld = false;
      gate.resolve();
      const { share, excess } = recorder.stores;
      const lostRecords = () => share.counts.lostRecords + excess.counts.lostRecords;
      await until('in the recording', async () => sumOf(await lossesOf(recorder), 'recorder') >= lostRecords());
      const losses = await lossesOf(recorder);
      assert.ok(lostRecords() > 1000);
      assert.equal(sumOf(losses, 'recorder'), lostRecords());
      assert.equal(sumOf(losses, 'kernel-ring'), rings);
      assert.equal(sumOf(lost, 'recorder'), lostRecords());
      // Of no pod, so of every pod; and of the time when it was lost.
      const ofNone = ({ pod }: LostEvent) => pod === undefined;
      assert.deepEqual((await lossesOf(recorder, ['u-other'])).filter(ofNone), losses.filter(ofNone));
      const [first] = losses.filter(({ stage }) => stage === 'recorder');
      assert.ok(Date.parse(first?.from ?? '') >= beganMs && Date.parse(first?.to ?? '') <= endedMs + 5000);
    });
  }
});
