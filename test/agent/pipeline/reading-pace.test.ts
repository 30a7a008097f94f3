import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ReadingPace } from '../../../src/agent/pipeline/reading-pace.ts';

function start(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const state = { isOpen: false, isWaiting: false };
  const looks: { lateMs: number; isRead: boolean }[] = [];
  const pace = new ReadingPace({
    look: (lateMs, isRead) => void looks.push({ lateMs, isRead }),
    isOpen: () => state.isOpen,
    isWaiting: () => state.isWaiting,
  });
  return { pace, state, looks, pass: (ms: number) => t.mock.timers.tick(ms) };
}

test('what is open is looked at when something is read, and a moment after the next reading was due', (t) => {
  const { pace, state, looks, pass } = start(t);
  state.isOpen = true;
  pace.read();
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
  pace.read();
  pass(199);
  assert.equal(looks.length, 1);
  state.isWaiting = false;
  pass(1);
  assert.equal(looks.length, 2);
  pass(10_000);
  assert.equal(looks.length, 2);
  state.isWaiting = true;
  pace.read();
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
  pace.read();
  assert.deepEqual(looks, [{ lateMs: 3 * pace.intervalMs, isRead: true }]);
  pass(usualMs + 5);
  assert.equal(looks.length, 1);
  pace.isPatient = false;
  pass(usualMs + 5);
  assert.deepEqual(looks.slice(1), [{ lateMs: 0, isRead: false }]);
});
