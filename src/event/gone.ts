/** How long who had an address last is still told after the end, when nobody else came. */
export const RETENTION_MS = 15 * 60_000;

/** The last packets of a pod come about its end, and when its containers ended is told in whole seconds. */
const LAST_WORDS_MS = 2000;

/** Since when an address had lost its pod by the time of a packet, as records say it; undefined: it had not, or just then. */
export function goneSince(endMs: number, timeMs: number): string | undefined {
  return timeMs > endMs + LAST_WORDS_MS ? new Date(endMs).toISOString() : undefined;
}
