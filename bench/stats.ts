/** What many rounds of one measurement come to. */
export interface Spread {
  median: number;
  /** First and third quartile. */
  low: number;
  high: number;
  rounds: number;
}

/** The value below which `fraction` of the values lie, by linear interpolation between neighbours. Throws on no values. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * fraction;
  const below = sorted[Math.floor(at)];
  const above = sorted[Math.ceil(at)];
  if (below === undefined || above === undefined) throw new RangeError('Expected at least one value, got none');
  return below + (above - below) * (at - Math.floor(at));
}

export function spread(values: readonly number[]): Spread {
  return { median: quantile(values, 0.5), low: quantile(values, 0.25), high: quantile(values, 0.75), rounds: values.length };
}

/**
 * Each round's value over the baseline's of the same round: what the machine did to a whole round falls out. Both by round;
 * rounds in which one is missing are left out.
 */
export function ratios(values: readonly (number | undefined)[], baseline: readonly (number | undefined)[]): number[] {
  return values.flatMap((value, round) => {
    const base = baseline[round];
    return value === undefined || base === undefined || base === 0 ? [] : [value / base];
  });
}

/** The order of `count` cases in a round: each round begins with another, and every second one goes backwards. */
export function interleaved(count: number, round: number): number[] {
  const order = Array.from({ length: count }, (_, at) => (at + round) % count);
  return round % 2 === 0 ? order : order.reverse();
}
