/**
 * Proves that the room boundaries of biome.json hold: for every room a file that imports every room is linted,
 * and what is refused must be exactly what the table below forbids, no more and no less. The other rules that
 * this project leans on are seen to fire as well.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { biome } from './biome.mjs';

/** Rooms by level. A room imports itself and the levels above it in this list. */
const LEVELS = [
  ['util'],
  ['event'],
  ['filter', 'kube', 'flow', 'store', 'access', 'protocol', 'explain', 'export', 'native'],
  ['agent', 'gate', 'client', 'lab'],
  ['cli'],
];
/** What a room may not import although its level would let it. Of kube the client takes what has nothing to do with informers. */
const EXCEPTIONS = { client: ['native', 'kube'] };
const CLIENT_MAY = ['../kube/types.ts', '../kube/selector.ts', '../kube/api.ts', '../kube/addresses.ts'];
/** Folders beside src/ that nothing in src/ imports. */
const OUTSIDE = ['test', 'scripts', 'bench'];

const ROOMS = LEVELS.flat();

/** @returns {Promise<{ checked: number, problems: string[] }>} */
export async function checkRooms(root) {
  const unknown = readdirSync(join(root, 'src')).filter((name) => !ROOMS.includes(name));
  const problems = unknown.map((name) => `src/${name} is no room: add it to biome.json and to scripts/checks/rooms.mjs`);
  const probe = mkdtempSync(join(tmpdir(), 'ktrace-rooms-'));
  try {
    writeProbe(root, probe);
    const { diagnostics } = await biome(root, ['lint', `--config-path=${probe}`, '--max-diagnostics=none', probe]);
    const refused = (rule, path) => diagnostics.filter((one) => one.rule === rule && one.path.endsWith(path));

    for (const room of ROOMS) {
      const lines = refused('lint/style/noRestrictedImports', `src/${room}/imports.ts`).map((one) => one.line);
      importsOf(room).forEach(({ from, isForbidden }, index) => {
        if (lines.includes(index + 1) !== isForbidden)
          problems.push(`src/${room}: an import of ${from} is ${isForbidden ? 'not refused' : 'refused'}`);
      });
    }
    for (const { rule, path } of RULES) {
      if (refused(rule, path).length === 0) problems.push(`${rule} does not fire on ${path}, written to be wrong`);
    }
  } finally {
    rmSync(probe, { recursive: true });
  }
  return { checked: ROOMS.length, problems };
}

/** One import for each line of a room's probe. */
function importsOf(room) {
  const level = LEVELS.findIndex((rooms) => rooms.includes(room));
  const isForbidden = (other) =>
    !(other === room || (LEVELS.slice(0, level).flat().includes(other) && !EXCEPTIONS[room]?.includes(other)));
  const rooms = ROOMS.filter((other) => other !== room).flatMap((other) => [
    { from: `../${other}/some.ts`, isForbidden: isForbidden(other) },
    { from: `../../src/${other}/deep/some.ts`, isForbidden: isForbidden(other) },
  ]);
  const kube = CLIENT_MAY.map((from) => ({ from, isForbidden: room !== 'client' && isForbidden('kube') }));
  return [
    ...rooms,
    ...(room === 'kube' ? [] : kube),
    ...OUTSIDE.map((name) => ({ from: `../../${name}/some.ts`, isForbidden: true })),
  ];
}

/** Files that each break one rule. */
const RULES = [
  {
    rule: 'lint/suspicious/noImportCycles',
    path: 'src/event/cycle-a.ts',
    text: "import { b } from './cycle-b.ts';\nexport const a = () => b();\n",
  },
  {
    rule: 'lint/suspicious/noImportCycles',
    path: 'src/event/cycle-b.ts',
    text: "import { a } from './cycle-a.ts';\nexport const b = () => a();\n",
  },
  { rule: 'lint/style/noDefaultExport', path: 'src/event/default.ts', text: 'export default 1;\n' },
  {
    rule: 'lint/nursery/noFloatingPromises',
    path: 'test/floating.ts',
    text: 'async function f(): Promise<void> {}\nexport function g(): void {\n  f();\n}\n',
  },
  { rule: 'lint/suspicious/noDebugger', path: 'scripts/recommended.mjs', text: 'debugger;\n' },
];

function writeProbe(root, probe) {
  const config = JSON.parse(readFileSync(join(root, 'biome.json'), 'utf8'));
  // The probe is no git checkout; all else is as it is.
  writeFileSync(join(probe, 'biome.json'), JSON.stringify({ ...config, $schema: undefined, vcs: undefined }));
  for (const room of ROOMS) mkdirSync(join(probe, 'src', room), { recursive: true });
  for (const folder of OUTSIDE) mkdirSync(join(probe, folder));
  for (const room of ROOMS) {
    const lines = importsOf(room).map(({ from }) => `import '${from}';\n`);
    writeFileSync(join(probe, 'src', room, 'imports.ts'), lines.join(''));
  }
  for (const { path, text } of RULES) writeFileSync(join(probe, path), text);
}
