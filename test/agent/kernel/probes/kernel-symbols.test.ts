import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KernelSymbols } from '../../../../src/agent/kernel/probes/kernel-symbols.ts';

/** A kernel that prints these texts, and how often it was asked. */
function kernel(texts: Record<string, string>) {
  const state = { asked: 0, nowMs: 0, texts };
  const textOf = (address: bigint) => {
    state.asked += 1;
    return state.texts[address.toString(16)] ?? `0x${address.toString(16)}`;
  };
  return { state, symbols: new KernelSymbols(textOf, () => state.nowMs) };
}

test('a function is told by its name, in a module as well', () => {
  const { symbols } = kernel({ ffffffff81000108: 'nf_hook_slow', ffffffffc0100008: 'nft_do_chain [nf_tables]' });
  assert.equal(symbols.at(0xffffffff81000108n), 'nf_hook_slow');
  assert.equal(symbols.at(0xffffffffc0100008n), 'nft_do_chain');
});

test('no address is given away where the kernel knows no name', () => {
  const { symbols } = kernel({ '2': '' });
  assert.deepEqual([symbols.at(0xffffffff81000108n), symbols.at(2n)], ['unknown', 'unknown']);
});

test('the kernel is asked once for a place, and again when a module may have come back elsewhere', () => {
  const { state, symbols } = kernel({ ffffffffc0100008: 'nft_do_chain [nf_tables]' });
  for (let packet = 0; packet < 100; packet += 1) symbols.at(0xffffffffc0100008n);
  assert.equal(state.asked, 1);
  state.texts = { ffffffffc0100008: 'ipt_do_table [ip_tables]' };
  state.nowMs = 10_001;
  assert.equal(symbols.at(0xffffffffc0100008n), 'ipt_do_table');
});

test('so many places are remembered at most', () => {
  const { state, symbols } = kernel({});
  for (let address = 0n; address < 5000n; address += 1n) symbols.at(address);
  symbols.at(4999n);
  assert.equal(state.asked, 5000);
  symbols.at(0n);
  assert.equal(state.asked, 5001, 'forgotten when there were too many');
});
