import { execFileSync } from 'node:child_process';
import { appendFileSync, readFileSync } from 'node:fs';
import { KtraceError, messageOf } from '../src/util/errors.ts';
import type { Results, Target } from './report.ts';

/** One run of the bench. */
export type Run = Results & {
  /** When it ended, ISO 8601 in UTC. */
  time: string;
  /** What was measured, with `+` where files had changed since; empty where there is no git. */
  commit: string;
  targets: Target[];
};

/**
 * Earlier runs, one JSON object a line, the oldest first. Where there is no file, an empty one is made.
 * @throws KtraceError where the file is something else, to which nothing is appended, or cannot be written
 */
export function readHistory(file: string): Run[] {
  try {
    appendFileSync(file, '');
  } catch (error) {
    throw new KtraceError(
      'KTRACE_E_ARGUMENT',
      `Expected a file for --json that can be written, got ${file}: ${messageOf(error)}`,
    );
  }
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.flatMap((line, at) => (line.trim() === '' ? [] : [runOf(line, `${file}, line ${at + 1}`)]));
}

export function appendRun(file: string, run: Run): void {
  appendFileSync(file, `${JSON.stringify(run)}\n`);
}

/** For each thing to reach what the last run on the same kernel and number of cores found that had it. */
export function foundBefore(history: readonly Run[], now: Pick<Results, 'kernel' | 'cores' | 'isQuick'>): Map<string, string> {
  const before = new Map<string, string>();
  for (const { kernel, cores, isQuick, commit, targets } of history) {
    if (kernel !== now.kernel || cores !== now.cores || isQuick !== now.isQuick) continue;
    for (const { what, found } of targets) before.set(what, `${found}${commit === '' ? '' : ` (${commit})`}`);
  }
  return before;
}

export function currentCommit(folder: string): string {
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '+'}`;
  } catch {
    return '';
  }
}

function runOf(line: string, place: string): Run {
  try {
    const run = JSON.parse(line) as Run;
    if (typeof run.time === 'string' && Array.isArray(run.targets)) return run;
  } catch {
    // As for any other line.
  }
  const got = JSON.stringify(line.slice(0, 40));
  throw new KtraceError(
    'KTRACE_E_ARGUMENT',
    `Expected the file of --json to be a bench's history, one run as JSON a line, got ${got} at ${place}`,
  );
}
