import assert from 'node:assert/strict';
import { loadNative } from '../../../src/native/load.ts';
import { objectPath } from '../support.ts';

// KTRACE_BTF names a file that is not there: as on a kernel without BTF.

const native = loadNative();
assert.equal(native.btf.available(), false);
assert.equal(native.btf.hasStruct('sk_buff'), false);
assert.equal(native.btf.enumValues('skb_drop_reason'), undefined);
assert.equal(native.btf.tracepointArguments('kfree_skb'), undefined);
assert.throws(() => native.openObject(objectPath('core')), { code: 'KTRACE_E_BTF', message: /\/nowhere\/vmlinux/ });
console.log('done');
