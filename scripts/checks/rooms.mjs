/** Reads what the files of src/ import, types too, and what those of C include, and holds it against one table. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** Rooms by floor, the lowest first. A room imports itself and what is on lower floors. */
const FLOORS = [
  ['util'],
  ['event'],
  ['filter', 'kube', 'flow', 'store', 'access', 'protocol', 'export', 'native'],
  ['agent', 'gate', 'client', 'lab'],
  ['cli'],
];
/** A room's folders, the lowest first: each imports lower ones. What is on top of the room imports them all, and none of them imports it. */
const WITHIN = {
  filter: ['tokens', 'language', 'compile', 'evaluate'],
  kube: ['api', 'index'],
  agent: ['access', 'kernel', 'pipeline', 'record', 'serve'],
  client: ['cluster', 'wire', 'merge', 'file', 'report', 'render', 'output', 'install', 'follow', 'read', 'dump'],
  lab: ['plan', 'machine', 'workload', 'client', 'api'],
  cli: ['options', 'commands'],
};
/** What a room may not import though its floor would let it. */
const NEVER = [
  { room: 'client', imports: /^(native|kube)\//, why: 'it knows no informers and no addon' },
  { room: 'protocol', imports: /^(ws|node:net|node:https?)$/, why: 'it knows messages, not sockets' },
];
/** Folders of C, the lowest first: each includes itself and lower ones. What is beside them includes them all. */
const INCLUDING = {
  bpf: ['base', 'packet', 'flow', 'hook'],
  'native/src': ['util', 'btf', 'link', 'object'],
};
const INCLUDE = /^#include "([^"]+)"/gm;
/** Files a folder, in src/ and what is beside it. */
const MOST_FILES = 15;
const BESIDE = ['test', 'bench', 'scripts', 'bpf', 'native/src'];
/** As `from '…'`, `import '…'` and `import('…')` name it. */
const IMPORT = /^(?:import|export)\b[^;'"]*?\bfrom '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm;

/** @returns {Promise<{ checked: number, problems: string[] }>} `checked`: files */
export async function checkRooms(root) {
  const src = join(root, 'src');
  const files = sourcesOf(src);
  const beside = BESIDE.flatMap((top) => sourcesOf(join(root, top)).map((path) => `${top}/${path}`));
  const imports = new Map(files.map((file) => [file, importsOf(src, file)]));
  const folders = new Map();
  for (const [file, targets] of imports) {
    const into = folders.get(dirname(file)) ?? folders.set(dirname(file), new Set()).get(dirname(file));
    for (const target of targets) if (target.endsWith('.ts') && dirname(target) !== dirname(file)) into.add(dirname(target));
  }
  return {
    checked: files.length,
    problems: [
      ...strangers(files),
      ...files.flatMap((file) => imports.get(file).flatMap((target) => breaches(file, target))),
      ...[...circles(imports), ...circles(folders)].map((circle) => `a circle of imports: ${circle.join(' > ')}`),
      ...Object.entries(INCLUDING).flatMap(([top, folders]) => includes(root, top, folders)),
      ...crowded([...files.map((file) => `src/${file}`), ...beside]),
    ],
  };
}

/** The files of TypeScript, JavaScript and C under a folder, relative to it; none where it is not there. */
function sourcesOf(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .filter((path) => /\.(m?[jt]s|c|cc|h)$/.test(path))
    .sort();
}

/** Files relative to src/, a package's name as it is. */
function importsOf(src, file) {
  const named = [...readFileSync(join(src, file), 'utf8').matchAll(IMPORT)].map(([, from, bare, late]) => from ?? bare ?? late);
  return named.map((name) => (name.startsWith('.') ? normalize(join(dirname(file), name)) : name));
}

function strangers(files) {
  const unknown = new Set(files.map((file) => file.split('/')[0])).difference(new Set(FLOORS.flat()));
  return [...unknown].map((room) => `src/${room} is no room of scripts/checks/rooms.mjs`);
}

function breaches(file, target) {
  const [[room, ...place], [other, ...where]] = [file, target].map((path) => path.split('/'));
  const level = FLOORS.findIndex((rooms) => rooms.includes(room));
  const say = (why) => [`src/${file} imports ${target}: ${why}`];
  if (level < 0) return [];
  const never = NEVER.find((one) => one.room === room && one.imports.test(target));
  if (never !== undefined) return say(never.why);
  if (!target.endsWith('.ts')) return [];
  if (other === room)
    return heightOf(room, where) > heightOf(room, place) ? say(`in src/${room} folders import lower ones alone`) : [];
  return FLOORS.slice(0, level).flat().includes(other) ? [] : say(`src/${room} imports lower floors alone`);
}

/** Of a file within its room. A folder that is not in the table is as high as what is on top. */
function heightOf(room, [folder]) {
  const folders = WITHIN[room] ?? [];
  return folders.includes(folder) ? folders.indexOf(folder) : folders.length;
}

/** What is included by its folder and name, and from above. */
function includes(root, top, folders) {
  return sourcesOf(join(root, top)).flatMap((file) => {
    const own = file.includes('/') ? folders.indexOf(dirname(file)) : folders.length;
    if (own < 0) return [`${top}/${dirname(file)} is no folder of scripts/checks/rooms.mjs`];
    return [...readFileSync(join(root, top, file), 'utf8').matchAll(INCLUDE)].flatMap(([, target]) => {
      const height = folders.indexOf(dirname(target));
      return height < 0 || height > own ? [`${top}/${file} includes ${target}: ${top} includes lower folders alone`] : [];
    });
  });
}

function crowded(files) {
  const counts = Map.groupBy(files, dirname);
  return [...counts].flatMap(([folder, { length }]) =>
    length > MOST_FILES ? [`${folder} has ${length} files: at most ${MOST_FILES}`] : [],
  );
}

/** One circle of each knot, as the names on its way. */
function circles(graph) {
  const done = new Set();
  const found = [];
  function visit(node, way) {
    if (way.includes(node)) return found.push([...way.slice(way.indexOf(node)), node]);
    if (done.has(node)) return;
    done.add(node);
    for (const next of graph.get(node) ?? []) if (graph.has(next)) visit(next, [...way, node]);
  }
  for (const node of graph.keys()) visit(node, []);
  return found;
}
