import assert from 'node:assert/strict';
import { utimesSync } from 'node:fs';
import { suite, type TestContext, test } from 'node:test';
import type { Places } from '../../../src/agent/record/record-places.ts';
import { readRecords } from '../../../src/agent/record/recording.ts';
import { BlockBuilder } from '../../../src/store/block-builder.ts';
import { SegmentStore } from '../../../src/store/segment-store.ts';
import { temporaryDirectory } from '../serve/server-fixture.ts';

const HOUR_MS = 3_600_000;
/** Whole seconds, as a file's time may be. */
const BEGAN_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 4 * HOUR_MS;
const HOURS = 3;
const EVERY_MS = 60_000;

async function open(directory: string, now?: () => number): Promise<SegmentStore> {
  const none = { onLost: () => assert.fail('lost'), onTrouble: () => assert.fail('trouble') };
  const sizes = { budgetBytes: 1e8, segmentBytes: 40_000, queueBytes: 1e8, ageMs: 1e10 };
  return SegmentStore.open({ directory, ...sizes, ...none, ...(now === undefined ? {} : { now }) });
}

/** Three hours with a block a minute, the last of which tells also of a loss that began in the first hour. */
async function threeHours(t: TestContext) {
  let nowMs = BEGAN_MS;
  const directories = { share: await temporaryDirectory(t), excess: await temporaryDirectory(t) };
  const share = await open(directories.share, () => nowMs);
  const excess = await open(directories.excess);
  t.after(() => Promise.all([share.close(), excess.close()]));
  const builder = new BlockBuilder('records');
  for (; nowMs < BEGAN_MS + HOURS * HOUR_MS; nowMs += EVERY_MS) {
    // Text that does not compress.
    const text = Array.from({ length: 300 }, () => Math.random().toString(36)).join('');
    builder.add(`${JSON.stringify({ nowMs, text })}`, nowMs, []);
    share.append(builder.take());
    await share.settled();
  }
  builder.add(JSON.stringify({ nowMs: 0 }), BEGAN_MS + 10 * EVERY_MS, []);
  share.append(builder.take());
  await share.settled();
  return { share, excess, directories, all: share.segments() };
}

async function read(stores: { share: SegmentStore; excess: SegmentStore }, sinceMs: number, untilMs: number, after?: Places) {
  let bytes = 0;
  const found: { nowMs: number; places: Places }[] = [];
  const recorder = {
    stores: { ...stores, names: stores.excess, services: stores.excess },
    limiter: {
      read: (count: number) => {
        bytes += count;
        return Promise.resolve();
      },
    },
  } as unknown as Parameters<typeof readRecords>[0];
  const options = { sinceMs, untilMs, keys: undefined, after, onDamage: () => assert.fail('damaged') };
  for await (const { raw, places } of readRecords(recorder, options)) {
    found.push({ nowMs: (JSON.parse(raw.toString()) as { nowMs: number }).nowMs, places });
  }
  return { bytes, found, times: found.map(({ nowMs }) => nowMs).filter((nowMs) => nowMs > 0) };
}

const timesOf = (sinceMs: number, untilMs: number) =>
  Array.from({ length: (HOURS * HOUR_MS) / EVERY_MS }, (_, at) => BEGAN_MS + at * EVERY_MS).filter(
    (timeMs) => timeMs >= sinceMs && timeMs <= untilMs,
  );

suite('the time of which is asked', () => {
  test('costs the reading of its segments alone: of the last hour, the first, and the one between', async (t) => {
    const stores = await threeHours(t);
    const whole = await read(stores, 0, 8e15);
    assert.deepEqual(whole.times, timesOf(0, 8e15));
    for (let hour = 0; hour < HOURS; hour++) {
      const [sinceMs, untilMs] = [BEGAN_MS + hour * HOUR_MS, BEGAN_MS + (hour + 1) * HOUR_MS - 1];
      const part = await read(stores, sinceMs, untilMs);
      // The records' own times are looked at by who reads them: what is late comes with them.
      assert.deepEqual(part.times.slice(0, 60), timesOf(sinceMs, untilMs));
      assert.ok(part.times.length <= 63, `${part.times.length}`);
      const percent = (100 * part.bytes) / whole.bytes;
      assert.ok(percent < 60, `hour ${hour}: ${percent} % of ${whole.bytes} bytes`);
    }
  });

  test('finds what tells of a time long before it was written', async (t) => {
    const stores = await threeHours(t);
    const { found } = await read(stores, BEGAN_MS, BEGAN_MS + HOUR_MS);
    assert.equal(found.at(-1)?.nowMs, 0);
  });

  test('goes on behind a segment that is passed over', async (t) => {
    const stores = await threeHours(t);
    const sinceMs = BEGAN_MS + 2 * HOUR_MS;
    const first = await read(stores, sinceMs, 8e15);
    const [, second] = first.found;
    const rest = await read(stores, sinceMs, 8e15, second?.places);
    assert.deepEqual(
      rest.found.map(({ nowMs }) => nowMs),
      first.found.slice(2).map(({ nowMs }) => nowMs),
    );
  });

  test('is what the files’ own times say after another start, to a minute: nothing is missed', async (t) => {
    const { share, excess, directories, all } = await threeHours(t);
    await share.close();
    // As a clock would have had it that went on while it was written.
    for (const { path, toMs } of all) utimesSync(path, toMs / 1000, toMs / 1000);
    const stores = { share: await open(directories.share), excess };
    t.after(() => stores.share.close());
    const whole = await read(stores, 0, 8e15);
    const sinceMs = BEGAN_MS + 2 * HOUR_MS;
    const part = await read(stores, sinceMs, 8e15);
    assert.deepEqual(part.times, timesOf(sinceMs, 8e15));
    assert.ok(part.bytes < 0.5 * whole.bytes, `${part.bytes} of ${whole.bytes} bytes`);
  });
});
