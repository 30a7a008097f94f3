import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FakeFeed, packet } from '../../serve/fake-feed.ts';
import { temporaryDirectory } from '../../serve/server-fixture.ts';
import { startRecorder } from './recorder-fixture.ts';

const MIB = 1024 * 1024;
const BUDGET_BYTES = 16 * MIB;

/** Of all files of a folder. */
function bytesIn(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).reduce(
    // A file may have gone since.
    (sum, entry) =>
      sum + (entry.isFile() ? (statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0) : 0),
    0,
  );
}

test('a recording as a whole stays within its budget and a segment for each part, while it rotates and keeps incidents', async (t) => {
  const directory = await temporaryDirectory(t);
  const feed = new FakeFeed();
  const options = { directory, budgetBytes: BUDGET_BYTES, feed, incidents: { beforeMs: 60_000, afterMs: 0 } };
  const recorder = await startRecorder(t, options);
  const { share, excess } = recorder.stores;
  // A sixteenth of each of the two parts for records; names and Services have less.
  const most = BUDGET_BYTES * (1 + (0.7 + 0.12 + 0.04) / 16 + 0.04 / 8);
  let largest = 0;
  let given = 0;
  while (excess.counts.removedSegments < 20 || given < 60 * MIB) {
    const uid = `u${Math.floor(given / MIB)}`;
    const pod = { namespace: 'shop', name: uid, uid, node: 'host1', labels: {} };
    for (let at = 0; at < 100; at++) {
      const event = { ...packet(at), id: String(given), time: new Date().toISOString(), src: { ip: '10.0.0.1', pod } };
      feed.publish(event, [randomBytes(2000)]);
      given += 2000;
    }
    if (Math.floor(given / MIB) > Math.floor((given - 200_000) / MIB)) {
      recorder.incidents.report({ pod, atMs: Date.now(), causes: [{ kind: 'exited', text: 'it ended', exitCode: 1 }] });
    }
    await recorder.settled();
    largest = Math.max(largest, bytesIn(directory));
  }
  assert.ok(largest <= most, `${largest} of ${most} bytes`);
  assert.ok(largest > BUDGET_BYTES / 4, `${largest} bytes`);
  assert.ok(share.counts.writtenRecords > 0 && recorder.incidents.list().length > 0);
  // Incidents are still copied.
  await recorder.close();
});
