import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nsSince, timeFrom } from '../../../src/client/merge/instant.ts';
import { NodeClock } from '../../../src/client/wire/clock.ts';
import { fc } from '../../support/fast-check.ts';

test('the true offset is always within the told bounds, whatever the ways take', () => {
  const message = fc.record({
    afterMs: fc.double({ min: 0, max: 10_000, noNaN: true }),
    toMs: fc.double({ min: 0, max: 200, noNaN: true }),
    backMs: fc.double({ min: 0, max: 200, noNaN: true }),
    isAnswer: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.double({ min: -60_000, max: 60_000, noNaN: true }),
      fc.array(message, { minLength: 1 }),
      (offset, messages) => {
        const clock = new NodeClock();
        let now = 1_000_000;
        for (const { afterMs, toMs, backMs, isAnswer } of messages) {
          now += afterMs;
          const nodeMs = now + toMs + offset;
          const receivedMs = now + toMs + backMs;
          if (isAnswer) clock.answered(now, nodeMs, receivedMs);
          else clock.arrived(nodeMs, receivedMs);
          now = receivedMs;
        }
        const estimate = clock.estimate();
        if (estimate === undefined) return;
        assert.ok(Math.abs(estimate.offsetMs - offset) <= estimate.uncertaintyMs + 1e-6);
      },
    ),
  );
});

test('a faster message narrows the bounds', () => {
  const clock = new NodeClock();
  clock.answered(0, 600, 200);
  assert.deepEqual(clock.estimate(), { offsetMs: 500, uncertaintyMs: 100 });
  clock.answered(300, 810, 320);
  assert.ok((clock.estimate()?.uncertaintyMs ?? 99) <= 10.1);
});

test('a stepped clock is believed again at once', () => {
  const clock = new NodeClock();
  clock.answered(0, 5, 10);
  clock.answered(1000, 1505, 1010);
  assert.equal(clock.estimate()?.offsetMs, 500);
  clock.arrived(3008 + 2000, 2010);
  assert.ok((clock.estimate()?.offsetMs ?? 0) > 2990);
});

test('a time survives the way to a number and back', () => {
  const epoch = Date.UTC(2026, 10, 22, 8, 0, 0, 250);
  fc.assert(
    fc.property(fc.integer({ min: -5e12, max: 5e14 }), (ns) => {
      assert.equal(nsSince(epoch, timeFrom(epoch, ns)), ns);
    }),
  );
  assert.equal(timeFrom(epoch, nsSince(epoch, '2026-11-22T08:45:00.123456789Z')), '2026-11-22T08:45:00.123456789Z');
  assert.equal(timeFrom(epoch, nsSince(epoch, '2026-11-22T08:45:00Z')), '2026-11-22T08:45:00.000000000Z');
  assert.ok(Number.isNaN(nsSince(epoch, 'soon')));
});
