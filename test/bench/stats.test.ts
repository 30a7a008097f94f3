import assert from 'node:assert/strict';
import { test } from 'node:test';
import { interleaved, quantile, ratios, spread } from '../../bench/stats.ts';
import { fc } from '../support/fast-check.ts';

test('quantiles lie between neighbours', () => {
  assert.equal(quantile([4, 1, 3, 2], 0.5), 2.5);
  assert.equal(quantile([7], 0.99), 7);
  assert.deepEqual(spread([1, 2, 3, 4, 5]), { median: 3, low: 2, high: 4, rounds: 5 });
  assert.throws(() => quantile([], 0.5), RangeError);
});

test('a quantile is never outside its values, and grows with its fraction', () => {
  fc.assert(
    fc.property(fc.array(fc.integer(), { minLength: 1 }), fc.double({ min: 0, max: 1, noNaN: true }), (values, fraction) => {
      const value = quantile(values, fraction);
      assert.ok(value >= Math.min(...values) && value <= Math.max(...values));
      assert.ok(quantile(values, fraction / 2) <= value);
    }),
  );
});

test('ratios are taken within a round, and incomplete rounds are left out', () => {
  assert.deepEqual(ratios([50, 90, undefined, 10], [100, 100, 100, undefined]), [0.5, 0.9]);
});

test('every round runs each case once, and no case always comes first', () => {
  const orders = [0, 1, 2, 3, 4].map((round) => interleaved(5, round));
  for (const order of orders) assert.deepEqual([...order].sort(), [0, 1, 2, 3, 4]);
  assert.ok(new Set(orders.map(([first]) => first)).size > 2);
});
