let cachedSecond = -1;
let cachedPrefix = '';

/** RFC 3339 in UTC with nine digits, e.g. `2026-11-22T08:45:00.123456789Z`, of Unix nanoseconds. */
export function formatUnixNs(unixNs: bigint): string {
  const second = Number(unixNs / 1_000_000_000n);
  const fraction = Number(unixNs % 1_000_000_000n);
  if (second !== cachedSecond) {
    cachedSecond = second;
    cachedPrefix = new Date(second * 1000).toISOString().slice(0, 20);
  }
  return `${cachedPrefix}${String(fraction).padStart(9, '0')}Z`;
}
