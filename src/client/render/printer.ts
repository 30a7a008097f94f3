import type { KtraceEvent } from '../../event/types.ts';
import type { Palette } from './colors.ts';
import { safeJson } from './escape.ts';
import { type Detail, eventText } from './text.ts';

/** A line, and where it goes: data to stdout, talk to stderr. */
export interface Line {
  to: 'stdout' | 'stderr';
  text: string;
}

/**
 * Makes an event's line. JSON tells everything on stdout; text keeps stdout for packets and conversations, and tells what was lost and
 * what there is to know about the tracing on stderr.
 */
export function createPrinter(
  format: Detail | 'json',
  stdoutPaint: Palette,
  stderrPaint: Palette,
): (event: KtraceEvent) => Line | undefined {
  if (format === 'json') return (event) => ({ to: 'stdout', text: safeJson(event) });
  return (event) => {
    const isTalk = event.kind === 'lost' || event.kind === 'notice';
    const text = eventText(event, format, isTalk ? stderrPaint : stdoutPaint);
    if (text === undefined) return undefined;
    return isTalk ? { to: 'stderr', text: `ktrace: ${text}` } : { to: 'stdout', text };
  };
}
