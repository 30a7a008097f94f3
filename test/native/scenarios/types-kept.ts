import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { loadNative } from '../../../src/native/load.ts';

// The kernel's types are in memory while they are asked for, and not longer. A process with a fixed threshold for what it maps, as the image has it.

const bytes = statSync('/sys/kernel/btf/vmlinux').size;
/** malloc's own part of what it maps, and the rest of a page. */
const MORE = 8192;
const { btf } = loadNative();

/** Pieces of memory that are as large as the kernel's types. */
function mapped(): number {
  const maps = readFileSync('/proc/self/maps', 'latin1').matchAll(/^([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0 *$/gm);
  const sizes = [...maps].map(([, from, to]) => Number.parseInt(to ?? '', 16) - Number.parseInt(from ?? '', 16));
  return sizes.filter((size) => size >= bytes && size < bytes + MORE).length;
}

const before = mapped();
for (const round of ['at first', 'again']) {
  assert.ok(btf.hasStruct('sk_buff'), round);
  assert.ok(btf.hasMember('sk_buff', 'len'), round);
  assert.equal(mapped(), before + 1, `${round}: read once for all that is asked`);
  await turn();
  assert.equal(mapped(), before, `${round}: freed`);
}
console.log('done');
