import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HoldTime } from '../../../src/client/merge/hold-time.ts';

const LEAST_MS = 35;
const MOST_MS = 150;
const ns = (ms: number): number => ms * 1e6;

test('what comes late has all held by its lateness and a quarter longer, however many come late together', () => {
  const hold = new HoldTime(LEAST_MS, MOST_MS);
  hold.came(ns(0), 0);
  assert.equal(hold.at(0), LEAST_MS, 'nothing was told before it');
  hold.told({ sortNs: ns(1000), heldMs: LEAST_MS }, 1035);
  for (let at = 0; at < 100; at++) hold.came(ns(995), 1040);
  assert.equal(hold.at(1040), LEAST_MS + 6.25);
  hold.came(ns(1001), 1041);
  assert.equal(hold.at(1040), LEAST_MS + 6.25, 'not late');
});

test('it grows from what the record was held for, up to the most, and half of it is given up each half minute', () => {
  const hold = new HoldTime(LEAST_MS, MOST_MS);
  hold.told({ sortNs: ns(1000), heldMs: LEAST_MS + 20 }, 1060);
  hold.came(ns(990), 1060);
  assert.equal(hold.at(1060), LEAST_MS + 32.5);
  assert.equal(hold.at(31_060), LEAST_MS + 16.25);
  hold.told({ sortNs: ns(40_000), heldMs: LEAST_MS + 10 }, 40_000);
  hold.came(ns(39_860), 40_000);
  assert.equal(hold.at(40_000), MOST_MS);
});

test('what is late by more than anything is held changes nothing, and a clock that is far ahead not for long', () => {
  const hold = new HoldTime(LEAST_MS, MOST_MS);
  hold.told({ sortNs: ns(900_000), heldMs: LEAST_MS }, 1000);
  hold.came(ns(1000), 1001);
  assert.equal(hold.at(1001), LEAST_MS);
  hold.told({ sortNs: ns(1100), heldMs: LEAST_MS }, 1140);
  hold.told({ sortNs: ns(1160), heldMs: LEAST_MS }, 1195);
  hold.came(ns(1150), 1196);
  assert.equal(hold.at(1196), LEAST_MS + 12.5);
});
