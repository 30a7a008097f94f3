import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { openExpediting, type RcuExpedited } from '../../../src/agent/kernel/rcu.ts';

let sys: string;
const knob = () => join(sys, 'kernel/rcu_expedited');
const cpus = (name: string) => join(sys, 'devices/system/cpu', name);
const value = () => readFileSync(knob(), 'utf8').trim();

beforeEach(() => {
  sys = mkdtempSync(join(tmpdir(), 'ktrace-rcu-'));
  mkdirSync(join(sys, 'kernel'));
  mkdirSync(join(sys, 'devices/system/cpu'), { recursive: true });
  writeFileSync(knob(), '0\n');
  writeFileSync(cpus('isolated'), '\n');
});
afterEach(() => rmSync(sys, { recursive: true }));

/** Another process's guard, by this one. */
function guardFile(path: string, mark: string, before: string) {
  writeFileSync(path, mark);
  return {
    pid: () => 0,
    close: () => {
      if (readFileSync(path, 'utf8') === mark) writeFileSync(path, before);
    },
  };
}

const open = (choice?: RcuExpedited) => openExpediting({ guardFile, choice, sys });

function during(expedite: (work: () => void) => void): string {
  let seen = '';
  expedite(() => {
    seen = value();
  });
  return seen;
}

test('grace periods are expedited while the work is done, and put back afterwards', () => {
  assert.deepEqual([during(open()), value()], ['7589', '0']);
});

test('they are put back when the work fails, too', () => {
  const failing = () =>
    open()(() => {
      throw new Error('work');
    });
  assert.throws(failing, /work/);
  assert.equal(value(), '0');
});

test('a kernel that expedites them already is left so', () => {
  writeFileSync(knob(), '1\n');
  assert.deepEqual([during(open()), value()], ['1', '1']);
});

test('what somebody sets meanwhile stays', () => {
  open()(() => writeFileSync(knob(), '1'));
  assert.equal(value(), '1');
});

for (const choice of ['auto', 'on', 'off'] as const) {
  test(`what a killed agent left is put right by the next start (${choice})`, () => {
    writeFileSync(knob(), '7589\n');
    const expedite = open(choice);
    assert.equal(value(), '0', 'at once');
    expedite(() => {});
    assert.equal(value(), '0');
  });
}

test('what one leaves that is killed later is put right by the next work', () => {
  const expedite = open();
  writeFileSync(knob(), '7589\n');
  assert.deepEqual([during(expedite), value()], ['7589', '0']);
});

test('CPUs that are isolated are not interrupted, unless somebody wants it', () => {
  assert.equal(during(open('off')), '0');
  for (const name of ['isolated', 'nohz_full']) {
    writeFileSync(cpus(name), '2-5\n');
    assert.equal(during(open()), '0', name);
    assert.equal(during(open('on')), '7589', name);
    writeFileSync(cpus(name), '  (null)\n');
    assert.equal(during(open()), '7589', name);
  }
});

test('without the knob, or without a guard for it, the work is done all the same', () => {
  const done: string[] = [];
  openExpediting({ guardFile, sys: join(sys, 'nowhere') })(() => done.push('no knob'));
  const refuse = () => {
    throw new Error('EROFS');
  };
  openExpediting({ guardFile: refuse, sys })(() => done.push(value()));
  assert.deepEqual(done, ['no knob', '0']);
});
