import type { Unanswered } from '../../../event/types.ts';

/** Microseconds as a person reads them: `433µs`, `1.23ms`, `2.1s`. */
export function durationText(us: number): string {
  if (us < 1000) return `${Math.round(us * 10) / 10}µs`;
  if (us < 1_000_000) return `${(us / 1000).toFixed(us < 10_000 ? 2 : 1)}ms`;
  return `${(us / 1_000_000).toFixed(1)}s`;
}

/** `no answer in 1.0s`, and how often it was asked again. */
export function unansweredText({ ms, retransmissions = 0 }: Unanswered): string {
  const again = retransmissions === 0 ? '' : `, ${retransmissions} retransmission${retransmissions === 1 ? '' : 's'}`;
  return `no answer in ${durationText(ms * 1000)}${again}`;
}

/** Bytes as a person reads them: `812B`, `1.5kB`, `3.0MB`. */
export function bytesText(bytes: number): string {
  if (bytes < 1000) return `${bytes}B`;
  const unit = bytes < 1_000_000 ? 'kB' : bytes < 1_000_000_000 ? 'MB' : 'GB';
  const divisor = unit === 'kB' ? 1e3 : unit === 'MB' ? 1e6 : 1e9;
  return `${(bytes / divisor).toFixed(1)}${unit}`;
}

/** How a line's time is written; `time` is the shortest. */
export const TIMESTAMPS = ['time', 'date', 'iso', 'utc'] as const;
export type Timestamps = (typeof TIMESTAMPS)[number];

/**
 * An event's time, to the millisecond: `time` 08:45:00.123 and `date` 2026-11-22 08:45:00.123 by the local clock, `iso` the same with its zone,
 * 2026-11-22T08:45:00.123+01:00, and `utc` 2026-11-22T07:45:00.123Z.
 * @param time RFC 3339, UTC
 */
export function clockText(time: string, timestamps: Timestamps = 'time'): string {
  const fraction = `.${(/\.(\d{1,3})/.exec(time)?.[1] ?? '').padEnd(3, '0')}`;
  if (timestamps === 'utc') return `${time.slice(0, 19)}${fraction}Z`;
  const date = new Date(time);
  const clock = `${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':')}${fraction}`;
  if (timestamps === 'time') return clock;
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  return timestamps === 'date' ? `${day} ${clock}` : `${day}T${clock}${zoneText(date)}`;
}

function zoneText(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
