/**
 * `npm run test:cluster [-- --all] [--standing] [WORD]`: the product on real clusters. For each kind of cluster: bring it up, put the image
 * on its nodes, install, run the tests against real pods, uninstall, take it down.
 * `KTRACE_CLUSTER` names the tool that brings clusters. Without one, or with `--standing`, the tests run on the cluster that stands (of the tool,
 * else of `KUBECONFIG`, whose nodes can pull `KTRACE_IMAGE`). A WORD leaves only the kinds whose name contains it.
 */
import { existsSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EVIDENCE } from './checks/run-file.mjs';
import { runTests, textOf } from './checks/run-tests.mjs';
import { access, ClusterError } from './cluster/access.mjs';
import { separateAddresses } from './cluster/addresses.mjs';
import { buildImage, install, uninstall } from './cluster/product.mjs';
import { fileOf, STANDING, VARIANTS } from './cluster/variants.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DEFAULT_TOOL = resolve(ROOT, '../shared/cluster/cluster');
const TEST_MS = 300_000;
/** Files that stop agents, nodes and the API server wait for each of them to come back. */
const FILE_MS = 600_000;

const args = process.argv.slice(2);
const words = args.filter((arg) => !arg.startsWith('--'));
const tool = process.env.KTRACE_CLUSTER || (existsSync(DEFAULT_TOOL) && !process.env.KUBECONFIG ? DEFAULT_TOOL : undefined);
if (tool === undefined && !(process.env.KUBECONFIG && process.env.KTRACE_IMAGE)) {
  process.stderr.write(
    'Expected KTRACE_CLUSTER (a tool that brings clusters), or KUBECONFIG and KTRACE_IMAGE, in the environment\n',
  );
  process.exit(2);
}
const isStanding = tool === undefined || args.includes('--standing');
const variants = (isStanding ? [STANDING] : VARIANTS.filter(({ isExtra }) => isExtra !== true || args.includes('--all'))).filter(
  ({ name }) => words.every((word) => name.toLowerCase().includes(word.toLowerCase())),
);

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => interrupted.abort());
const reach = access({ tool, signal: interrupted.signal });
// What has to be taken away is taken away also when somebody has lost patience.
const clearing = access({ tool, signal: new AbortController().signal });
const env = tool === undefined ? {} : { KTRACE_CLUSTER: tool };
Object.assign(process.env, env);

rmSync(join(ROOT, EVIDENCE), { recursive: true, force: true });

const rows = [];
for (const variant of variants) {
  if (interrupted.signal.aborted) break;
  rows.push(await tryOn(variant));
}

const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
process.stdout.write('\n');
for (const row of rows) process.stdout.write(textOf(row));
process.stdout.write(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped\n`);
if (existsSync(join(ROOT, EVIDENCE))) process.stdout.write(`what is known of tests that failed: ${EVIDENCE}/\n`);
const isGood =
  rows.length === variants.length && rows.length > 0 && rows.every((row) => row.failed === 0 && row.problem === undefined);
process.exit(isGood ? 0 : 1);

async function tryOn({ name, up, installed = 'base', tests, alone = [], least }) {
  const startMs = performance.now();
  let row = { layer: name, passed: 0, failed: 0, skipped: 0, problem: 'not run' };
  try {
    if (up !== undefined) {
      const beganMs = Date.now();
      await step(`bringing up ${name}`, () => reach.cluster(['up', ...up], 600_000));
      await separateAddresses(reach, beganMs);
    }
    if (tool !== undefined) await step('building the image, and putting it on the nodes', () => buildImage(reach, ROOT));
    await step('installing', () => install(reach, ROOT, installed, process.env.KTRACE_IMAGE || undefined));
    row = await runTests(ROOT, name, tests.map(fileOf), {
      concurrency: 2,
      alone: alone.map(fileOf),
      testMs: TEST_MS,
      fileMs: FILE_MS,
      isForced: true,
      least,
      signal: interrupted.signal,
    });
    await step('uninstalling', () => uninstall(clearing, ROOT));
  } catch (error) {
    row.problem = error instanceof ClusterError ? error.message : (error.stack ?? String(error));
  } finally {
    if (up !== undefined) await step(`taking down ${name}`, () => clearing.cluster(['down'], 120_000));
  }
  return { ...row, seconds: (performance.now() - startMs) / 1000 };
}

async function step(title, work) {
  const startMs = performance.now();
  process.stderr.write(`cluster: ${title} … `);
  try {
    await work();
    process.stderr.write(`${((performance.now() - startMs) / 1000).toFixed(1)} s\n`);
  } catch (error) {
    process.stderr.write('failed\n');
    throw error;
  }
}
