import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'ktrace-run-tests-'));
for (const name of ['node_modules', 'scripts']) symlinkSync(join(ROOT, name), join(root, name));

after(() => rmSync(root, { recursive: true }));

test('counts come from what ran: passed, failed and skipped', () => {
  const file = write(
    'mixed',
    "test('a', () => {});\ntest('b', () => { throw new Error('no'); });\ntest('c', { skip: 'why' }, () => {});\n",
  );
  assert.deepEqual(outcomeOf([file]), { layer: 'unit', passed: 1, failed: 1, skipped: 1 });
});

test('a layer without files is a problem', () => {
  assert.equal(outcomeOf([]).problem, 'no test file');
});

test('a layer whose tests were all skipped is a problem', () => {
  const file = write('skipped', "test('a', { skip: 'no root' }, () => {});\n");
  assert.equal(outcomeOf([file]).problem, 'every test was skipped');
});

test('a file that cannot be loaded fails', () => {
  const file = write('broken', "import './missing.ts';\n");
  assert.equal(outcomeOf([file]).failed, 1);
});

test('a test that hangs is ended by the time limit and fails', () => {
  const file = write('hanging', "test('a', () => new Promise((resolve) => setTimeout(resolve, 60_000).unref()));\n");
  assert.equal(outcomeOf([file]).failed, 1);
});

test('a file that leaves something open does not hold up the run for ever, and is a problem', () => {
  const file = write('open', "test('a', () => { setInterval(() => {}, 1000); });\n");
  assert.match(outcomeOf([file]).problem ?? '', /^stuck/);
});

function write(name: string, text: string): string {
  writeFileSync(join(root, `${name}.test.ts`), `import { test } from 'node:test';\n${text}`);
  return `${name}.test.ts`;
}

interface Outcome {
  layer: string;
  passed: number;
  failed: number;
  skipped: number;
  problem?: string;
}

/** In a process of its own, because the inner run tells its tests on stdout. */
function outcomeOf(files: string[]): Outcome {
  const code = `
    import { runTests } from ${JSON.stringify(join(ROOT, 'scripts/checks/run-tests.mjs'))};
    const outcome = await runTests(${JSON.stringify(root)}, 'unit', ${JSON.stringify(files)}, { concurrency: 1, timeoutMs: 2000 });
    console.error(JSON.stringify(outcome));`;
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' });
  return JSON.parse(stderr.trim().split('\n').at(-1) ?? '');
}
