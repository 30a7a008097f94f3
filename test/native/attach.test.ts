import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { cannot, compile, scenario } from './support.ts';

describe('attachments', { skip: cannot }, () => {
  before(() => {
    for (const name of ['good', 'other', 'core']) compile(name);
  });

  it('see every packet and hide none, whatever else is attached, and leave nothing', async () => {
    await scenario('order');
  });
  it('by clsact are not replaced where others have theirs, and say so when they were', async () => {
    await scenario('replaced');
  });
  it('go with their process, and what SIGKILL leaves is removed later', async () => {
    await scenario('leftovers');
  });
  it('go with their object when it is collected, and closed objects say so', async () => {
    await scenario('lifetime');
  });
  it('go with their worker thread', async () => {
    await scenario('workers');
  });
  it('are made for 250 veths in a time that is reported', async (t) => {
    const report = await scenario('many');
    t.diagnostic(report.trim());
    assert.match(report, /clsact: 250 veths.*\ntcx: 25 veths/);
  });
  it('fail clearly on a kernel without BTF', async () => {
    await scenario('no-btf', { KTRACE_BTF: '/nowhere/vmlinux' });
  });
});

describe('the types of the kernel', { skip: cannot }, () => {
  it('are in memory while they are asked for, and not longer', async () => {
    // As the image has it: without, what is mapped is not told from what malloc keeps.
    await scenario('types-kept', { MALLOC_MMAP_THRESHOLD_: '131072' });
  });
});

describe('callbacks', { skip: cannot }, () => {
  before(() => void compile('good'));
  it('may throw or close their reader', async () => {
    await scenario('throwing');
  });
});

describe('links', { skip: cannot }, () => {
  it('are told with kind, peer, ports and addresses as they come and go', async () => {
    await scenario('links');
  });
});
