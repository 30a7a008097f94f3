/**
 * `npm test [-- LAYER … | FILE …]`: every check and test this machine can run, told in one run with one sum at the end.
 * Layers: `checks` (or one check's name), `unit`, `lab`, `vm`; a path with a slash is a test file or a folder of them.
 * Fails when anything failed, when a layer ran nothing, and when all of a layer was skipped.
 */
import { globSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CHECKS } from './checks/checks.mjs';
import { runChecks } from './checks/run-checks.mjs';
import { runTests } from './checks/run-tests.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Folders of tests that need more than this machine: a cluster. They have scripts of their own. */
const ELSEWHERE = ['test/cluster/'];

const args = process.argv.slice(2);
const paths = args.filter((arg) => arg.includes('/'));
const layers = args.filter((arg) => !arg.includes('/'));
const known = ['checks', ...Object.keys(CHECKS), 'unit', 'lab', 'vm'];
for (const layer of layers) {
  if (!known.includes(layer)) {
    process.stderr.write(`Expected ${known.join(', ')} or a path as a test layer, got ${layer}\n`);
    process.exit(2);
  }
}

const isWanted = (layer) => (layers.length === 0 && paths.length === 0) || layers.includes(layer);
const files = globSync('test/**/*.test.ts', { cwd: ROOT })
  .filter((file) => ELSEWHERE.every((folder) => !file.startsWith(folder)))
  .filter(
    (file) =>
      paths.length === 0 || paths.some((path) => file === path || file.startsWith(path.endsWith('/') ? path : `${path}/`)),
  )
  .sort();
const isLab = (file) => file.startsWith('test/lab/');
const isVm = (file) => file.startsWith('test/vm/');
const isUnit = (file) => !isLab(file) && !isVm(file);

const rows = [];
const checks = Object.keys(CHECKS).filter((name) => isWanted('checks') || layers.includes(name));
if (checks.length > 0) {
  const { passed, failed } = await runChecks(ROOT, checks);
  rows.push({ layer: 'checks', passed, failed, skipped: 0, problem: undefined });
}
if (isWanted('unit') || (paths.length > 0 && files.some(isUnit))) {
  rows.push(await runTests(ROOT, 'unit', files.filter(isUnit), { concurrency: 2, timeoutMs: 120_000 }));
}
if (isWanted('lab') || (paths.length > 0 && files.some(isLab))) {
  // One after the other: they share the machine's two cores and measure times.
  rows.push(await runTests(ROOT, 'lab', files.filter(isLab), { concurrency: 1, timeoutMs: 300_000 }));
}
if (isWanted('vm') || (paths.length > 0 && files.some(isVm))) {
  rows.push(await runTests(ROOT, 'vm', files.filter(isVm), { concurrency: 1, timeoutMs: 300_000 }));
}

const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
process.stdout.write('\n');
for (const row of rows) {
  process.stdout.write(
    `${row.layer}: ${row.passed} passed, ${row.failed} failed, ${row.skipped} skipped${row.problem === undefined ? '' : `: ${row.problem}`}\n`,
  );
}
if (rows.length === 0) process.stdout.write(`no test file under ${paths.join(', ')}\n`);
process.stdout.write(
  `# tests ${sum('passed') + sum('failed') + sum('skipped')}\n# pass ${sum('passed')}\n# fail ${sum('failed')}\n# skipped ${sum('skipped')}\n`,
);
process.stdout.write(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped\n`);
process.exitCode = rows.length === 0 || rows.some((row) => row.failed > 0 || row.problem !== undefined) ? 1 : 0;
