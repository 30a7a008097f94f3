import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Silence } from '../../../src/client/follow/silence.ts';

function harness() {
  const said: string[] = [];
  let nowMs = 0;
  const silence = new Silence({
    nowMs: () => nowMs,
    say: (text) => said.push(text),
    reason: (seconds) => `nothing in ${seconds} s`,
  });
  /** Looks when it is told to, and no more often. */
  let lookMs = silence.look();
  const pass = (ms: number): void => {
    const endMs = nowMs + ms;
    while (lookMs <= endMs) {
      nowMs = lookMs;
      const untilNextMs = silence.look();
      assert.ok(untilNextMs > 0 && untilNextMs <= 10_000, `${untilNextMs} ms`);
      lookMs += untilNextMs;
    }
    nowMs = endMs;
  };
  return { said, silence, pass };
}

test('a silence is told at every ten seconds of it, and begins anew when something is shown', () => {
  const { said, silence, pass } = harness();
  pass(25_000);
  assert.deepEqual(said, ['nothing in 10 s', 'nothing in 20 s']);
  silence.ends();
  pass(9_500);
  assert.equal(said.length, 2);
  pass(500);
  assert.equal(said[2], 'nothing in 10 s');
});

test('a reader that takes no more is told as that, once, and no silence before ten seconds after it takes again', () => {
  const { said, silence, pass } = harness();
  pass(9_500);
  silence.readerFull();
  pass(9_500);
  assert.deepEqual(said, []);
  pass(60_000);
  assert.equal(said.length, 1);
  assert.match(said[0] ?? '', /^the reader takes no more for 10 s/);
  silence.readerDrained();
  pass(9_500);
  assert.equal(said.length, 1);
  pass(500);
  assert.equal(said[1], 'nothing in 10 s');
});

test('a long time without a look is told once', () => {
  let nowMs = 0;
  const said: string[] = [];
  const silence = new Silence({
    nowMs: () => nowMs,
    say: (text) => said.push(text),
    reason: (seconds) => `nothing in ${seconds} s`,
  });
  nowMs = 61_000;
  assert.equal(silence.look(), 9_000);
  assert.equal(silence.look(), 9_000);
  assert.deepEqual(said, ['nothing in 61 s']);
});
