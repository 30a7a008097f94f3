import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guard } from '../../src/util/guard.ts';
import { createLog } from '../../src/util/log.ts';

test('what fails is counted by place, logged with its stack, at most once in 10 s, and goes no further', () => {
  const lines: { place: string; failures: number; err: { message: string; stack: string } }[] = [];
  let nowMs = 0;
  const guard = new Guard(createLog('test', 'info', { write: (line) => lines.push(JSON.parse(line)) }), () => nowMs);
  const fails = guard.wrap('here', (what: string) => {
    throw new Error(what);
  });
  fails('one');
  fails('two');
  assert.equal(
    guard.run('there', () => fails('three')),
    true,
  );
  assert.equal(
    guard.run('there', () => assert.fail('four')),
    false,
  );
  nowMs = 10_000;
  fails('five');
  assert.deepEqual(
    [...guard.failures],
    [
      ['here', 4],
      ['there', 1],
    ],
  );
  assert.deepEqual(
    lines.map(({ place, failures, err }) => [place, failures, err.message]),
    [
      ['here', 1, 'one'],
      ['there', 1, 'four'],
      ['here', 4, 'five'],
    ],
  );
  assert.match(lines[0]?.err.stack ?? '', /guard\.test/);
  assert.deepEqual(
    [...guard.take()].map(([place, error]) => [place, (error as Error).message]),
    [
      ['here', 'one'],
      ['there', 'four'],
    ],
  );
  assert.equal(guard.take().size, 0);
});
