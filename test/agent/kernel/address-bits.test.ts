import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressOf, bitOf, emptyBits, setBit } from '../../../src/agent/kernel/address-bits.ts';
import { fc } from '../../support/fast-check.ts';

/** `has_bit` of bpf/hook/match.h, in big integers: the words as they are loaded on a little-endian machine. */
function kernelBit(address: Uint8Array): number {
  const view = new DataView(address.buffer, address.byteOffset, 16);
  const word = (n: number) => BigInt(view.getUint32(n * 4, true));
  const u32 = (value: bigint) => value & 0xffff_ffffn;
  const sum = u32(u32(word(0) * 0x85ebca6bn) + u32(word(1) * 0xc2b2ae35n) + u32(word(2) * 0x27d4eb2fn) + word(3));
  return Number(u32(sum * 0x9e3779b1n) >> 16n);
}

test('the bit of every address is the one that the kernel looks at, and no other is set', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (address) => {
      const bits = emptyBits();
      setBit(bits, bitOf(address));
      const words = new BigUint64Array(bits.buffer);
      const bit = kernelBit(address);
      const set = words.reduce((sum, word) => sum + word.toString(2).replaceAll('0', '').length, 0);
      assert.equal(set, 1);
      assert.equal((words[bit >> 6]! >> BigInt(bit & 63)) & 1n, 1n);
    }),
  );
});

test('the addresses of a pod network of 256 nodes spread over the bits', () => {
  const bits = emptyBits();
  for (let node = 0; node < 256; node++) for (let pod = 2; pod < 18; pod++) setBit(bits, addressOf(`10.244.${node}.${pod}`).bit);
  const set = bits.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0);
  // 4096 of 65536: an even spread keeps 97 % apart.
  assert.ok(set > 3500, `${set} bits of 4096 addresses`);
});

test('bits are added, never taken away', () => {
  const bits = emptyBits();
  setBit(bits, addressOf('10.0.0.1').bit);
  setBit(bits, addressOf('fd00::1').bit);
  setBit(bits, addressOf('10.0.0.1').bit);
  assert.equal(
    bits.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0),
    2,
  );
});

test('what is no address is refused by name', () => {
  assert.throws(() => addressOf('pod-1').bytes, /Expected an IP address, got "pod-1"/);
  assert.deepEqual([...addressOf('1.2.3.4').bytes], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4]);
});
