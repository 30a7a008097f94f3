import type { Unanswered } from '../../event/types.ts';

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

/** The local wall-clock time of an event, `08:45:00.123`. */
export function clockText(time: string): string {
  const date = new Date(time);
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${time.slice(20, 23).padEnd(3, '0')}`;
}
