import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TickRule, type TickSample } from '../../../src/agent/kernel/ticks.ts';

const BOOT_NS = 37_000_123n;
const INITIAL = 4_294_667_296n;

/** A kernel of so many ticks a second, asked at `ns`; `lateNs`: its count was not brought up to date for as long. */
function sample(hz: number, ns: bigint, lateNs = 0n): TickSample {
  const tickNs = (1_000_000_000n + BigInt(hz) / 2n) / BigInt(hz);
  return { count: INITIAL + (ns - BOOT_NS - lateNs) / tickNs, ns };
}

describe('the time by the kernel’s ticks', () => {
  for (const hz of [100, 250, 300, 1000]) {
    it(`is never later than the clock, and at most two ticks behind it, at ${hz} Hz`, () => {
      const rule = new TickRule();
      assert.equal(rule.add(sample(hz, 5_000_000_000n)), undefined);
      const ticks = rule.add(sample(hz, 5_700_000_000n));
      assert.ok(ticks);
      assert.equal(ticks.tickNs, BigInt(Math.floor((1e9 + hz / 2) / hz)));
      // A day later, at all kinds of times between two ticks.
      for (let ns = 86_405_000_000_000n; ns < 86_405_100_000_000n; ns += 777_777n) {
        const behind = ns - (sample(hz, ns).count * ticks.tickNs + ticks.baseNs);
        assert.ok(behind >= 0n && behind <= 2n * ticks.tickNs, `${behind} ns behind`);
      }
    });
  }

  it('is not known before the samples are far enough apart, nor by ticks that no kernel has', () => {
    const rule = new TickRule();
    rule.add(sample(250, 5_000_000_000n));
    assert.equal(rule.add(sample(250, 5_100_000_000n)), undefined);
    assert.ok(rule.add(sample(250, 5_600_000_000n)));
    const odd = new TickRule();
    odd.add(sample(140, 5_000_000_000n));
    assert.equal(odd.add(sample(140, 6_000_000_000n)), undefined);
  });

  it('is put back when a later sample shows that the first ones’ counts were late, and not put forward', () => {
    const rule = new TickRule();
    rule.add(sample(1000, 5_000_000_000n, 30_000_000n));
    const ahead = rule.add(sample(1000, 6_000_000_000n, 30_000_000n));
    const mended = rule.add(sample(1000, 7_000_000_000n));
    assert.ok(ahead && mended);
    assert.ok(ahead.baseNs - mended.baseNs > 28_000_000n);
    assert.equal(mended.tickNs, ahead.tickNs);
    assert.equal(rule.add(sample(1000, 8_000_000_000n, 10_000_000n)), undefined);
  });
});
