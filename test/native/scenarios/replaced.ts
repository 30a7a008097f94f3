import assert from 'node:assert/strict';
import { loadNative } from '../../../src/native/load.ts';
import { objectPath, run } from '../support.ts';
import { filters, makeVeth, qdiscs, sendUntil } from './network.ts';

// Somebody else's filters at our priority: theirs replace each other and not ours, and what does take ours away is noticed.

const native = loadNative();
const [, v1] = makeVeth('v0', 'v1');
const before = qdiscs('v1');
const OTHER = ['bpf', 'direct-action', 'object-file', objectPath('other'), 'section', 'tc'];
const place = (handle: string) => ['dev', 'v1', 'ingress', 'protocol', 'all', 'pref', '1', 'handle', handle, 'bpf'];
const replace = (handle: string) => run('tc', 'filter', 'replace', ...place(handle), ...OTHER.slice(1));
const remove = (handle: string) => run('tc', 'filter', 'del', ...place(handle));

const object = native.openObject(objectPath('good'));
const attach = () => object.attachTc('on_packet', v1, 'in', 'clsact');
const seen = () => object.getGlobal('seen').readBigUInt64LE();
const seesMore = async (what: string) => {
  const counted = seen();
  await sendUntil('v0', what, () => seen() > counted);
};

const first = attach();
assert.match(filters('v1', 'ingress'), /handle 0x6b74 .*on_packet/);
replace('0x1');
replace('0x1');
assert.match(filters('v1', 'ingress'), /handle 0x1 .*other_shot/);
assert.equal(object.isAttached(first), true, 'beside theirs');
// A newer filter of one priority comes first, and this one ends the chain.
const hidden = seen();
const { rx_packets: sent } = statistics();
await sendUntil('v0', 'packets arrive', () => statistics().rx_packets > sent);
assert.equal(seen(), hidden, 'who comes later is in front');
remove('0x1');
await seesMore('ours is there all the time');

replace('0x6b74');
assert.equal(object.isAttached(first), false, 'replaced');
object.detach(first);
assert.match(filters('v1', 'ingress'), /handle 0x6b74 .*other_shot/, 'theirs stays');
const second = attach();
assert.match(filters('v1', 'ingress'), /handle 0x6b75 .*on_packet/, 'the next of our handles');
await seesMore('in front again');
remove('0x6b74');

run('tc', 'filter', 'del', 'dev', 'v1', 'ingress');
assert.equal(object.isAttached(second), false, 'removed');
const third = attach();
run('tc', 'qdisc', 'del', 'dev', 'v1', 'clsact');
assert.equal(object.isAttached(third), false, 'removed with its qdisc');
const fourth = attach();
await seesMore('with a new qdisc');
assert.equal(object.isAttached(fourth), true);
object.close();
assert.equal(qdiscs('v1'), before, 'nothing is left');
console.log('done');

function statistics(): { rx_packets: number } {
  const [link] = JSON.parse(run('ip', '-s', '-j', 'link', 'show', 'dev', 'v1')) as [{ stats64: { rx: { packets: number } } }];
  return { rx_packets: link.stats64.rx.packets };
}
