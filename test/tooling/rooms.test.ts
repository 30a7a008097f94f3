import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkRooms } from '../../scripts/checks/rooms.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const copies: string[] = [];

after(() => {
  for (const copy of copies) rmSync(copy, { recursive: true });
});

test('every room boundary of biome.json is active', async () => {
  assert.deepEqual((await checkRooms(ROOT)).problems, []);
});

test('a room whose boundary is missing is found', async () => {
  const root = copyWith((config) => ({
    ...config,
    overrides: config.overrides.filter((one) => !one.includes.includes('src/kube/**')),
  }));
  const { problems } = await checkRooms(root);
  assert.ok(problems.includes('src/kube: an import of ../flow/some.ts is not refused'), problems.join('\n'));
  assert.ok(problems.every((problem) => problem.startsWith('src/kube: ')));
});

test('a boundary that forbids too much is found', async () => {
  const root = copyWith((config) => {
    const event = config.overrides.find((one) => one.includes.includes('src/event/**'));
    event?.linter.rules.style.noRestrictedImports?.options.patterns[0]?.group.push('**/util/**');
    return config;
  });
  const { problems } = await checkRooms(root);
  assert.deepEqual(problems, [
    'src/event: an import of ../util/some.ts is refused',
    'src/event: an import of ../../src/util/deep/some.ts is refused',
  ]);
});

test('a folder of src/ that is no room is found', async () => {
  const root = copyWith((config) => config);
  mkdirSync(join(root, 'src/attic'));
  const { problems } = await checkRooms(root);
  assert.deepEqual(problems, ['src/attic is no room: add it to biome.json and to scripts/checks/rooms.mjs']);
});

interface Config {
  overrides: {
    includes: string[];
    linter: { rules: { style: { noRestrictedImports?: { options: { patterns: { group: string[] }[] } } } } };
  }[];
}

/** A root that holds only what the check reads. */
function copyWith(change: (config: Config) => Config): string {
  const root = mkdtempSync(join(tmpdir(), 'ktrace-rooms-test-'));
  copies.push(root);
  mkdirSync(join(root, 'src'));
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'));
  writeFileSync(join(root, 'biome.json'), JSON.stringify(change(JSON.parse(readFileSync(join(ROOT, 'biome.json'), 'utf8')))));
  return root;
}
