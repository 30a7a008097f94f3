import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * Runs test files with node:test, its own report going to stdout, and gives the counts.
 * @param {string} root
 * @param {string} layer
 * @param {string[]} files
 * @param {{ concurrency: number, timeoutMs: number }} options
 * @returns {Promise<{ layer: string, passed: number, failed: number, skipped: number, problem: string | undefined }>}
 *   `problem` says why the layer as a whole is no success although no test failed
 */
export async function runTests(root, layer, files, options) {
  process.stdout.write(`\n${layer}: ${files.length} test files\n`);
  if (files.length === 0) return { layer, passed: 0, failed: 0, skipped: 0, problem: 'no test file' };

  const countsFile = join(root, `build/test-${layer}.${process.pid}.json`);
  mkdirSync(join(root, 'build'), { recursive: true });
  const args = [
    '--import=tsx',
    '--test',
    `--test-concurrency=${options.concurrency}`,
    `--test-timeout=${options.timeoutMs}`,
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    '--test-reporter=./scripts/reporters/counts.mjs',
    `--test-reporter-destination=${countsFile}`,
    ...files,
  ];
  const { code, isStuck } = await runNode(root, args, 2 * options.timeoutMs);
  const counts = readCounts(countsFile);
  rmSync(countsFile, { force: true });
  return {
    layer,
    ...counts,
    problem: isStuck ? 'stuck: its last file left something open, or waits for ever' : problemOf(code, counts),
  };
}

function problemOf(code, { passed, failed, skipped }) {
  if (passed + failed + skipped === 0) return 'no test ran';
  if (passed + failed === 0) return 'every test was skipped';
  if (code !== 0 && failed === 0) return `node --test ended with ${code}`;
  return undefined;
}

/** A cancelled test did not show what it should have: it counts as failed. */
function readCounts(file) {
  try {
    const { passed, failed, cancelled, skipped, todo } = JSON.parse(readFileSync(file, 'utf8'));
    return { passed, failed: failed + cancelled, skipped: skipped + todo };
  } catch {
    return { passed: 0, failed: 0, skipped: 0 };
  }
}

/**
 * Ends with the run's exit code. node:test's own time limit ends a test, but not a file that keeps its process alive by what it
 * left open: a run that has said nothing for twice the limit is killed, with all its children.
 * @returns {Promise<{ code: number, isStuck: boolean }>}
 */
function runNode(root, args, silentMs) {
  const bin = join(root, 'node_modules/.bin');
  // Inside a test NODE_TEST_CONTEXT would make the inner run report to the outer one, and nobody count.
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}`, NODE_TEST_CONTEXT: undefined };
  const child = spawn(join(bin, 'node'), args, { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  const killAll = (signal) => {
    try {
      process.kill(-child.pid, signal);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  };
  let isStuck = false;
  const watchdog = setTimeout(() => {
    isStuck = true;
    killAll('SIGKILL');
  }, silentMs);
  child.stdout.on('data', (chunk) => {
    watchdog.refresh();
    process.stdout.write(chunk);
  });
  process.on('SIGTERM', killAll).on('SIGINT', killAll);
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearTimeout(watchdog);
      process.off('SIGTERM', killAll).off('SIGINT', killAll);
      resolve({ code: code ?? 1, isStuck });
    });
  });
}
