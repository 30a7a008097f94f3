import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { loadNative } from '../../../src/native/load.ts';
import { objectPath } from '../support.ts';

// A host with 250 veths: how long both directions of all take.

const COUNT = 250;
const native = loadNative();
const lines = Array.from({ length: COUNT }, (_, index) => `link add a${index} type veth peer name b${index}`);
execFileSync('ip', ['-batch', '-'], { input: lines.join('\n') });
const object = native.openObject(objectPath('good'));
const watcher = native.watchLinks(() => {});

// tcx waits for a grace period each time: a tenth of them tells as much.
for (const { how, count } of [
  { how: 'clsact', count: COUNT },
  { how: 'tcx', count: COUNT / 10 },
] as const) {
  const start = performance.now();
  const links = watcher
    .links()
    .filter(({ name }) => name.startsWith('a'))
    .slice(0, count);
  const handles = links.flatMap(({ ifindex }) => [
    object.attachTc('on_packet', ifindex, 'in', how),
    object.attachTc('on_packet', ifindex, 'out', how),
  ]);
  const attachedMs = performance.now() - start;
  assert.equal(handles.length, 2 * count);
  for (const handle of handles) object.detach(handle);
  const detachedMs = performance.now() - start - attachedMs;
  console.log(`${how}: ${count} veths attached in ${attachedMs.toFixed(0)} ms, detached in ${detachedMs.toFixed(0)} ms`);
}
watcher.close();
object.close();
console.log('done');
