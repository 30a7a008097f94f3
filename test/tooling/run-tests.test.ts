import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'ktrace-run-tests-'));
for (const name of ['node_modules', 'scripts']) symlinkSync(join(ROOT, name), join(root, name));

after(() => rmSync(root, { recursive: true }));

test('counts come from what ran: passed, failed and skipped, of all files', () => {
  const mixed = write(
    'mixed',
    "test('a', () => {});\ntest('b', () => { throw new Error('no'); });\ntest('c', { skip: 'why' }, () => {});\n",
  );
  const good = write('good', "suite('s', () => { test('a', () => {}); test('b', () => {}); });\n");
  assert.deepEqual(counts(outcomeOf([mixed, good])), { passed: 3, failed: 1, skipped: 1, flaky: [] });
});

test('a suite that is skipped whole counts as skipped', () => {
  const file = write('skipped-suite', "suite('s', { skip: 'no root' }, () => { test('a', () => {}); });\ntest('b', () => {});\n");
  assert.deepEqual(counts(outcomeOf([file])), { passed: 1, failed: 0, skipped: 1, flaky: [] });
});

test('a hook that fails is a failure', () => {
  const file = write(
    'hook',
    "suite('s', () => { after(() => { throw new Error('left behind'); }); test('a', () => {}); });\ntest('b', () => {});\n",
  );
  assert.ok(outcomeOf([file]).failed > 0);
});

test('a layer without files is a problem', () => {
  assert.equal(outcomeOf([]).problem, 'no test file');
});

test('a layer whose tests were all skipped is a problem', () => {
  const file = write('skipped', "test('a', { skip: 'no root' }, () => {});\n");
  assert.equal(outcomeOf([file]).problem, 'every test was skipped');
});

test('a layer of which fewer tests ran than it has is a problem', () => {
  const file = write('few', "test('a', () => {});\ntest('b', () => {});\ntest('c', { skip: 'no root' }, () => {});\n");
  assert.equal(outcomeOf([file], { least: 2 }).problem, undefined);
  assert.equal(outcomeOf([file], { least: 3 }).problem, '2 tests ran, at least 3 were expected');
});

test('a capability that no test knows cannot be required', () => {
  const env = { ...process.env, KTRACE_REQUIRE: 'root,wings', NODE_TEST_CONTEXT: undefined };
  const { status, stderr } = spawnSync(process.execPath, [join(ROOT, 'scripts/test.mjs'), 'vm'], { env, encoding: 'utf8' });
  assert.deepEqual([status, stderr], [2, 'Expected root, vm, tcpdump in KTRACE_REQUIRE, got wings\n']);
});

test('a file that holds no test fails', () => {
  const { failed, files } = outcomeOf([write('empty', '')]);
  assert.deepEqual([failed, files[0]?.problem], [1, 'no test ran, or its process ended amid the first']);
});

test('a file that cannot be loaded fails', () => {
  const { failed, files } = outcomeOf([write('broken', "import './missing.ts';\n")]);
  assert.deepEqual([failed, files[0]?.problem], [1, 'broke off with exit code 1, when 0 tests had ended']);
});

test('a file whose process ends amid a test fails', () => {
  const { failed, files } = outcomeOf([write('exit', "test('a', () => process.exit(3));\n")]);
  assert.deepEqual([failed, files[0]?.problem], [1, 'broke off with exit code 3, when 0 tests had ended']);
});

test('a test that hangs is ended by its time limit and fails', () => {
  const file = write('hanging', "test('a', () => new Promise((resolve) => setTimeout(resolve, 60_000).unref()));\n");
  assert.equal(outcomeOf([file], { testMs: 1000 }).failed, 1);
});

test('a file that leaves something open costs itself its time, and no other file anything', () => {
  const open = write('open', "test('a', () => { setInterval(() => {}, 1000); });\n");
  const good = write('good-beside', "test('a', () => {});\ntest('b', () => {});\n");
  const { passed, failed, files } = outcomeOf([open, good], { fileMs: 5000 });
  assert.deepEqual([passed, failed], [3, 1]);
  assert.match(files[0]?.problem ?? '', /^stuck: killed after 5 s, when 1 tests had ended/);
});

