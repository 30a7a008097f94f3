import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileOf, STANDING, VARIANTS } from '../../scripts/cluster/variants.mjs';

const ROOT = join(import.meta.dirname, '..', '..');

test('the test files on clusters are those that there are: each runs on one kind at least, and no other is named', () => {
  const named = new Set([...VARIANTS, STANDING].flatMap(({ tests }) => tests.map(fileOf)));
  assert.deepEqual([...named].sort(), globSync('test/cluster/**/*.test.ts', { cwd: ROOT }).sort());
});
