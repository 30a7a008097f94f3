import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { loadNative } from '../../../src/native/load.ts';
import { until } from '../../support/until.ts';
import { scenarioCommand } from '../support.ts';
import { addFilter, filters, makeVeth, programExists, qdiscs } from './network.ts';

// What a process that ended without closing leaves behind.

const native = loadNative();
makeVeth('v0', 'v1');
const before = qdiscs('v1');

async function hold(how: string, end: string): Promise<{ child: ChildProcess; id: number; ended: Promise<unknown> }> {
  const [command, args] = scenarioCommand('holder', how, 'v1', end);
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const ended = once(child, 'close');
  const [chunk] = await once(child.stdout, 'data');
  return { child, id: Number(String(chunk)), ended };
}

for (const end of ['exit', 'throw', 'return']) {
  for (const how of ['tcx', 'clsact']) {
    const { id, ended } = await hold(how, end);
    await ended;
    await until(`the program of a process that ended by ${end} is gone`, () => !programExists(id));
    assert.equal(qdiscs('v1'), before, `${how}, ${end}`);
  }
}

const tcx = await hold('tcx', 'wait');
tcx.child.kill('SIGKILL');
await tcx.ended;
await until('the tcx program is gone', () => !programExists(tcx.id));

const clsact = await hold('clsact', 'wait');
clsact.child.kill('SIGKILL');
await clsact.ended;
assert.equal(programExists(clsact.id), true);
assert.equal(native.removeStaleFilters('somebody_else'), 0);
assert.equal(native.removeStaleFilters('on_pack'), 2);
await until('the clsact program is gone', () => !programExists(clsact.id));
assert.equal(qdiscs('v1'), before, 'the empty qdisc went too');

// A qdisc that somebody else uses stays, and so does their filter.
const shared = await hold('clsact', 'wait');
addFilter('v1', 'egress', 9, 'all');
shared.child.kill('SIGKILL');
await shared.ended;
assert.equal(native.removeStaleFilters('on_packet'), 2);
assert.match(filters('v1', 'egress'), /other_shot/);
assert.equal(filters('v1', 'ingress'), '');
console.log('done');
