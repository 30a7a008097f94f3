let cachedNs = -1n;
let cachedPrefix = '';

/** RFC 3339 in UTC with nine digits, e.g. `2026-11-22T08:45:00.123456789Z`, of Unix nanoseconds. */
export function formatUnixNs(unixNs: bigint): string {
  let fraction = Number(unixNs - cachedNs);
  if (cachedNs < 0n || fraction < 0 || fraction >= 1e9) {
    const second = unixNs / 1_000_000_000n;
    cachedNs = second * 1_000_000_000n;
    cachedPrefix = new Date(Number(second) * 1000).toISOString().slice(0, 20);
    fraction = Number(unixNs - cachedNs);
  }
  return `${cachedPrefix}${String(fraction).padStart(9, '0')}Z`;
}
