import { runFile } from './run-file.mjs';

/** @typedef {import('./run-file.mjs').FileResult} FileResult */

/**
 * @typedef {{ concurrency: number, testMs: number, fileMs: number, isForced: boolean, least?: number, alone?: string[], signal?: AbortSignal }} RunOptions
 *   see {@link runFile}; `concurrency`: how many files at once; `alone`: files that run after all others, one at a time; `least`: tests that must have
 *   run; after `signal` no further file is begun
 * @typedef {{ layer: string, passed: number, failed: number, skipped: number, flaky: string[], seconds: number, problem: string | undefined, files: FileResult[] }} Row
 *   a test counts once; a file that is no success beside its tests counts as one that failed. `flaky`: what passed only when its file was run again.
 *   `problem` says why the layer as a whole is no success although no test failed
 */

/**
 * Runs the test files of a layer, each in a process of its own; their own reports go to stdout, a file's in one piece.
 * @param {string} root
 * @param {string} layer
 * @param {string[]} files
 * @param {RunOptions} options
 * @returns {Promise<Row>}
 */
export async function runTests(root, layer, files, options) {
  const { alone = [], least } = options;
  const wanted = files.length + alone.length;
  process.stdout.write(`\n${layer}: ${wanted} test files\n`);
  const startMs = performance.now();
  const results = [...(await runAtOnce(root, files, options)), ...(await runAtOnce(root, alone, { ...options, concurrency: 1 }))];
  return rowOf(layer, results, wanted, (performance.now() - startMs) / 1000, least);
}

/** The results of the files that were begun, in the order of the files. */
async function runAtOnce(root, files, options) {
  const results = [];
  const waiting = files.entries();
  const work = async () => {
    for (const [at, file] of waiting) {
      if (options.signal?.aborted) return;
      results[at] = await runAndTell(root, file, options);
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, work));
  return results.filter(Boolean);
}

/**
 * Runs the files of these rows that were no success once more, one after the other, and gives the rows with what came of it: what passes now is `flaky`.
 * @param {string} root
 * @param {{ row: Row, options: RunOptions }[]} layers
 * @returns {Promise<Row[]>}
 */
export async function runFailedAgain(root, layers) {
  const rows = [];
  for (const { row, options } of layers) {
    const files = [];
    const flaky = [];
    for (const first of row.files) {
      if (!isFailed(first) || options.signal?.aborted) {
        files.push(first);
        continue;
      }
      process.stdout.write(`\nonce more: ${first.file}\n`);
      const second = await runAndTell(root, first.file, options);
      files.push(second);
      if (isFailed(second)) continue;
      const were = complaints(first);
      flaky.push(...were.map((what) => `${first.file}, ${what}`));
      for (const test of second.tests) if (test.result === 'passed' && were.includes(test.name)) test.result = 'flaky';
    }
    rows.push({ ...rowOf(row.layer, files, row.files.length, row.seconds, options.least), flaky });
  }
  return rows;
}

async function runAndTell(root, file, options) {
  let text = '';
  const isAlone = options.concurrency === 1;
  const result = await runFile(root, file, {
    ...options,
    onText: (piece) => {
      if (isAlone) process.stdout.write(piece);
      else text += piece;
    },
  });
  process.stdout.write(
    `${text}${file}: ${result.seconds.toFixed(1)} s${result.problem === undefined ? '' : `: ${result.problem}`}\n`,
  );
  return result;
}

function rowOf(layer, files, wanted, seconds, least = 0) {
  const tests = files.flatMap((file) => file.tests);
  const count = (result) => tests.filter((test) => test.result === result).length;
  const broken = files.filter(({ problem }) => problem !== undefined);
  const counts = { passed: count('passed'), failed: count('failed') + broken.length, skipped: count('skipped') };
  const outcome = { ...counts, ran: counts.passed + counts.failed + count('flaky') };
  return { layer, ...counts, flaky: [], seconds, problem: problemOf(outcome, files.length, { wanted, least }), files };
}

function problemOf({ ran, skipped }, filesRun, { wanted, least }) {
  if (wanted === 0) return 'no test file';
  if (filesRun < wanted) return `${wanted - filesRun} files were not run`;
  if (ran + skipped === 0) return 'no test ran';
  if (ran === 0) return 'every test was skipped';
  if (ran < least) return `${ran} tests ran, at least ${least} were expected`;
  return undefined;
}

const isFailed = ({ tests, problem }) => problem !== undefined || tests.some(({ result }) => result === 'failed');

/** What was wrong with a file: its tests that failed, and itself. */
function complaints({ tests, problem }) {
  const failed = tests.filter(({ result }) => result === 'failed').map(({ name }) => name);
  return problem === undefined ? failed : [...failed, problem];
}

/** A layer's outcome in a line, and its five slowest tests below. */
export function textOf(row) {
  const { layer, passed, failed, skipped, flaky = [], seconds, problem, files = [] } = row;
  const counts = [
    `${passed} passed`,
    `${failed} failed`,
    `${skipped} skipped`,
    ...(flaky.length > 0 ? [`${flaky.length} flaky`] : []),
  ];
  const slowest = files
    .flatMap(({ file, tests }) => tests.map((test) => ({ file, ...test })))
    .sort((a, b) => b.ms - a.ms)
    .slice(0, 5)
    .map(({ file, name, ms }) => `    ${(ms / 1000).toFixed(1)} s  ${file}, ${name}\n`);
  return `${layer}: ${counts.join(', ')}, ${Math.round(seconds)} s${problem === undefined ? '' : `: ${problem}`}\n${slowest.join('')}`;
}
