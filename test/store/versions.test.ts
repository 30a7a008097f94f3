import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readBlocks } from '../../src/store/block-reader.ts';
import { mayHold } from '../../src/store/bloom.ts';

/** Files as versions of the format were written; they are never written anew. */
const FILES: [name: string, counts: number[]][] = [
  // Packed by nothing, by deflate, by zstd.
  ['version-1.kseg', [1, 2, 3]],
  // Without a dictionary, then two with one, which stands between them twice.
  ['version-2.kseg', [4, 5, 6]],
  // As version 2; what it says of packets is in the records.
  ['version-3.kseg', [7, 8]],
];

suite('what an older ktrace has recorded', () => {
  for (const [name, counts] of FILES) {
    test(`is read as it was written: ${name}`, async () => {
      const path = fileURLToPath(new URL(`../fixtures/store/${name}`, import.meta.url));
      const file = await open(path);
      const found: { count: number; fromMs: number; knows: boolean[] }[] = [];
      try {
        const { size: untilByte } = await file.stat();
        const options = { name, untilByte, wants: ({ type }: { type: string }) => type === 'records' };
        for await (const { raw, header } of readBlocks(file, { ...options, onDamage: () => assert.fail('damaged') })) {
          const { count } = JSON.parse(raw.toString('utf8')) as { count: number };
          found.push({
            count,
            fromMs: header.fromMs,
            knows: ['10.244.1.2', 'u1', 'u2'].map((key) => mayHold(header.bloom, key)),
          });
        }
      } finally {
        await file.close();
      }
      assert.deepEqual(
        found,
        counts.map((count) => ({ count, fromMs: 1_790_000_000_000 + count, knows: [true, true, false] })),
      );
    });
  }
});
