import assert from 'node:assert/strict';
import { loadNative } from '../../../src/native/load.ts';
import { until } from '../../support/until.ts';
import { objectPath, run } from '../support.ts';

// Callbacks that throw: an uncaught exception each, and the reader goes on.

const native = loadNative();
const uncaught: string[] = [];
process.on('uncaughtException', (error) => uncaught.push(error.message));
const object = native.openObject(objectPath('good'));
let calls = 0;
const reader = native.readRing(object, 'records', { intervalMs: 5 }, () => {
  calls++;
  throw new Error(`call ${calls}`);
});
object.testRun('emit_quietly', new Uint8Array(64));
await until('the timer delivered', () => calls === 1);
object.testRun('emit_urgently', new Uint8Array(64));
await until('it goes on', () => calls === 2);
object.testRun('emit_quietly', new Uint8Array(64));
reader.drain();
assert.deepEqual(uncaught, ['call 1', 'call 2', 'call 3']);
reader.close();

// It may close its reader, and its object, from inside.
let closing = 0;
const second = native.readRing(object, 'records', { intervalMs: 5, batchBytes: 1 }, () => {
  closing++;
  second.close();
  object.close();
});
object.testRun('emit_quietly', new Uint8Array(64), 0, 10);
await until('the callback closed its reader', () => closing > 0);
assert.equal(closing, 1);

const watcher = native.watchLinks(() => {
  watcher.close();
  throw new Error('from the watcher');
});
run('ip', 'link', 'set', 'lo', 'up');
await until('the watcher threw', () => uncaught.includes('from the watcher'));
console.log('done');
