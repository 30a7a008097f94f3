import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { checkErrors } from '../../scripts/checks/errors.mjs';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ktrace-errors-'));
  mkdirSync(join(root, 'src/util'), { recursive: true });
  mkdirSync(join(root, 'docs'));
});

afterEach(() => rmSync(root, { recursive: true }));

test('codes that are used and documented are no problem', async () => {
  write("throw new KtraceError('KTRACE_E_ONE', 'x'); // a code is KTRACE_E_…", '### KTRACE_E_ONE');
  assert.deepEqual(await checkErrors(root), { checked: 1, problems: [] });
});

test('a code without a section is found, with its file', async () => {
  write("'KTRACE_E_ONE' 'KTRACE_N_TWO_WORDS'", '### KTRACE_E_ONE');
  assert.deepEqual((await checkErrors(root)).problems, ['KTRACE_N_TWO_WORDS (src/util/a.ts) has no section in docs/errors.md']);
});

test('a section without a use is found', async () => {
  write("'KTRACE_E_ONE'", '### KTRACE_E_ONE\n\n### KTRACE_E_GONE');
  assert.deepEqual((await checkErrors(root)).problems, ['docs/errors.md tells of KTRACE_E_GONE, which nothing in src/ uses']);
});

test('codes that are put together are documented by sections that match them', async () => {
  const source = ['KTRACE_E_$', '{kind}_UNKNOWN'].join('');
  write(source, '### KTRACE_E_POD_UNKNOWN');
  assert.deepEqual((await checkErrors(root)).problems, []);
  write(source, '### KTRACE_E_ONE');
  assert.deepEqual((await checkErrors(root)).problems, [
    'KTRACE_E_*_UNKNOWN (src/util/a.ts) has no section in docs/errors.md',
    'docs/errors.md tells of KTRACE_E_ONE, which nothing in src/ uses',
  ]);
});

test('a page without sections counts as nothing looked at', async () => {
  write('', '# Errors');
  assert.equal((await checkErrors(root)).checked, 0);
});

function write(source: string, page: string): void {
  writeFileSync(join(root, 'src/util/a.ts'), source);
  writeFileSync(join(root, 'docs/errors.md'), page);
}
