import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KernelFilter } from '../../../src/agent/pipeline/kernel-filter.ts';
import type { Subscription } from '../../../src/event/target.ts';
import type { KernelProgram } from '../../../src/filter/compile/ebpf-assembly.ts';
import { createLog } from '../../../src/util/log.ts';

const follow = (text?: string): Subscription => ({
  targets: [],
  addresses: [],
  units: 'flows',
  ...(text === undefined ? {} : { filter: { text, revision: 1 } }),
});

function kernel(refuses = false) {
  const set: (KernelProgram | undefined)[] = [];
  const setFilter = (program: KernelProgram | undefined) => {
    if (refuses && program !== undefined) throw new Error('load program ktrace_filter: Permission denied');
    set.push(program);
  };
  return { set, filter: new KernelFilter({ setFilter }, createLog('agent', 'silent')) };
}

describe('the filter that the kernel is given', () => {
  test('is what none of the followers can take, and changes with them', () => {
    const { filter, set } = kernel();
    const said = (...follows: Subscription[]) => {
      filter.update(follows, []);
      return filter.text;
    };
    assert.equal(said(follow('icmp')), 'icmp');
    assert.equal(said(follow('icmp'), follow('tcp port 80')), 'icmp or tcp');
    assert.equal(said(follow('icmp'), follow('tcp port 80'), follow()), undefined);
    assert.equal(said(follow('icmp'), follow('host 10.0.0.1')), undefined);
    assert.equal(said(follow('tcp port 80'), follow('tcp port 443')), 'tcp');
    assert.equal(said(), undefined);
    assert.deepEqual(
      set.map((program) => program !== undefined),
      [true, true, false, true, false],
    );
  });

  test('is set once for as long as it stays the same', () => {
    const { filter, set } = kernel();
    for (const text of ['tcp port 80', 'tcp port 81', 'tcp']) filter.update([follow(text)], []);
    assert.equal(set.length, 1);
  });

  test('knows the ports of the node’s tunnels, and the usual ones', () => {
    const { filter } = kernel();
    filter.update([follow('udp port 5000')], []);
    assert.equal(filter.text, 'inner udp');
    filter.update([follow('udp port 5000')], [5000]);
    assert.equal(filter.text, undefined);
    filter.update([follow('udp port 4789')], []);
    assert.equal(filter.text, undefined);
  });

  test('is of more than eight different parts the protocols that they ask for, and nothing where one asks for none', () => {
    const { filter } = kernel();
    const flags = Array.from({ length: 8 }, (_, bit) => `tcp[13] & ${1 << bit} != 0`);
    filter.update(flags.map(follow), []);
    assert.equal(filter.text, flags.join(' or '));
    filter.update([...flags, 'icmp[0] = 3 and less 80', 'not sctp and icmp6'].map(follow), []);
    assert.equal(filter.text, 'tcp or icmp or (not sctp and icmp6)');
    filter.update([...flags, 'icmp', 'not tcp[13] = 2'].map(follow), []);
    assert.equal(filter.text, undefined);
    filter.update(
      Array.from({ length: 33 }, (_, value) => follow(`inner proto ${value}`)),
      [],
    );
    assert.equal(filter.text, undefined);
  });

  test('leaves nothing out where the verifier refuses it', () => {
    const refusing = kernel(true);
    refusing.filter.update([follow('icmp')], []);
    assert.equal(refusing.filter.text, undefined);
    assert.deepEqual(refusing.set, [undefined]);
  });
});
