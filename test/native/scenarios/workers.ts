import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { loadNative } from '../../../src/native/load.ts';
import { until } from '../../support/until.ts';
import { objectPath } from '../support.ts';
import { makeVeth, programExists, qdiscs } from './network.ts';

// Several environments at once, ended in the middle of their work.

const native = loadNative();
const [, v1] = makeVeth('v0', 'v1');
const before = qdiscs('v1');
const object = native.openObject(objectPath('good'));

for (let round = 0; round < 3; round++) {
  const workers = [0, 1, 2].map(() => new Worker(new URL('worker.ts', import.meta.url), { workerData: v1 }));
  const ids = await Promise.all(
    workers.map(async (worker) => {
      const [message] = await once(worker, 'message');
      assert.ok(message.bytes > 0);
      return message.id as number;
    }),
  );
  assert.equal(new Set(ids).size, workers.length);
  await Promise.all(workers.map((worker) => worker.terminate()));
  for (const id of ids) await until('what a worker attached is gone', () => !programExists(id));
  assert.equal(qdiscs('v1'), before);
}
assert.ok(object.testRun('body', new Uint8Array(64)).returnValue === 42, 'this environment is unharmed');
object.close();
console.log('done');
