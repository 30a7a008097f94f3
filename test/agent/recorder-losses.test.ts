import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { redact } from '../../src/access/redact.ts';
import type { LostEvent } from '../../src/event/types.ts';
import { until } from '../support/until.ts';
import { FakeFeed, packet } from './fake-feed.ts';
import { startRecorder } from './recorder-fixture.ts';

test('what a pod loses by its share names it to who may see it; what the disk loses is of all pods, and told to all', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-losses-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
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
  const recorded = recorder.counts.records;
  const byShare = lost.find((event) => event.pod !== undefined);
  const byDisk = lost.find((event) => event.pod === undefined);
  assert.deepEqual([byShare?.count, byShare?.pod, byDisk?.count], [recorder.counts.cut, pod, 7]);
  const shown = (namespace: string): unknown[] => lost.filter((event) => redact(event, new Set([namespace])) !== undefined);
  assert.deepEqual([shown('shop'), shown('secret')], [[byDisk], lost]);
  // Each once: 3000 packets less those cut, and both losses.
  assert.equal(recorded, 3000 - recorder.counts.cut + 2);
});
