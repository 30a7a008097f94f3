import { existsSync, globSync } from 'node:fs';
import { join } from 'node:path';
import { checkErrors } from './errors.mjs';
import { checkLintRules } from './lint-rules.mjs';
import { checkRooms } from './rooms.mjs';
import { run } from './run.mjs';
import { checkVersion } from './version.mjs';

/**
 * The checks that need no test runner, in the order they are run. Each gives what it looked at (`checked`, a number of files
 * or rules; zero is a failure, for a gate that looked at nothing is open) and its problems as text.
 * @typedef {{ checked: number, problems: string[] }} Outcome
 * @type {Record<string, (root: string) => Promise<Outcome>>}
 */
export const CHECKS = {
  format: (root) => runBiome(root, 'format'),
  lint: (root) => runBiome(root, 'lint', '--error-on-warnings', '--max-diagnostics=none'),
  'lint-rules': checkLintRules,
  rooms: checkRooms,
  'c-format': checkCFormat,
  types: checkTypes,
  layout: checkLayout,
  'error-codes': checkErrors,
  version: checkVersion,
  'dead-code': checkDeadCode,
};

async function runBiome(root, verb, ...flags) {
  const { code, text } = await run(root, 'biome', [verb, ...flags, '.']);
  return { checked: Number(/^Checked (\d+) files?/m.exec(text)?.[1] ?? 0), problems: code === 0 ? [] : [text] };
}

async function checkCFormat(root) {
  const files = globSync(['bpf/**/*.{c,h}', 'native/src/**/*.{cc,h}', '{bench,test/vm}/**/*.c'], { cwd: root });
  if (files.length === 0) return { checked: 0, problems: [] };
  const { code, text } = await run(root, 'clang-format', ['--dry-run', '--Werror', ...files]);
  return { checked: files.length, problems: code === 0 ? [] : [text] };
}

async function checkTypes(root) {
  const { code, text } = await run(root, 'tsc', ['-p', '.', '--listFiles']);
  const isFile = (line) => line.startsWith('/');
  const own = text.split('\n').filter((line) => isFile(line) && !line.includes('/node_modules/'));
  const said = text
    .split('\n')
    .filter((line) => !isFile(line))
    .join('\n');
  return { checked: own.length, problems: code === 0 ? [] : [said] };
}

/** The record's layout in TypeScript is generated from the BPF object: it must be what the object says now. */
async function checkLayout(root) {
  if (!existsSync(join(root, 'scripts/layout.ts'))) return { checked: 0, problems: ['scripts/layout.ts is missing'] };
  const { code, text } = await run(root, 'node', ['--import', 'tsx', 'scripts/layout.ts', '--check']);
  return { checked: 1, problems: code === 0 ? [] : [text] };
}

/** Twice: what nothing uses, and what of `src/` tests alone use; for such a use an export is marked `@internal`. */
async function checkDeadCode(root) {
  const passes = [];
  for (const config of ['knip.json', 'knip.production.json']) passes.push(await runKnip(root, config));
  return {
    checked: Math.min(...passes.map(({ checked }) => checked)),
    problems: passes.flatMap(({ problems }) => problems),
  };
}

async function runKnip(root, config) {
  const reporters = ['--reporter', 'symbols', '--reporter', './scripts/reporters/knip-count.mjs'];
  const { code, text } = await run(root, 'knip', ['-c', config, ...reporters]);
  return {
    checked: Number(/^knip looked at (\d+) files$/m.exec(text)?.[1] ?? 0),
    problems: code === 0 ? [] : [`${config}: ${text}`],
  };
}
