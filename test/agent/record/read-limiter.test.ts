import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReadLimiter } from '../../../src/agent/record/read-limiter.ts';

const MIB = 1024 * 1024;

test('all who read a recording together read 64 MiB a second at most', async () => {
  const limiter = new ReadLimiter();
  const beganMs = performance.now();
  const read = async (pieces: number) => {
    for (let at = 0; at < pieces; at++) await limiter.read(64 * 1024);
  };
  // 96 MiB by three readers.
  await Promise.all([read(512), read(512), read(512)]);
  const tookMs = performance.now() - beganMs;
  assert.ok(tookMs >= 1450, `96 MiB took ${tookMs} ms`);
  await limiter.read(64 * MIB);
  assert.ok(performance.now() - beganMs >= 2450);
});
