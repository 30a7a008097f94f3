import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listFunctions, type Probe, resolveProbes, symbolsOf } from '../../../../src/agent/kernel/probes/probe-plan.ts';
import type { NativeModule } from '../../../../src/native/types.ts';

const PROBE: Probe = { name: 'x', function: 'do_it', parameters: ['skb', ['code', 'reason']], tells: 'x' };

/** What is made of a kernel with these lines in kallsyms, whose types know these parameters of do_it. */
function resolved(kallsyms: string, parameters: string[][]): unknown {
  const btf = { functionParameters: () => ({ do_it: parameters }) } as unknown as NativeModule['btf'];
  const resolution = resolveProbes([PROBE], listFunctions(kallsyms, ['do_it']), { btf, isLoaded: () => true }).get(PROBE);
  assert.ok(resolution);
  return 'reason' in resolution ? resolution.reason : { at: [...resolution.positions], module: resolution.module };
}

test('a function is found with the positions of its arguments, in the kernel and in a module', () => {
  assert.deepEqual(resolved('ffffffff81000000 T do_it\n', [['skb', 'code']]), { at: [0, 1], module: undefined });
  assert.deepEqual(resolved('ffffffff81000000 t do_it\t[nf_nat]\n', [['sk', 'skb', 'reason']]), { at: [1, 2], module: 'nf_nat' });
});

test('hidden addresses do not hide a function', () => {
  assert.deepEqual(resolved('0000000000000000 T do_it\n', [['skb', 'code']]), { at: [0, 1], module: undefined });
});

test('a function that is missing is expected to be where a part of the kernel is that has it', () => {
  const probe: Probe = {
    ...PROBE,
    partOf: [
      { name: 'nf_it', marker: 'set_it_up' },
      { name: 'ipv6', marker: 'ipv6_rcv' },
    ],
  };
  const symbols = symbolsOf([probe, PROBE]);
  assert.deepEqual(symbols, ['do_it', 'set_it_up', 'ipv6_rcv']);
  const btf = { functionParameters: () => ({}) } as unknown as NativeModule['btf'];
  const resolve = (names: string[]) =>
    resolveProbes([probe], listFunctions(names.map((name) => `ffffffff81000000 T ${name}\n`).join(''), symbols), {
      btf,
      isLoaded: () => true,
    }).get(probe);
  const reason = (part: string) => `the kernel has no function do_it: its module is not loaded (${part})`;
  assert.deepEqual(resolve(['ipv6_rcv']), { reason: reason('nf_it'), isExpected: true });
  assert.deepEqual(resolve(['set_it_up']), { reason: reason('ipv6'), isExpected: true });
  const renamed = resolve(['set_it_up', 'ipv6_rcv']);
  assert.ok(renamed !== undefined && 'reason' in renamed && !renamed.isExpected);
  assert.match(renamed.reason, /another name/);
});

for (const [what, kallsyms, parameters, reason] of [
  ['is missing', 'ffffffff81000000 T do_it_all\nffffffff81000000 D do_it\n', [], /no function do_it: it has another name here/],
  [
    'is there twice',
    'ffffffff81000000 t do_it\nffffffff82000000 t do_it\n',
    [['skb', 'code']],
    /ambiguous: the kernel has 2 functions/,
  ],
  ['is a compiler’s clone', 'ffffffff81000000 t do_it.isra.0\n', [], /only do_it\.isra\.0, whose arguments may be others/],
  ['is of a module without BTF', 'ffffffff81000000 t do_it\t[old]\n', [], /do_it of module old has no type information/],
  ['is told twice by BTF', 'ffffffff81000000 t do_it\n', [['skb', 'code'], ['skb']], /is there 2 times in the type information/],
  [
    'has other arguments',
    'ffffffff81000000 T do_it\n',
    [['skb', 'flags']],
    /no argument code or reason here, but \(skb, flags\)/,
  ],
  ['has it too far behind', 'ffffffff81000000 T do_it\n', [['skb', 'a', 'b', 'c', 'd', 'code']], /no argument code or reason/],
] as const) {
  test(`a function that ${what} is left out with the reason`, () => {
    assert.match(
      String(
        resolved(
          kallsyms,
          parameters.map((list) => [...list]),
        ),
      ),
      reason,
    );
  });
}
