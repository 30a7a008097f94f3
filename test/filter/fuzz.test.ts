import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SEED } from '../support/seed.ts';
import { fuzzTexts } from './support/fuzz-texts.ts';
import { randomOf } from './support/random.ts';

const INPUTS = 10_000;
/** CPU of one text: what takes longer would hold up an agent with all its followers. */
const MOST_MS = 1000;

test(`any text is taken, or refused with its place, and soon (seed ${SEED})`, (t) => {
  const { slowest, ...counts } = fuzzTexts(randomOf(SEED + 2), INPUTS);
  t.diagnostic(JSON.stringify({ ...counts, slowest: slowest.slice(0, 200) }));
  assert.ok(counts.understood > INPUTS / 8 && counts.understood < INPUTS, JSON.stringify(counts));
  assert.ok(counts.compiled > counts.understood && counts.translated > INPUTS / 20, JSON.stringify(counts));
  assert.ok(counts.slowestMs < MOST_MS, `${counts.slowestMs} ms: ${slowest}`);
});
