import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSymbols, Symbols } from '../../../../src/agent/kernel/probes/symbols.ts';
import { fc } from '../../../support/fast-check.ts';

const symbols = (text: string) => new Symbols([Buffer.from(text)]);

const TEXT = `ffffffff81000300 T third
ffffffff81000100 T first
ffffffff81000200 t second
ffffffff81000250 d data_in_between
ffffffffc0000000 t in_a_module\t[nf_tables]
`;

test('an address is told as the function it lies in, also in a module', () => {
  const known = symbols(TEXT);
  assert.equal(known.areKnown, true);
  const table: [bigint, string][] = [
    [0xffffffff81000100n, 'first'],
    [0xffffffff810001ffn, 'first'],
    [0xffffffff81000260n, 'second'],
    [0xffffffff81000300n, 'third'],
    [0xffffffffc0000010n, 'in_a_module'],
  ];
  for (const [address, name] of table) assert.equal(known.at(address), name);
});

test('an address before all functions is told to nobody', () => {
  assert.equal(symbols(TEXT).at(0xffffffff81000000n), 'unknown');
});

test('the last line counts without its newline', () => {
  assert.equal(symbols('ffffffff81000100 T first').at(0xffffffff81000100n), 'first');
});

test('hidden, missing or broken symbols give no address away', () => {
  const hidden = symbols('0000000000000000 T first\n0000000000000000 t second\n');
  assert.deepEqual([hidden.areKnown, hidden.at(0x1234n)], [false, 'unknown']);
  assert.equal(symbols('').at(1n), 'unknown');
  assert.equal(symbols('short\n\nffff\n').at(1n), 'unknown');
  assert.equal(readSymbols('/nonexistent/kallsyms').at(0xffn), 'unknown');
});

test('any text is read without an error', () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 400, unit: fc.constantFrom(...'0af tTd\n\tx') }),
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      (text, address) => {
        assert.equal(typeof symbols(text).at(address), 'string');
      },
    ),
  );
});
