import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Entry, type QueueCounts, SessionQueue } from '../../../src/agent/serve/session-queue.ts';
import type { KtraceEvent, LostEvent } from '../../../src/event/types.ts';
import { fc } from '../../support/fast-check.ts';
import { packet } from './fake-feed.ts';

const emptyCounts = (): QueueCounts => ({ in: 0, out: 0, cut: 0, folded: 0, putBack: 0, discarded: 0 });

function queueOf(maxEvents: number, maxBytes = 1_000_000): { queue: SessionQueue; counts: QueueCounts } {
  const counts = emptyCounts();
  const options = { node: 'host1', maxEvents, maxBytes: () => maxBytes, encode: JSON.stringify, now: () => 'now', counts };
  return { queue: new SessionQueue(options), counts };
}

const told = (entries: Entry[]): KtraceEvent[] => entries.map(({ json }) => JSON.parse(json));
const waiting = (queue: SessionQueue): Entry[] => queue.take(1_000_000, 1_000_000_000);

describe('SessionQueue', () => {
  it('gives events in order, and stands a gap of exact size where some were cut, whatever is pushed and taken', () => {
    const step = fc.oneof(
      fc.record({ push: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ take: fc.integer({ min: 1, max: 30 }) }),
      fc.record({ lost: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ putBack: fc.nat(5) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 50 }), (steps, maxEvents) => {
        const { queue, counts } = queueOf(maxEvents);
        let next = 0;
        let kernelLost = 0;
        const out: Entry[] = [];
        for (const one of steps) {
          if ('push' in one) for (let i = 0; i < one.push; i += 1) queue.push(packet(next++));
          if ('take' in one) out.push(...queue.take(one.take, 1_000_000));
          if ('lost' in one) {
            kernelLost += one.lost;
            queue.push({ v: 1, kind: 'lost', node: 'host1', stage: 'kernel-ring', count: one.lost, from: 'a', to: 'b' });
          }
          if ('putBack' in one) queue.putBack(out.splice(Math.max(0, out.length - one.putBack)));
        }
        const wait = queue.length;
        const rest = waiting(queue);
        assert.equal(rest.length, wait);
        assert.equal(queue.bytes, 0);
        const events = told([...out, ...rest]);
        const lostOf = (stage: string): number =>
          events.reduce((sum, event) => sum + (event.kind === 'lost' && event.stage === stage ? event.count : 0), 0);
        assert.equal(lostOf('kernel-ring'), kernelLost);
        assert.equal(lostOf('client-socket') + events.filter(({ kind }) => kind === 'packet').length, next);
        let expected = 0;
        for (const event of events) {
          if (event.kind === 'packet') assert.equal(event.id, `default-${expected++}`);
          if (event.kind === 'lost' && event.stage === 'client-socket') {
            assert.deepEqual([event.from, event.to], [packet(expected).time, packet(expected + event.count - 1).time]);
            expected += event.count;
          }
        }
        assert.equal(counts.in + counts.putBack, counts.out + counts.cut + counts.folded);
      }),
      { numRuns: 300 },
    );
  });

  it('cuts until half of it has drained, so that gaps are few', () => {
    const { queue } = queueOf(100);
    for (let i = 0; i < 150; i += 1) queue.push(packet(i));
    assert.equal(queue.length, 101);
    queue.take(40, 1_000_000);
    queue.push(packet(150));
    assert.equal(queue.length, 61);
    queue.take(11, 1_000_000);
    queue.push(packet(151));
    const events = told(waiting(queue));
    assert.deepEqual(
      events.map((event) => event.kind).filter((kind, index, kinds) => kind !== kinds[index - 1]),
      ['packet', 'lost', 'packet'],
    );
    assert.equal((events.at(-2) as LostEvent).count, 51);
  });

  it('does not encode what it cuts', () => {
    let encoded = 0;
    const encode = (event: KtraceEvent): string => {
      encoded += 1;
      return JSON.stringify(event);
    };
    const queue = new SessionQueue({
      node: 'n',
      maxEvents: 10,
      maxBytes: () => 1e6,
      encode,
      now: () => '',
      counts: emptyCounts(),
    });
    for (let i = 0; i < 1000; i += 1) queue.push(packet(i));
    assert.equal(encoded, 11);
  });

  it('is bounded by bytes too, and lets a batch end there', () => {
    const size = JSON.stringify(packet(0)).length;
    const { queue, counts } = queueOf(1000, size * 10);
    for (let i = 0; i < 20; i += 1) queue.push(packet(i));
    assert.ok(queue.bytes <= size * 10);
    assert.ok(counts.cut >= 10);
    assert.equal(queue.take(1000, size * 3).length, 3);
  });

  it('counts what waited when it ends', () => {
    const { queue, counts } = queueOf(5);
    for (let i = 0; i < 8; i += 1) queue.push(packet(i));
    queue.discard();
    assert.deepEqual(counts, { ...emptyCounts(), in: 8, cut: 3, discarded: 5 });
    assert.equal(queue.length, 0);
  });
});
