import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SentBatches } from '../../../src/agent/serve/sent-batches.ts';
import { fc } from '../../support/fast-check.ts';

const entries = (seq: number, size: number) =>
  Array.from({ length: size }, (_, i) => ({ json: `${seq}.${i}`.padEnd(10), weight: 1, gap: false }));

describe('SentBatches', () => {
  it('hands out or counts every event after the batch that arrived, whatever was acknowledged before', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 40 }),
        fc.nat(),
        fc.nat(),
        fc.integer({ min: 0, max: 2000 }),
        (sizes, ackAt, resumeAt, maxBytes) => {
          const sent = new SentBatches(() => maxBytes);
          const acknowledged = ackAt % (sizes.length + 1);
          const arrived = acknowledged + (resumeAt % (sizes.length + 1 - acknowledged));
          for (const [index, size] of sizes.entries()) sent.add(index + 1, entries(index + 1, size));
          assert.ok(sent.bytes <= maxBytes);
          sent.acknowledge(acknowledged);
          const again = sent.takeAfter(arrived);
          assert.ok(again);
          const after = sizes.slice(arrived).reduce((sum, size) => sum + size, 0);
          assert.equal(again.entries.length + again.missed, after);
          const all = sizes.flatMap((size, index) => (index < arrived ? [] : entries(index + 1, size)));
          assert.deepEqual(again.entries, all.slice(again.missed));
          assert.equal(sent.bytes, 0);
        },
      ),
    );
  });

  it('cannot go back behind what was acknowledged', () => {
    const sent = new SentBatches(() => 1000);
    sent.add(1, entries(1, 2));
    sent.add(2, entries(2, 2));
    sent.acknowledge(2);
    assert.equal(sent.takeAfter(1), undefined);
    assert.deepEqual(sent.takeAfter(2), { entries: [], missed: 0 });
  });

  it('is bounded for a client that never acknowledges, and then cannot tell what came after its first batches', () => {
    const sent = new SentBatches(() => 100);
    for (let seq = 1; seq <= 20_000; seq += 1) sent.add(seq, entries(seq, 1));
    assert.equal(sent.takeAfter(5), undefined);
    assert.deepEqual(sent.takeAfter(19_000)?.missed, 990);
  });
});
