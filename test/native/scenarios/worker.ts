import { parentPort, workerData } from 'node:worker_threads';
import { loadNative } from '../../../src/native/load.ts';
import { objectPath } from '../support.ts';

// One environment among several: attaches, reads, watches, and never closes anything.

const native = loadNative();
const object = native.openObject(objectPath('good'));
object.attachTc('on_packet', workerData as number, 'in', 'tcx');
object.attachTc('on_packet', workerData as number, 'out', 'clsact');
let bytes = 0;
native.readRing(object, 'records', { intervalMs: 2 }, (records) => {
  bytes += records.length;
  parentPort?.postMessage({ id: object.programInfo('on_packet').id, bytes });
});
native.watchLinks(() => {});
setInterval(() => object.testRun('emit_urgently', new Uint8Array(64), 0, 10), 1);
