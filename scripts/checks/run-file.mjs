import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * @typedef {{ name: string, result: 'passed' | 'failed' | 'skipped', ms: number }} TestResult
 * @typedef {{ file: string, tests: TestResult[], seconds: number, problem: string | undefined }} FileResult
 *   `problem` says why the file is no success beside its tests: it could not be loaded, hung, or left something open
 */

/** Where tests that fail leave what is known, each in a folder of its own (test/support/evidence.ts). */
export const EVIDENCE = 'build/evidence';
/** How long an interrupted file may take to remove what it made. */
const INTERRUPTED_MS = 20_000;

let files = 0;

/**
 * Runs one test file in a process of its own, with all that it starts in a process group of its own: whatever the file does, no other has to do with it.
 * @param {string} root
 * @param {string} file
 * @param {{ testMs: number, fileMs: number, isForced: boolean, onText(text: string): void, signal?: AbortSignal }} options
 *   `testMs` ends a test, `fileMs` the file; `isForced`: the process ends with its tests, else what it left open keeps it, and is a problem
 * @returns {Promise<FileResult>}
 */
export async function runFile(root, file, options) {
  const startMs = performance.now();
  mkdirSync(join(root, 'build'), { recursive: true });
  const resultsFile = join(root, `build/test-results.${process.pid}.${files++}.jsonl`);
  const args = [
    // Node strips the types by itself.
    '--disable-warning=ExperimentalWarning',
    `--test-timeout=${options.testMs}`,
    ...(options.isForced ? ['--test-force-exit'] : []),
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    '--test-reporter=./scripts/reporters/results.mjs',
    `--test-reporter-destination=${resultsFile}`,
    file,
  ];
  const { code, isLate } = await runNode(root, args, options);
  const { tests, hasEnded } = readResults(resultsFile);
  rmSync(resultsFile, { force: true });
  const seconds = (performance.now() - startMs) / 1000;
  return { file, tests, seconds, problem: problemOf({ code, isLate, tests, hasEnded, limitMs: options.fileMs }) };
}

function problemOf({ code, isLate, tests, hasEnded, limitMs }) {
  if (isLate)
    return `stuck: killed after ${limitMs / 1000} s, when ${tests.length} tests had ended; one waits for ever, or something was left open`;
  if (code === 0 && tests.length === 0) return 'no test ran, or its process ended amid the first';
  if (!hasEnded) return `broke off with exit code ${code}, when ${tests.length} tests had ended`;
  if (code !== 0 && tests.every(({ result }) => result !== 'failed'))
    return `ended with exit code ${code} although no test failed`;
  return undefined;
}

function readResults(file) {
  const tests = [];
  let hasEnded = false;
  let text = '';
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  // Of a process that was killed the last line may be half a one.
  for (const line of text.split('\n').slice(0, -1)) {
    const told = JSON.parse(line);
    if (told.end === true) hasEnded = true;
    else tests.push(told);
  }
  return { tests, hasEnded };
}

/** @returns {Promise<{ code: number, isLate: boolean }>} */
function runNode(root, args, { fileMs, onText, signal }) {
  const bin = join(root, 'node_modules/.bin');
  // Inside a test NODE_TEST_CONTEXT would make the inner run report to the outer one, and nobody count.
  const PATH = `${bin}${delimiter}${process.env.PATH}`;
  const env = { ...process.env, PATH, NODE_TEST_CONTEXT: undefined, KTRACE_EVIDENCE: join(root, EVIDENCE) };
  const child = spawn(join(bin, 'node'), args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const kill = (name) => {
    try {
      process.kill(-child.pid, name);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  };
  let lastTimer;
  const interrupt = () => {
    kill('SIGTERM');
    lastTimer = setTimeout(kill, INTERRUPTED_MS, 'SIGKILL');
  };
  signal?.addEventListener('abort', interrupt, { once: true });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    kill('SIGKILL');
  }, fileMs);
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', onText);
  return new Promise((resolve) => {
    // What outlives the process and still holds its output would keep us waiting for `close`.
    child.on('exit', () => kill('SIGKILL'));
    child.on('close', (code) => {
      clearTimeout(timer);
      clearTimeout(lastTimer);
      signal?.removeEventListener('abort', interrupt);
      resolve({ code: code ?? 1, isLate });
    });
  });
}
