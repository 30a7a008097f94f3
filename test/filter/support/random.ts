/** The same numbers for the same seed (a linear congruential generator). */
export interface Random {
  /** From 0 up to, not including, `limit`. */
  below(limit: number): number;
  pick<Value>(values: readonly Value[]): Value;
}

export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor(((state >>> 8) / 0x100_0000) * limit);
  };
  return { below, pick: (values) => values[below(values.length)] as (typeof values)[number] };
}
