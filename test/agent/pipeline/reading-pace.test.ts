import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ReadingPace } from '../../../src/agent/pipeline/reading-pace.ts';

function start(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const state = { isOpen: false, isWaiting: false };
  const looks: { lateMs: number; isRead: boolean }[] = [];
  const paces: number[] = [];
  const pace: ReadingPace = new ReadingPace({
    look: (lateMs, isRead) => void looks.push({ lateMs, isRead }),
    isOpen: () => state.isOpen,
    isWaiting: () => state.isWaiting,
    paced: () => void paces.push(pace.intervalMs),
  });
  return { pace, paces, state, looks, pass: (ms: number) => t.mock.timers.tick(ms) };
}

test('what is open is looked at when something is read, and a moment after the next reading was due', (t) => {
  const { pace, state, looks, pass } = start(t);
  state.isOpen = true;
  pace.read(0, 0);
  assert.deepEqual(looks, [{ lateMs: 0, isRead: true }]);
  pass(pace.intervalMs);
  assert.equal(looks.length, 1);
  pass(5);
  assert.deepEqual(looks.slice(1), [{ lateMs: 0, isRead: false }]);
  pass(pace.intervalMs + 5);
  assert.equal(looks.length, 3, 'for as long as it is open');
});

test('what waits is looked at seldom, and nothing is while nothing does', (t) => {
  const { pace, state, looks, pass } = start(t);
  state.isWaiting = true;
  pace.read(0, 0);
  pass(199);
  assert.equal(looks.length, 1);
  state.isWaiting = false;
  pass(1);
  assert.equal(looks.length, 2);
  pass(10_000);
  assert.equal(looks.length, 2);
  state.isWaiting = true;
  pace.read(0, 0);
  pace.stop();
  pass(10_000);
  assert.equal(looks.length, 3);
});

test('while nobody waits for it it is read and looked at less often, and from when somebody does at the usual pace', (t) => {
  const { pace, state, looks, pass } = start(t);
  const usualMs = pace.intervalMs;
  pace.isPatient = true;
  assert.ok(pace.intervalMs > 4 * usualMs);
  state.isOpen = true;
  pace.read(0, 0);
  assert.deepEqual(looks, [{ lateMs: 3 * pace.intervalMs, isRead: true }]);
  pass(usualMs + 5);
  assert.equal(looks.length, 1);
  pace.isPatient = false;
  pass(usualMs + 5);
  assert.deepEqual(looks.slice(1), [{ lateMs: 0, isRead: false }]);
});

test('while much is read it is read less often, until little is', (t) => {
  const { pace, paces } = start(t);
  const usualMs = pace.intervalMs;
  let nowMs = 1000;
  /** Readings in so many ms, each of which has found this much. */
  const readings = (forMs: number, bytesOfMs: number) => {
    for (const untilMs = nowMs + forMs; nowMs < untilMs; ) {
      nowMs += pace.intervalMs;
      pace.read(bytesOfMs * pace.intervalMs, nowMs);
    }
  };
  readings(500, 300);
  // A burst is no flood.
  pace.read(10_000, nowMs);
  readings(500, 300);
  assert.deepEqual(paces, []);
  readings(500, 1000);
  assert.deepEqual(paces, [4 * usualMs]);
  readings(500, 500);
  assert.deepEqual(paces, [4 * usualMs], 'it takes less to go on than to begin');
  pace.isPatient = true;
  assert.ok(pace.intervalMs > 4 * usualMs);
  pace.isPatient = false;
  assert.equal(pace.intervalMs, 4 * usualMs);
  // It was quiet for long: the next packet is waited for.
  nowMs += 10_000;
  pace.read(400, nowMs);
  assert.deepEqual(paces, [4 * usualMs, usualMs]);
});