test('where the process ends with its tests, what it left open ends with it, children as well', () => {
  const pidFile = join(root, 'child.pid');
  const file = write(
    'forced',
    `import { spawn } from 'node:child_process';
     import { writeFileSync } from 'node:fs';
     test('a', () => { writeFileSync(${JSON.stringify(pidFile)}, String(spawn('sleep', ['1000'], { stdio: 'inherit' }).pid)); });\n`,
  );
  const outcome = outcomeOf([file], { isForced: true, fileMs: 60_000 });
  assert.deepEqual(counts(outcome), { passed: 1, failed: 0, skipped: 0, flaky: [] });
  const { stdout } = spawnSync('ps', ['-o', 'stat=', '-p', readFileSync(pidFile, 'utf8')], { encoding: 'utf8' });
  assert.match(stdout.trim(), /^(Z.*)?$/);
});

test('files run as many at once as is said, and those that shall be alone after them, one at a time', () => {
  const log = join(root, 'order.log');
  const noting = (name: string, body: string) =>
    write(
      name,
      `import { appendFileSync, readFileSync } from 'node:fs';
       import { setTimeout as delay } from 'node:timers/promises';
       const note = (what) => appendFileSync(${JSON.stringify(log)}, what + ' ${name}\\n');
       test('a', async () => { note('begin'); ${body} note('end'); });\n`,
    );
  const both = `while (readFileSync(${JSON.stringify(log)}, 'utf8').split('begin').length < 3) await delay(10);`;
  const files = [noting('one', both), noting('two', both)];
  const alone = [noting('three', 'await delay(300);'), noting('four', 'await delay(300);')];
  const outcome = outcomeOf(files, { concurrency: 2, alone });
  assert.deepEqual(counts(outcome), { passed: 4, failed: 0, skipped: 0, flaky: [] });
  assert.deepEqual(
    outcome.files.map(({ file }) => file),
    [...files, ...alone],
  );
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  assert.deepEqual(lines.slice(4), ['begin three', 'end three', 'begin four', 'end four']);
});

test('what passes only when its file is run again is flaky, apart from passed, and the rest of its file counts once', () => {
  const file = write(
    'flaky',
    `import { existsSync, writeFileSync } from 'node:fs';
     const mark = ${JSON.stringify(join(root, 'flaky.mark'))};
     test('a', () => {});
     test('b', () => { if (existsSync(mark)) return; writeFileSync(mark, ''); throw new Error('the first time'); });\n`,
  );
  const outcome = outcomeOf([file], { isAgain: true });
  assert.deepEqual(counts(outcome), { passed: 1, failed: 0, skipped: 0, flaky: ['flaky.test.ts, b'] });
});

test('what fails twice has failed', () => {
  const file = write('bad', "test('a', () => {});\ntest('b', () => { throw new Error('always'); });\n");
  assert.deepEqual(counts(outcomeOf([file], { isAgain: true })), { passed: 1, failed: 1, skipped: 0, flaky: [] });
});

function write(name: string, text: string): string {
  writeFileSync(join(root, `${name}.test.ts`), `import { after, suite, test } from 'node:test';\n${text}`);
  return `${name}.test.ts`;
}

interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
  flaky: string[];
  problem?: string;
  files: { file: string; problem?: string }[];
}

interface Limits {
  concurrency?: number;
  alone?: string[];
  testMs?: number;
  /** Longer than it takes a busy machine to begin. */
  fileMs?: number;
  isForced?: boolean;
  isAgain?: boolean;
  least?: number;
}

function counts({ passed, failed, skipped, flaky }: Outcome): Pick<Outcome, 'passed' | 'failed' | 'skipped' | 'flaky'> {
  return { passed, failed, skipped, flaky };
}

/** In a process of its own, because the inner run tells its tests on stdout. */
function outcomeOf(files: string[], { isAgain = false, ...limits }: Limits = {}): Outcome {
  const options = { concurrency: 1, testMs: 30_000, fileMs: 60_000, isForced: false, ...limits };
  const code = `
    import { runFailedAgain, runTests } from ${JSON.stringify(join(ROOT, 'scripts/checks/run-tests.mjs'))};
    const options = ${JSON.stringify(options)};
    let row = await runTests(${JSON.stringify(root)}, 'unit', ${JSON.stringify(files)}, options);
    if (${isAgain}) [row] = await runFailedAgain(${JSON.stringify(root)}, [{ row, options }]);
    console.error(JSON.stringify(row));`;
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' });
  return JSON.parse(stderr.trim().split('\n').at(-1) ?? '');
}
