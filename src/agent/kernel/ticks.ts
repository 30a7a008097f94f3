/** What the kernel says at one moment: its count of ticks (`jiffies`), and CLOCK_MONOTONIC in ns right after it. */
export interface TickSample {
  count: bigint;
  ns: bigint;
}

/** A tick in ns, and CLOCK_MONOTONIC when the count stood at 0: so that `count × tickNs + baseNs` is never later than the clock. */
export interface Ticks {
  tickNs: bigint;
  baseNs: bigint;
}

/** Kconfig's choices for HZ, and those of vendors. */
const HZ = [100, 200, 250, 300, 500, 1000];
/** Between two rates that a kernel may have. */
const MOST_OFF = 0.05;
/** Long enough for a hundredth of the slowest rate. */
const LEAST_SPAN_NS = 400_000_000n;

/**
 * Finds from samples how long the kernel's ticks are and when they began. The kernel counts whole ticks of that time (tick_do_update_jiffies64,
 * kernel/time/tick-sched.c), so one rule holds for as long as it runs; a count that is late, because a CPU was held up, makes a sample seem later than it
 * was, and the earliest is kept.
 */
export class TickRule {
  #first: TickSample | undefined;
  #ticks: Ticks | undefined;

  /** Takes a sample; gives the rule when it has become known, or has changed. */
  add(sample: TickSample): Ticks | undefined {
    this.#first ??= sample;
    const before = this.#ticks;
    const tickNs = this.#ticks?.tickNs ?? tickOf(this.#first, sample);
    if (tickNs === undefined) return undefined;
    // The first as well, when the rule becomes known.
    for (const { count, ns } of [this.#first, sample]) {
      const baseNs = ns - (count + 1n) * tickNs;
      if (this.#ticks === undefined || baseNs < this.#ticks.baseNs) this.#ticks = { tickNs, baseNs };
    }
    return this.#ticks === before ? undefined : this.#ticks;
  }
}

/** As the kernel has it: TICK_NSEC (include/vdso/jiffies.h). Undefined while the samples lie too close, or fit no rate that a kernel has. */
function tickOf(first: TickSample, last: TickSample): bigint | undefined {
  const [count, ns] = [last.count - first.count, last.ns - first.ns];
  if (ns < LEAST_SPAN_NS || count <= 0n) return undefined;
  const measured = Number(count) / (Number(ns) / 1e9);
  const hz = HZ.find((rate) => Math.abs(measured - rate) <= rate * MOST_OFF);
  return hz === undefined ? undefined : (1_000_000_000n + BigInt(hz) / 2n) / BigInt(hz);
}
