import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { withExpeditedRcu } from '../../src/agent/rcu.ts';

const folder = mkdtempSync(join(tmpdir(), 'ktrace-rcu-'));
const knob = join(folder, 'rcu_expedited');
after(() => rmSync(folder, { recursive: true }));

const value = () => readFileSync(knob, 'utf8').trim();

test('grace periods are expedited while the work is done, and put back afterwards', () => {
  writeFileSync(knob, '0\n');
  let during = '';
  withExpeditedRcu(() => {
    during = value();
  }, knob);
  assert.deepEqual([during, value()], ['1', '0']);
});

test('they are put back when the work fails, too', () => {
  writeFileSync(knob, '0\n');
  assert.throws(
    () =>
      withExpeditedRcu(() => {
        throw new Error('work');
      }, knob),
    /work/,
  );
  assert.equal(value(), '0');
});

test('a kernel that expedites them already is left so', () => {
  writeFileSync(knob, '1\n');
  withExpeditedRcu(() => {}, knob);
  assert.equal(value(), '1');
});

test('without the knob the work is done all the same', () => {
  let isDone = false;
  withExpeditedRcu(
    () => {
      isDone = true;
    },
    join(folder, 'no', 'knob'),
  );
  assert.equal(isDone, true);
});
