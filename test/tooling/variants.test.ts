import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileOf, STANDING, VARIANTS } from '../../scripts/cluster/variants.mjs';

const ROOT = join(import.meta.dirname, '..', '..');

const KINDS = [...VARIANTS, STANDING].map(({ tests, alone = [] }) => [...tests, ...alone].map(fileOf));

test('the test files on clusters are those that there are: each runs on one kind at least, and no other is named', () => {
  assert.deepEqual([...new Set(KINDS.flat())].sort(), globSync('test/cluster/**/*.test.ts', { cwd: ROOT }).sort());
});

test('no kind of cluster has a file twice', () => {
  for (const files of KINDS) assert.deepEqual(files, [...new Set(files)]);
});
