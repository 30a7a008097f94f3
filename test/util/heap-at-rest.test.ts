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
  const state = { isServing: false, cpuMs: 0, taken: 40 * MIB, left: 20 * MIB, collected: 0 };
  const end = giveHeapBackAtRest({
    isServing: () => state.isServing,
    log,
    cpuMs: () => state.cpuMs,
    takenBytes: () => state.taken,
    collect: () => {
      state.collected += 1;
      state.taken = state.left;
    },
    ...options,
  });
  const pass = (seconds: number) => mock.timers.tick(seconds * 1000);
  return { state, pass, end };
}

test('what the start has left is given back, and what a flood leaves', () => {
  const { state, pass, end } = process();
  pass(19);
  assert.equal(state.collected, 0);
  pass(1);
  assert.equal(state.collected, 1);
  state.taken += 16 * MIB;
  pass(20);
  assert.equal(state.collected, 2);
  state.taken = 60 * MIB;
  end();
  pass(60);
  assert.equal(state.collected, 2, 'ended');
});

test('a quiet process that takes a little again and again is left alone for ten minutes', () => {
  const { state, pass } = process();
  pass(20);
  for (let minute = 1; minute <= 60; minute += 1) {
    state.taken = 25 * MIB;
    pass(60);
  }
  assert.equal(state.collected, 6);
  state.taken = 23 * MIB;
  pass(3600);
  assert.equal(state.collected, 6, 'less than is worth it at all');
});

test('what was in use and is gone since is not counted any more', () => {
  const { state, pass } = process();
  state.taken = 120 * MIB;
  state.left = 100 * MIB;
  pass(20);
  state.taken = 20 * MIB;
  pass(20);
  assert.equal(state.collected, 1);
  state.taken = 95 * MIB;
  pass(20);
  assert.equal(state.collected, 2);
});

test('where it fails the process goes on without', () => {
  let tries = 0;
  const { pass } = process({
    collect: () => {
      tries += 1;
      throw new ReferenceError('gc is not defined');
    },
  });
  pass(60);
  assert.equal(tries, 1);
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
  const many = (what: string) => Array.from({ length: 600_000 }, (_, at) => ({ at, text: `${what} ${at}` }));
  many('over');
  const withGarbage = taken();
  mock.timers.tick(20_000);
  assert.ok(taken() < withGarbage - 30 * MIB, `${withGarbage} bytes before, ${taken()} after`);
  const kept = many('kept');
  mock.timers.tick(20_000);
  assert.deepEqual([kept.length, kept.at(-1)], [600_000, { at: 599_999, text: 'kept 599999' }]);
  assert.equal(typeof globalThis.gc, 'undefined', 'no code of ours sees the flag');
  end();
});
