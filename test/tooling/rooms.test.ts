import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkLintRules } from '../../scripts/checks/lint-rules.mjs';
import { checkRooms } from '../../scripts/checks/rooms.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const copies: string[] = [];

after(() => {
  for (const copy of copies) rmSync(copy, { recursive: true });
});

/** What is found in a src/ of these files, and beside it. */
async function problemsOf(files: Record<string, string>): Promise<string[]> {
  const root = mkdtempSync(join(tmpdir(), 'ktrace-rooms-test-'));
  copies.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, 'src', path)), { recursive: true });
    writeFileSync(join(root, 'src', path), text);
  }
  const { checked, problems } = await checkRooms(root);
  assert.equal(checked, Object.keys(files).filter((path) => !path.startsWith('../')).length);
  return problems;
}

test('the rooms of src/ are as the table has them, and the rules of Biome are on', async () => {
  const rooms = await checkRooms(ROOT);
  assert.deepEqual(rooms.problems, []);
  assert.ok(rooms.checked > 400);
  assert.deepEqual((await checkLintRules(ROOT)).problems, []);
});

test('an import of a room beside or above is found, however it is written', async () => {
  const forms = (path: string): string[] => [
    `import { a } from '${path}';\n`,
    `import type { A } from '${path}';\n`,
    `import {\n  a,\n  type B,\n} from '${path}';\n`,
    `import '${path}';\n`,
    `export { a } from '${path}';\n`,
    `export * from '${path}';\n`,
    `export async function f() {\n  const { a } = await import('${path}');\n}\n`,
    `export type T = import('${path}').T;\n`,
  ];
  const beside = await Promise.all(forms('../flow/b.ts').map((text) => problemsOf({ 'kube/a.ts': text })));
  for (const problems of beside)
    assert.deepEqual(problems, ['src/kube/a.ts imports flow/b.ts: src/kube imports lower floors alone']);
  const above = await problemsOf({ 'event/a.ts': "import type { X } from '../client/wire/x.ts';\n" });
  assert.deepEqual(above, ['src/event/a.ts imports client/wire/x.ts: src/event imports lower floors alone']);
  const outside = await problemsOf({ 'cli/a.ts': "import { x } from '../../test/support/x.ts';\n" });
  assert.deepEqual(outside, ['src/cli/a.ts imports ../test/support/x.ts: src/cli imports lower floors alone']);
});

test('an include of a folder above, of none, and a folder that is in no table are found', async () => {
  const problems = await problemsOf({
    '../bpf/ktrace.bpf.c': '#include <linux/bpf.h>\n#include "hook/a.h"\n',
    '../bpf/hook/a.h': '#include "hook/b.h"\n#include "base/c.h"\n',
    '../bpf/base/c.h': '#include "packet/d.h"\n',
    '../native/src/link/e.cc': '#include "e.h"\n',
    '../native/src/new/f.h': '',
  });
  assert.deepEqual(problems, [
    'bpf/base/c.h includes packet/d.h: bpf includes lower folders alone',
    'native/src/link/e.cc includes e.h: native/src includes lower folders alone',
    'native/src/new is no folder of scripts/checks/rooms.mjs',
  ]);
});

test('lower floors, packages and a room’s own files may be imported', async () => {
  const problems = await problemsOf({
    'util/b.ts': 'export const b = 1;\n',
    'agent/a.ts':
      "import { readFileSync } from 'node:fs';\nimport pino from 'pino';\nimport { b } from '../util/b.ts';\nimport './kernel/c.ts';\n",
    'agent/kernel/c.ts': "import { b } from '../../util/b.ts';\n",
  });
  assert.deepEqual(problems, []);
});

test('within a room no folder imports a higher one, nor what is on top', async () => {
  const problems = await problemsOf({
    'client/wire/a.ts': "import { b } from '../merge/b.ts';\n",
    'client/merge/b.ts': "import { c } from '../grant.ts';\n",
    'client/merge/d.ts': "import { c } from '../attic/c.ts';\n",
  });
  assert.deepEqual(problems, [
    'src/client/merge/b.ts imports client/grant.ts: in src/client folders import lower ones alone',
    'src/client/merge/d.ts imports client/attic/c.ts: in src/client folders import lower ones alone',
    'src/client/wire/a.ts imports client/merge/b.ts: in src/client folders import lower ones alone',
  ]);
});

test('circles are found: of files, also by types alone, and of folders', async () => {
  const files = await problemsOf({
    'event/a.ts': "import type { B } from './b.ts';\n",
    'event/b.ts': "import type { C } from './c.ts';\n",
    'event/c.ts': "import type { A } from './a.ts';\n",
  });
  assert.deepEqual(files, ['a circle of imports: event/a.ts > event/b.ts > event/c.ts > event/a.ts']);
  const folders = await problemsOf({
    'store/one/a.ts': "import { b } from '../two/b.ts';\n",
    'store/two/b.ts': 'export const b = 1;\n',
    'store/two/c.ts': "import { d } from '../one/d.ts';\n",
    'store/one/d.ts': 'export const d = 1;\n',
  });
  assert.deepEqual(folders, ['a circle of imports: store/one > store/two > store/one']);
});

test('informers and the addon are kept from the client, sockets from the protocol', async () => {
  const problems = await problemsOf({
    'client/a.ts': "import { W } from '../kube/watch.ts';\nimport { n } from '../native/load.ts';\n",
    'protocol/b.ts': "import { WebSocket } from 'ws';\nimport { connect } from 'node:net';\n",
  });
  assert.deepEqual(
    problems.map((problem) => problem.split(':')[0]),
    [
      'src/client/a.ts imports kube/watch.ts',
      'src/client/a.ts imports native/load.ts',
      'src/protocol/b.ts imports ws',
      'src/protocol/b.ts imports node',
    ],
  );
});

test('a folder of more than fifteen files, and one that is no room, are found', async () => {
  const files = Object.fromEntries(Array.from({ length: 16 }, (_, at) => [`flow/f${at}.ts`, 'export const x = 1;\n']));
  assert.deepEqual(await problemsOf(files), ['src/flow has 16 files: at most 15']);
  const beside = Object.fromEntries(
    Array.from({ length: 16 }, (_, at) => [`../test/lab/f${at}.test.ts`, 'export const x = 1;\n']),
  );
  assert.deepEqual(await problemsOf(beside), ['test/lab has 16 files: at most 15']);
  const attic = await problemsOf({ 'attic/a.ts': "import 'node:fs';\n", 'attic/b.ts': 'export const b = 1;\n' });
  assert.deepEqual(attic, ['src/attic is no room of scripts/checks/rooms.mjs']);
});
