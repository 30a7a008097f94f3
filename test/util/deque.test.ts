import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Deque } from '../../src/util/deque.ts';
import { fc } from '../support/fast-check.ts';

describe('Deque', () => {
  it('does what an array does, whatever the steps', () => {
    const step = fc.oneof(
      fc.record({ push: fc.integer({ min: 1, max: 3000 }) }),
      fc.record({ shift: fc.integer({ min: 1, max: 3000 }) }),
      fc.record({ prepend: fc.nat(5) }),
      fc.constant({ clear: true }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const deque = new Deque<number>();
        let model: number[] = [];
        let next = 0;
        for (const one of steps) {
          if ('push' in one) {
            for (let i = 0; i < one.push; i += 1) deque.push(next + i);
            model.push(...Array.from({ length: one.push }, () => next++));
          } else if ('shift' in one) {
            for (let i = 0; i < one.shift; i += 1) assert.equal(deque.shift(), model[i]);
            model = model.slice(one.shift);
          } else if ('prepend' in one) {
            const items = Array.from({ length: one.prepend }, () => next++);
            deque.prepend(items);
            model.unshift(...items);
          } else {
            deque.clear();
            model = [];
          }
          assert.equal(deque.length, model.length);
          assert.equal(deque.peek(), model[0]);
          assert.deepEqual([...deque], model);
        }
      }),
      { numRuns: 50 },
    );
  });
});
