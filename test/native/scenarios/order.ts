import assert from 'node:assert/strict';
import { loadNative } from '../../../src/native/load.ts';
import { until } from '../../support/until.ts';
import { objectPath, run } from '../support.ts';
import { addFilter, filters, foreignRuns, makeVeth, programExists, qdiscs, sendUntil } from './network.ts';

// Somebody else's program that ends the chain, attached before ours or after, hides nothing from ours; and it still runs.

const native = loadNative();
const [, v1] = makeVeth('v0', 'v1');
const before = qdiscs('v1');
// A program that tc attached has no counter that we could read: the kernel's own tells whether it ran.
const statistics = native.enableStats();

for (const how of ['tcx', 'clsact'] as const) {
  for (const first of ['ours', 'other'] as const) {
    const ours = native.openObject(objectPath('good'));
    const other = native.openObject(objectPath('other'));
    // A tcx program of others in front of ours is theirs to place; what we can promise is ours in front of what is there, and behind
    // ours everything goes on.
    const otherHow = first === 'ours' ? 'clsact' : how;
    const attachOther = () => other.attachTc('other_shot', v1, 'in', otherHow);
    if (first === 'other') attachOther();
    const handle = ours.attachTc('on_packet', v1, 'in', how);
    if (first === 'ours' && how === 'tcx') attachOther();
    if (first === 'ours' && how === 'clsact') {
      addFilter('v1', 'ingress', 10, 'all');
    }
    const seen = () => ours.getGlobal('seen').readBigUInt64LE();
    const otherSeen = () => {
      if (first === 'other' || how === 'tcx') return other.getGlobal('other_seen').readBigUInt64LE() > 0n;
      return foreignRuns('other_shot') > 0;
    };
    await sendUntil('v0', `both saw packets (${how}, ${first} first)`, () => seen() > 0n && otherSeen());

    const { id } = ours.programInfo('on_packet');
    ours.detach(handle);
    const counted = seen();
    const foreign = other.getGlobal('other_seen').readBigUInt64LE();
    if (first === 'other' || how === 'tcx') {
      await sendUntil('v0', 'the other still sees packets', () => other.getGlobal('other_seen').readBigUInt64LE() > foreign);
    } else {
      assert.match(qdiscs('v1'), /clsact/, 'a qdisc that somebody else uses stays');
      run('tc', 'filter', 'del', 'dev', 'v1', 'ingress');
      run('tc', 'qdisc', 'del', 'dev', 'v1', 'clsact');
    }
    assert.equal(seen(), counted, 'detached programs see nothing');
    ours.close();
    other.close();
    await until('the program is gone', () => !programExists(id));
    assert.equal(qdiscs('v1'), before, `nothing is left (${how}, ${first} first)`);
  }
}

// Another filter at our place that cannot share it is not pushed aside.
run('tc', 'qdisc', 'add', 'dev', 'v1', 'clsact');
addFilter('v1', 'ingress', 1, 'ip');
const object = native.openObject(objectPath('good'));
assert.throws(() => object.attachTc('on_packet', v1, 'in', 'clsact'), { code: 'EINVAL' });
assert.match(filters('v1', 'ingress'), /other_shot/);
assert.match(qdiscs('v1'), /clsact/);
object.close();
statistics.close();
console.log('done');
