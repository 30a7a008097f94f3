import { badArgument } from '../../util/errors.ts';

const UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
/** What a timer can wait. */
const MOST_MS = 2 ** 31 - 1;

/** Milliseconds of `500ms`, `10s`, `2m`, `1h` or `1m30s`; throws a usage error that names the option, and `expected` where more than durations are taken. */
export function parseDuration(option: string, text: string, expected = 'a duration such as 500ms, 10s, 2m or 1h'): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  const isWhole = parts.length > 0 && parts.map(([part]) => part).join('') === text;
  const ms = parts.reduce((sum, [, value, unit]) => sum + Number(value) * (UNITS_MS[unit ?? ''] ?? Number.NaN), 0);
  if (!isWhole || !(ms > 0 && ms <= MOST_MS)) throw badArgument(option, expected, text);
  return ms;
}

/** A whole number of at least one; throws a usage error that names the option. */
export function parseCount(option: string, text: string): number {
  const count = /^\d{1,15}$/.test(text) ? Number(text) : 0;
  if (count < 1) throw badArgument(option, 'a whole number of at least 1', text);
  return count;
}
