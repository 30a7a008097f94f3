/**
 * `npm run setup | test | test:cluster | demo | bench | bench:vm | bench:scale-api | soak | stress | fuzz:filters | krew`: brings this checkout up to date, then runs the task under the Node of node_modules.
 * Plain JavaScript without dependencies, because it must start on Node 20 in a fresh clone. stdout stays the task's alone.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setUp } from './setup/setup.mjs';
import { SetupError } from './setup/step.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** What each task runs once everything is set up: arguments of Node. */
const TASKS = {
  setup: undefined,
  test: (args) => ['scripts/test.mjs', ...args],
  'test:cluster': (args) => ['scripts/cluster-tests.mjs', ...args],
  demo: (args) => ['dist/lab/demo-main.js', ...args],
  bench: (args) => ['--import', 'tsx', 'bench/main.ts', ...args],
  'bench:vm': (args) => ['--import', 'tsx', 'bench/programs/vm-programs.ts', ...args],
  'bench:scale-api': (args) => ['--import', 'tsx', 'bench/scale-api/main.ts', ...args],
  'fuzz:filters': (args) => ['--import', 'tsx', 'scripts/fuzz-filters.ts', ...args],
  soak: (args) => ['--import', 'tsx', 'scripts/soak.ts', ...args],
  stress: (args) => ['--import', 'tsx', 'scripts/stress.ts', ...args],
  krew: (args) => ['scripts/krew.mjs', ...args],
  ktrace: (args) => ['bin/ktrace', ...args],
};

const [task, ...args] = process.argv.slice(2);
if (!Object.hasOwn(TASKS, task ?? '')) {
  process.stderr.write(`Expected one of ${Object.keys(TASKS).join(', ')} as the task, got ${JSON.stringify(task ?? '')}\n`);
  process.exit(2);
}

try {
  await setUp(ROOT, { isForTests: task === 'test' });
} catch (error) {
  const isForbidden = ['EACCES', 'EPERM', 'EROFS'].includes(error.code);
  if (!(error instanceof SetupError) && !isForbidden) throw error;
  process.stderr.write(`${isForbidden ? `This user may not change the checkout: ${error.message}` : error.message}\n`);
  process.exit(1);
}

if (TASKS[task] !== undefined) runTask(TASKS[task](args));

/** Runs Node 24 in the checkout's root and ends as it ends; a signal to us is passed on, so that nothing is left behind. */
function runTask(nodeArgs) {
  const bin = join(ROOT, 'node_modules/.bin');
  const script = nodeArgs.find((arg) => /\.(mjs|js|ts)$|^bin\//.test(arg));
  if (!existsSync(join(ROOT, script))) {
    process.stderr.write(`${script} is missing: this checkout is incomplete\n`);
    process.exit(1);
  }
  const child = spawn(join(bin, 'node'), nodeArgs, {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    // A terminal sends SIGINT to the whole foreground group: passing it on there would interrupt twice.
    process.on(signal, () => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + constants.signals[signal];
  });
}
