import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Ended } from '../../../src/kube/index/ended.ts';
import { fc } from '../../support/fast-check.ts';

const MOST = 12;

interface Thing {
  owner: string;
  atMs: number;
}

describe('what has ended', () => {
  it('is forgotten in its time and in bounded number, and of nobody who has no more than an equal share before it', () => {
    const step = fc.record({
      owner: fc.constantFrom('a', 'b', 'c', 'flood', 'flood', 'flood'),
      laterMs: fc.nat(30),
      isSwept: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const ended = new Ended(MOST);
        const kept = new Set<Thing>();
        const countOf = (owner: string): number => [...kept].filter((one) => one.owner === owner).length;
        let nowMs = 0;
        let early = 0;
        for (const { owner, laterMs, isSwept } of steps) {
          nowMs += laterMs;
          const thing = { owner, atMs: nowMs };
          kept.add(thing);
          ended.add(owner, nowMs, (beforeMs, isEarly) => {
            assert.equal(beforeMs, thing.atMs);
            if (isEarly) {
              early += 1;
              const owners = new Set([...kept].map((one) => one.owner)).size;
              assert.ok(countOf(thing.owner) * owners > MOST, `${thing.owner} has ${countOf(thing.owner)} of ${MOST}`);
              assert.ok([...kept].every((one) => one.owner !== thing.owner || one.atMs >= thing.atMs));
            }
            assert.ok(kept.delete(thing));
          });
          if (isSwept) {
            ended.sweep(nowMs - 100);
            assert.ok([...kept].every(({ atMs }) => atMs > nowMs - 100));
          }
          assert.equal(ended.count, kept.size);
          assert.ok(kept.size <= MOST);
        }
        assert.equal(ended.forgottenEarly, early);
        ended.sweep(nowMs);
        assert.equal(kept.size, 0);
      }),
    );
  });

  it('is taken from who has most, where whoever adds has little, and costs no more as more is added', () => {
    const ended = new Ended(100);
    const forgotten: string[] = [];
    const add = (owner: string): void => ended.add(owner, forgotten.length, () => forgotten.push(owner));
    for (let i = 0; i < 10_000; i += 1) add('flood');
    for (let i = 0; i < 30; i += 1) add('quiet');
    for (let i = 0; i < 10_000; i += 1) add('flood');
    assert.equal(forgotten.length, 20_030 - 100);
    assert.ok(!forgotten.includes('quiet'));
  });
});
