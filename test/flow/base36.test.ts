import assert from 'node:assert/strict';
import { test } from 'node:test';
import { base36 } from '../../src/flow/base36.ts';
import { fc } from '../support/fast-check.ts';

test('base 36 is what the language makes of it', () => {
  for (const value of [0, 1, 35, 36, 36 ** 4 - 1, 36 ** 4, 36 ** 8 - 1, 36 ** 8, Number.MAX_SAFE_INTEGER])
    assert.equal(base36(value), value.toString(36));
  fc.assert(fc.property(fc.maxSafeNat(), (value) => assert.equal(base36(value), value.toString(36))));
});
