import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExportQueue } from '../../src/export/queue.ts';

const limits = { queueRecords: 4, queueBytes: 100, batchRecords: 3, batchBytes: 40 };

test('is full by number or by bytes', () => {
  const queue = new ExportQueue(limits);
  for (let at = 0; at < 4; at += 1) {
    assert.equal(queue.isFull, false);
    queue.push('{}', at);
  }
  assert.equal(queue.isFull, true);
  const heavy = new ExportQueue(limits);
  heavy.push('x'.repeat(100), 0);
  assert.equal(heavy.isFull, true);
});

test('gives the oldest first, as many as make a batch by number or by bytes', () => {
  const queue = new ExportQueue(limits);
  for (const json of ['a', 'b', 'c', 'd']) queue.push(json, 0);
  assert.deepEqual(
    queue.take().map(({ json }) => json),
    ['a', 'b', 'c'],
  );
  assert.equal(queue.bytes, 1);
  queue.push('x'.repeat(39), 0);
  queue.push('y', 0);
  assert.equal(queue.hasBatch, true);
  assert.deepEqual(
    queue.take().map(({ json }) => json.length),
    [1, 39],
  );
  assert.equal(queue.take().length, 1);
  assert.deepEqual([queue.length, queue.bytes, queue.sinceMs, queue.take()], [0, 0, undefined, []]);
});

test('drops what has waited too long, and counts it', () => {
  const queue = new ExportQueue(limits);
  for (const at of [1, 2, 3]) queue.push('xx', at);
  assert.equal(queue.dropOlderThan(3), 2);
  assert.deepEqual([queue.length, queue.bytes, queue.sinceMs], [1, 2, 3]);
});
