/**
 * Times as numbers: nanoseconds since the follow's epoch. A double holds them exactly for 104 days, where Unix nanoseconds would not fit.
 */

/** Nanoseconds from `epochMs` (Unix) to an event's `time` (UTC, up to 9 decimals). NaN when it is no time. */
export function nsSince(epochMs: number, time: string): number {
  const dot = time.indexOf('.', 19);
  const seconds = Date.parse(dot < 0 ? time : `${time.slice(0, dot)}Z`);
  const fraction =
    dot < 0
      ? 0
      : Number(
          time
            .slice(dot + 1, dot + 10)
            .replace(/Z.*$/, '')
            .padEnd(9, '0'),
        );
  return (seconds - epochMs) * 1e6 + fraction;
}

/** The inverse of {@link nsSince}: UTC with nanoseconds. */
export function timeFrom(epochMs: number, ns: number): string {
  const whole = Math.floor(ns / 1e9);
  const seconds = new Date(Math.floor(epochMs / 1000) * 1000 + whole * 1000);
  const rest = ns - whole * 1e9 + (epochMs % 1000) * 1e6;
  const carried = rest >= 1e9 ? new Date(seconds.getTime() + 1000) : seconds;
  const fraction = String(Math.floor(rest % 1e9)).padStart(9, '0');
  return `${carried.toISOString().slice(0, 19)}.${fraction}Z`;
}
