import assert from 'node:assert/strict';
import { test } from 'node:test';
import { distinctBytes, seenBytes } from '../../src/event/captured.ts';
import { fc } from '../support/fast-check.ts';

test('a follower sees the headers, and of what follows no more than its own snap length', () => {
  const captured = { bytes: Uint8Array.from({ length: 100 }, (_, index) => index), headerBytes: 28 };
  for (const [snapBytes, expected] of [
    [0, 28],
    [10, 28],
    [29, 29],
    [100, 100],
    [1500, 100],
  ] as const)
    assert.deepEqual(seenBytes(captured, snapBytes), captured.bytes.subarray(0, expected));
});

test('whatever was captured for others, nobody sees a byte beyond headers and own snap length', () => {
  const one = fc.record({ bytes: fc.uint8Array({ maxLength: 200 }), headerBytes: fc.nat(200) });
  fc.assert(
    fc.property(fc.array(one, { maxLength: 5 }), fc.nat(200), (captured, snapBytes) => {
      const cut = captured.map(({ bytes, headerBytes }) => [...bytes.slice(0, Math.max(headerBytes, snapBytes))].join());
      const seen = distinctBytes(captured, snapBytes).map((bytes) => [...bytes].join());
      assert.deepEqual(
        seen,
        [...new Set(cut)].filter((text) => text !== ''),
      );
    }),
  );
});
