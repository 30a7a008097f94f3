import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalIp } from '../../../src/kube/index/addresses.ts';
import { addressOf, hashOf, packAddress, packUid, sameWords, uidOf } from '../../../src/kube/index/packed.ts';
import { fc } from '../../support/fast-check.ts';

const words = () => new Uint32Array(8);
const address = fc.oneof(fc.ipV4(), fc.ipV6()).map((text) => canonicalIp(text) as string);

test('an address that was packed is told as it was', () => {
  for (const ip of [
    '0.0.0.0',
    '255.255.255.255',
    '10.0.200.3',
    '::',
    '::1',
    '2001:db8::',
    'fd00:10:244:1::a',
    '1:2:3:4:5:6:7:8',
  ]) {
    const into = words();
    packAddress(ip, into, 4);
    assert.equal(addressOf(into, 4), ip);
    assert.deepEqual([...into.subarray(0, 4)], [0, 0, 0, 0], 'only where it was asked to');
  }
  fc.assert(
    fc.property(address, (ip) => {
      const into = words();
      packAddress(ip, into);
      assert.equal(addressOf(into), ip);
    }),
  );
});

test('two addresses have the same words when they are the same', () => {
  fc.assert(
    fc.property(address, address, (one, other) => {
      const into = words();
      packAddress(one, into);
      packAddress(other, into, 4);
      assert.equal(sameWords(into, 0, into, 4), one === other);
      if (one === other) assert.equal(hashOf(into, 0, 7), hashOf(into, 4, 7));
    }),
  );
});

test('a uid that was packed is told as it was, and what is no UUID of the API server’s has no words', () => {
  fc.assert(
    fc.property(fc.uuid(), (uid) => {
      const into = words();
      assert.ok(packUid(uid, into, 4));
      assert.equal(uidOf(into, 4), uid);
    }),
  );
  for (const uid of [
    '',
    'uid-a',
    '8F4B2E30-0000-4000-8000-000000000000',
    '0123456789abcdef0123456789abcdef',
    '8f4b2e30-0000-4000-8000-00000000000g',
    '8f4b2e300-000-4000-8000-000000000000',
    '8f4b2e30-0000-4000-8000-0000000-0000',
    `${'0'.repeat(8)}-0000-0000-0000-${'0'.repeat(13)}`,
  ]) {
    assert.equal(packUid(uid, words()), false, uid);
  }
});

test('addresses next to each other spread over a table, and differently with another seed', () => {
  const slots = (seed: number) =>
    Array.from({ length: 4096 }, (_, at) => {
      const into = words();
      packAddress(`10.244.${at >> 8}.${at & 255}`, into);
      return hashOf(into, 0, seed) & 8191;
    });
  const [one, other] = [slots(1), slots(0xdead_beef)];
  // Of 4,096 at random in 8,192 slots 3,223 are expected to be different ones, with a deviation of 25.
  for (const all of [one, other]) assert.ok(new Set(all).size > 3000, `${new Set(all).size}`);
  assert.ok(one.filter((slot, at) => slot === other[at]).length < 20);
});
