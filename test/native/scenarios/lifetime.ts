import assert from 'node:assert/strict';
import { loadNative } from '../../../src/native/load.ts';
import type { BpfObject } from '../../../src/native/types.ts';
import { until } from '../../support/until.ts';
import { objectPath } from '../support.ts';
import { makeVeth, programExists, qdiscs } from './network.ts';

// Objects that nobody closes, and objects that are used after they were closed.

const native = loadNative();
const [v0, v1] = makeVeth('v0', 'v1');
const before = qdiscs('v1');
const collect = () => (globalThis as unknown as { gc(): void }).gc();
const frame = new Uint8Array(64);

function attachAndForget(): number {
  const object = native.openObject(objectPath('good'));
  object.attachTc('on_packet', v0, 'in', 'tcx');
  object.attachTc('on_packet', v1, 'in', 'clsact');
  object.attachTracing('on_syscall');
  return object.programInfo('on_packet').id;
}

const forgotten = attachAndForget();
await until('a forgotten object is detached and freed', () => {
  collect();
  return !programExists(forgotten);
});
assert.equal(qdiscs('v1'), before);

// A reader that still reads keeps its object.
function readAndForgetObject() {
  const object = native.openObject(objectPath('good'));
  object.attachTc('on_packet', v0, 'in', 'tcx');
  const reader = native.readRing(object, 'records', { intervalMs: 5, unref: true }, () => {});
  return { reader, id: object.programInfo('on_packet').id };
}
const { reader, id } = readAndForgetObject();
for (let round = 0; round < 5; round++) {
  collect();
  await new Promise(setImmediate);
  assert.equal(programExists(id), true);
}
reader.close();
await until('the object goes when its reader is closed', () => {
  collect();
  return !programExists(id);
});

// A reader that nobody holds reads on.
let heard = 0;
const object = native.openObject(objectPath('good'));
(() => native.readRing(object, 'records', { intervalMs: 5, unref: true }, () => heard++))();
for (let round = 0; round < 3; round++) {
  collect();
  object.testRun('emit_quietly', frame);
  await until('a reader that nobody holds hears', () => heard > round);
}

// Closed: every method says so, a second close does nothing, a reader drains what is left.
const late = native.readRing(object, 'records', { intervalMs: 100_000, unref: true }, () => heard++);
object.close();
object.close();
const uses: [keyof BpfObject, () => unknown][] = [
  ['mapUpdate', () => object.mapUpdate('numbers', frame, frame)],
  ['mapLookup', () => object.mapLookup('numbers', frame)],
  ['mapDelete', () => object.mapDelete('numbers', frame)],
  ['mapTake', () => object.mapTake('numbers', frame)],
  ['mapEntries', () => object.mapEntries('numbers')],
  ['mapInfo', () => object.mapInfo('numbers')],
  ['mapSetProgram', () => object.mapSetProgram('bodies', 0, 'body')],
  ['setGlobal', () => object.setGlobal('seen', frame)],
  ['getGlobal', () => object.getGlobal('seen')],
  ['attachTc', () => object.attachTc('on_packet', v0, 'in', 'tcx')],
  ['attachTracing', () => object.attachTracing('on_syscall')],
  ['detach', () => object.detach(1)],
  ['testRun', () => object.testRun('on_packet', frame)],
  ['programInfo', () => object.programInfo('on_packet')],
  ['programs', () => object.programs()],
];
for (const [method, use] of uses) assert.throws(use, { code: 'KTRACE_E_CLOSED' }, method);
assert.throws(() => native.readRing(object, 'records', { intervalMs: 5 }, () => {}), { code: 'KTRACE_E_CLOSED' });
late.drain();
late.close();
late.close();
assert.throws(() => late.drain(), { code: 'KTRACE_E_CLOSED' });
const watcher = native.watchLinks(() => {});
watcher.close();
watcher.close();
assert.throws(() => watcher.links(), { code: 'KTRACE_E_CLOSED' });
console.log('done');
