import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { RememberedReading } from '../../../src/agent/record/remembered-reading.ts';
import type { Segment } from '../../../src/store/segment-store.ts';

interface Read {
  reading: RememberedReading<number>;
  state: { nowMs: number; readings: number; tookMs: number; fails: boolean };
  /** Something is written. */
  write(bytes?: number): void;
}

/** Gives how many readings there were until then. */
function start(): Read {
  const segment: Segment = { path: '/x/a', name: 'a', bytes: 100, beginMs: 0, fromMs: 0, toMs: 0 };
  const state = { nowMs: 0, readings: 0, tookMs: 0, fails: false };
  const reading = new RememberedReading({
    segments: () => [{ ...segment }],
    read: async (onDamage) => {
      state.readings += 1;
      const mine = state.readings;
      await new Promise((resolve) => setImmediate(resolve));
      state.nowMs += state.tookMs;
      if (state.fails) throw new Error('EIO');
      onDamage({ name: 'a', at: 7, bytes: 1 });
      return mine;
    },
    nowMs: () => state.nowMs,
  });
  return {
    reading,
    state,
    write: (bytes = 1) => {
      segment.bytes += bytes;
    },
  };
}

const none = (): void => undefined;

suite('a part of the recording that is read as a whole', () => {
  test('is read once for all who ask while nothing is written, and each is told of damage', async () => {
    const { reading, state } = start();
    let damages = 0;
    const read = () => reading.read(() => (damages += 1));
    assert.deepEqual(await Promise.all(Array.from({ length: 50 }, read)), Array(50).fill(1));
    state.nowMs += 59_000;
    assert.equal(await read(), 1);
    assert.deepEqual([state.readings, damages], [1, 51]);
  });

  test('is read again when something was written, and what is new is found', async () => {
    const { reading, write } = start();
    assert.equal(await reading.read(none), 1);
    write();
    assert.equal(await reading.read(none), 2);
  });

  test('takes a tenth of the time at most, however often it is asked for and written to', async () => {
    const { reading, state, write } = start();
    state.tookMs = 40;
    for (let at = 0; at < 10_000; at++) {
      write();
      await reading.read(none);
      state.nowMs += 1;
    }
    const part = (state.readings * state.tookMs) / state.nowMs;
    assert.ok(part > 0.05 && part <= 0.11, `${state.readings} readings in ${state.nowMs} ms: ${part}`);
  });

  test('that failed is not remembered', async () => {
    const { reading, state } = start();
    state.fails = true;
    await assert.rejects(reading.read(none), /EIO/);
    state.fails = false;
    assert.equal(await reading.read(none), 2);
  });
});
