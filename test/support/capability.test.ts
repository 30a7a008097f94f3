import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { capability } from './capability.ts';

const before = process.env['KTRACE_REQUIRE'];
afterEach(() => {
  if (before === undefined) delete process.env['KTRACE_REQUIRE'];
  else process.env['KTRACE_REQUIRE'] = before;
});

test('a missing capability is a reason to skip', () => {
  delete process.env['KTRACE_REQUIRE'];
  assert.equal(capability('vm', 'needs qemu'), 'needs qemu');
  process.env['KTRACE_REQUIRE'] = 'root';
  assert.equal(capability('vm', 'needs qemu'), 'needs qemu');
});

test('a missing capability that is required is an error', () => {
  process.env['KTRACE_REQUIRE'] = 'root,vm';
  assert.equal(capability('vm', false), false);
  assert.throws(() => capability('vm', 'needs qemu'), /KTRACE_REQUIRE wants vm here, but the test needs qemu/);
});
