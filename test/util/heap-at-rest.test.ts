import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { getHeapStatistics } from 'node:v8';
import { giveHeapBackAtRest, type HeapAtRestOptions } from '../../src/util/heap-at-rest.ts';
import { createLog } from '../../src/util/log.ts';

const MIB = 1 << 20;
const log = createLog('test', 'silent');

beforeEach(() => mock.timers.enable({ apis: ['setInterval'] }));
afterEach(() => mock.timers.reset());

/** A process that is looked at three times a minute, and what it does meanwhile. */
function process(options: Partial<HeapAtRestOptions> = {}) {
  const state = { isServing: false, cpuMs: 0, taken: 40 * MIB, collected: 0 };
  const end = giveHeapBackAtRest({
    isServing: () => state.isServing,
    log,
    cpuMs: () => state.cpuMs,
    takenBytes: () => state.taken,
    collect: () => {
      state.collected += 1;
      state.taken = 20 * MIB;
    },
    ...options,
  });
  const pass = (seconds: number) => mock.timers.tick(seconds * 1000);
  return { state, pass, end };
}

test('what the start has left is given back once, and again when it has grown', () => {
  const { state, pass, end } = process();
  pass(19);
  assert.equal(state.collected, 0);
  pass(1);
  assert.equal(state.collected, 1);
  state.taken += 3 * MIB;
  pass(60);
  assert.equal(state.collected, 1, 'less than is worth it');
  state.taken += 1 * MIB;
  pass(20);
  assert.equal(state.collected, 2);
  state.taken = 60 * MIB;
  end();
  pass(60);
  assert.equal(state.collected, 2, 'ended');
});

test('nobody who is served waits for it, and a process at work is left alone', () => {
  const { state, pass, end } = process();
  state.isServing = true;
  pass(40);
  assert.equal(state.collected, 0);
  state.isServing = false;
  state.cpuMs += 500;
  pass(20);
  assert.equal(state.collected, 0, '500 ms of the last 20 s');
  state.cpuMs += 300;
  pass(20);
  assert.equal(state.collected, 1, '300 ms of the last 20 s, whatever it took before');
  end();
});

test("V8's heap takes less afterwards", () => {
  const end = giveHeapBackAtRest({ isServing: () => false, log, cpuMs: () => 0 });
  const taken = () => getHeapStatistics().total_physical_size;
  let kept: unknown = Array.from({ length: 200_000 }, (_, at) => ({ at, text: `number ${at}` }));
  const withAll = taken();
  mock.timers.tick(20_000);
  assert.ok(taken() > withAll / 2, 'what is in use stays');
  assert.equal((kept as unknown[]).length, 200_000);
  kept = undefined;
  Array.from({ length: 200_000 }, (_, at) => ({ at, text: `other ${at}` }));
  mock.timers.tick(20_000);
  assert.ok(taken() < withAll - 10 * MIB, `${withAll} bytes before, ${taken()} after`);
  assert.equal(typeof globalThis.gc, 'undefined', 'no code of ours sees the flag');
  end();
});
