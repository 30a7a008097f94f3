/**
 * `npm test [-- LAYER … | FILE …]`: every check and test this machine can run, told in one run with one sum at the end.
 * Layers: `checks` (or one check's name), `unit`, `lab`, `vm`; a path with a slash is a test file or a folder of them.
 * Fails when anything failed, when a layer ran nothing, and when all of a layer was skipped. `KTRACE_REQUIRE` names with commas between what this machine
 * must allow, of `root` and `vm`: a test that lacks it fails, and a layer that is run whole must have run so many tests as it has. With `KTRACE_GATE` set (.ci/run does) a test file that was
 * no success runs once more, alone, after the rest; what passes only then is told at the end as flaky.
 */
import { existsSync, globSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CHECKS } from './checks/checks.mjs';
import { runChecks } from './checks/run-checks.mjs';
import { EVIDENCE } from './checks/run-file.mjs';
import { runFailedAgain, runTests, textOf } from './checks/run-tests.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Folders of tests that need more than this machine: a cluster. They have scripts of their own. */
const ELSEWHERE = ['test/cluster/'];
/** Two cores. The lab waits for much of its time; a VM takes both of them. */
const LAYERS = {
  unit: { concurrency: 3, testMs: 60_000, fileMs: 120_000, isForced: false },
  lab: { concurrency: 3, testMs: 120_000, fileMs: 300_000, isForced: true },
  vm: { concurrency: 1, testMs: 290_000, fileMs: 300_000, isForced: true },
};
/** Tests that must have run (a few less than there are), where the machine has what they need. */
const FLOORS = {
  unit: { least: 1100, needs: [] },
  lab: { least: 255, needs: ['root'] },
  vm: { least: 36, needs: ['root', 'vm'] },
};
const CAPABILITIES = ['root', 'vm', 'tcpdump'];
/** They take longest: begun last, they would be waited for alone. */
const FIRST = [
  'test/tooling/pack.test.ts',
  'test/filter/agree.test.ts',
  'test/agent/record/incidents.test.ts',
  'test/lab/e2e/change.test.ts',
];

const args = process.argv.slice(2);
const paths = args.filter((arg) => arg.includes('/'));
const words = args.filter((arg) => !arg.includes('/'));
const known = ['checks', ...Object.keys(CHECKS), ...Object.keys(LAYERS)];
for (const word of words) {
  if (!known.includes(word)) {
    process.stderr.write(`Expected ${known.join(', ')} or a path as a test layer, got ${word}\n`);
    process.exit(2);
  }
}

const required = (process.env.KTRACE_REQUIRE ?? '').split(',').filter((word) => word !== '');
for (const word of required) {
  if (CAPABILITIES.includes(word)) continue;
  process.stderr.write(`Expected ${CAPABILITIES.join(', ')} in KTRACE_REQUIRE, got ${word}\n`);
  process.exit(2);
}
rmSync(join(ROOT, EVIDENCE), { recursive: true, force: true });

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => interrupted.abort());

const isWanted = (layer) => args.length === 0 || words.includes(layer);
const layerOf = (file) => Object.keys(LAYERS).find((layer) => file.startsWith(`test/${layer}/`)) ?? 'unit';
const isUnder = (file, path) => file === path || file.startsWith(path.endsWith('/') ? path : `${path}/`);
const files = globSync('test/**/*.test.ts', { cwd: ROOT })
  .filter((file) => !ELSEWHERE.some((folder) => file.startsWith(folder)))
  .sort((a, b) => Number(FIRST.includes(b)) - Number(FIRST.includes(a)) || (a < b ? -1 : 1));

const rows = [];
const checks = Object.keys(CHECKS).filter((name) => isWanted('checks') || words.includes(name));
if (checks.length > 0) rows.push({ layer: 'checks', skipped: 0, ...(await runChecks(ROOT, checks)) });

const layers = [];
for (const [layer, limits] of Object.entries(LAYERS)) {
  const own = files.filter((file) => layerOf(file) === layer);
  const chosen = isWanted(layer) ? own : own.filter((file) => paths.some((path) => isUnder(file, path)));
  if (!isWanted(layer) && chosen.length === 0) continue;
  const floor = FLOORS[layer];
  // Of files that were named nobody knows how many tests they have.
  const least = isWanted(layer) && floor.needs.every((name) => required.includes(name)) ? floor.least : 0;
  const options = { ...limits, least, signal: interrupted.signal };
  layers.push({ row: await runTests(ROOT, layer, chosen, options), options });
}
rows.push(...(process.env.KTRACE_GATE ? await runFailedAgain(ROOT, layers) : layers.map(({ row }) => row)));

const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
const flaky = rows.flatMap((row) => row.flaky ?? []);
process.stdout.write('\n');
for (const row of rows) process.stdout.write(textOf(row));
if (rows.length === 0) process.stdout.write(`no test file under ${paths.join(', ')}\n`);
const apart = flaky.length > 0 ? `, ${flaky.length} flaky` : '';
process.stdout.write(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped${apart}\n`);
if (existsSync(join(ROOT, EVIDENCE))) process.stdout.write(`what is known of tests that failed: ${EVIDENCE}/\n`);
for (const one of flaky) process.stdout.write(`flaky: ${one}\n`);
process.exitCode = rows.length === 0 || rows.some((row) => row.failed > 0 || row.problem !== undefined) ? 1 : 0;
