import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from '../../src/util/turns.ts';

test('so many are under way at one time, in order, and one that fails gives its turn on', async () => {
  const turns = new Turns(2);
  const gates = Array.from({ length: 6 }, () => Promise.withResolvers<number>());
  const begun: number[] = [];
  const taken = gates.map(({ promise }, at) =>
    turns.take(() => {
      begun.push(at);
      return promise;
    }),
  );
  const settled = Promise.allSettled(taken);
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  await turn();
  assert.deepEqual(begun, [0, 1]);
  gates[1]?.resolve(1);
  await turn();
  assert.deepEqual(begun, [0, 1, 2]);
  gates[2]?.reject(new Error('no'));
  await turn();
  assert.deepEqual(begun, [0, 1, 2, 3]);
  for (const [at, { resolve }] of gates.entries()) resolve(at);
  const results = await settled;
  assert.deepEqual(
    results.map((one) => (one.status === 'fulfilled' ? one.value : 'failed')),
    [0, 1, 'failed', 3, 4, 5],
  );
  assert.equal(await turns.take(() => Promise.resolve('free')), 'free');
});
