import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { DEFAULT_LIMITS } from '../../../src/agent/access/limits.ts';

const WORDS = ['no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'];
const word = (number: number): string => WORDS[number] ?? String(number);
const page = readFileSync(new URL('../../../docs/security.md', import.meta.url), 'utf8').replaceAll(/\s+/g, ' ');

const { subscribes, subscribeMs, recorded, recordedMs, strangers, recheckMs, graceMs, stallMs } = DEFAULT_LIMITS;
const rate = (atOnce: number, ms: number): string =>
  `${word(atOnce)} times at once, then once ${ms === 1000 ? 'a second' : `in ${ms} ms`}`;

for (const sentence of [
  `A connection may change what it follows ${rate(subscribes, subscribeMs)}`,
  `is answered what is recorded ${rate(recorded, recordedMs)}`,
  `takes nothing for ${stallMs / 1000} s`,
  `share ${word(strangers)} places of their own`,
  `asks again every ${recheckMs / 1000} s`,
  `go on for ${word(graceMs / 60_000)} minutes`,
]) {
  test(`the page on security has the agent's bounds: ${sentence}`, () => assert.ok(page.includes(sentence)));
}
