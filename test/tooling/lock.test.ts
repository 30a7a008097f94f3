import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { withLock } from '../../scripts/setup/lock.mjs';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ktrace-lock-'));
});

afterEach(() => rmSync(root, { recursive: true }));

test('two set-ups of one checkout run one after the other', async () => {
  let inside = 0;
  const work = async () => {
    assert.equal(++inside, 1);
    await new Promise((resolve) => setImmediate(resolve));
    inside--;
  };
  await Promise.all([withLock(root, work), withLock(root, work)]);
  assert.equal(existsSync(join(root, 'build/.setup-lock')), false);
});

test('the lock is given back when the work fails', async () => {
  await assert.rejects(
    withLock(root, async () => {
      throw new Error('no');
    }),
    /no/,
  );
  assert.equal(await withLock(root, async () => 'again'), 'again');
});

test('a lock whose holder died is taken over', async () => {
  const { pid } = spawnSync('true');
  hold(`${pid} 12345`);
  assert.equal(await withLock(root, async () => 'mine'), 'mine');
});

test('a lock whose holder’s process id now belongs to another process is taken over', async () => {
  hold(`${process.pid} 1`);
  assert.equal(await withLock(root, async () => 'mine'), 'mine');
});

function hold(holder: string): void {
  mkdirSync(join(root, 'build/.setup-lock'), { recursive: true });
  writeFileSync(join(root, 'build/.setup-lock/holder'), holder);
}
