import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until, untilHolds } from './until.ts';

test('an answer is waited for, and a vain wait tells what for', async () => {
  let asked = 0;
  assert.equal(await until('the third answer', () => ++asked === 3 && 'here'), 'here');
  await assert.rejects(
    until('a word', () => undefined, 20),
    /^Error: a word: not within 20 ms$/,
  );
});

test('assertions are tried until they hold, and the one that failed last is thrown', async () => {
  let tried = 0;
  assert.equal(
    await untilHolds('three', () => {
      assert.equal(++tried, 3);
      return 'held';
    }),
    'held',
  );
  const never = untilHolds('never', () => assert.equal(1, 2), 20);
  await assert.rejects(never, { code: 'ERR_ASSERTION', message: /^never: Expected values to be strictly equal/ });
});
