import type { KtraceEvent } from '../../../event/types.ts';
import { type Palette, palette, wantsColor } from '../style/colors.ts';
import { safeJson } from '../style/escape.ts';
import type { Timestamps } from '../style/units.ts';
import { type Screen, TerminalLines } from './terminal.ts';
import { type Detail, eventText } from './text.ts';

/** A line, and where it goes: data to stdout, talk to stderr. */
export interface Line {
  to: 'stdout' | 'stderr';
  /** Several lines where a terminal is too narrow for one. */
  text: string;
}

/** How a user wants text to look. */
export interface TextStyle {
  color?: boolean | undefined;
  timestamps?: Timestamps | undefined;
  /** Lines of their full length, also on a terminal. */
  noTrunc?: boolean | undefined;
}

export interface TextIo {
  stdout: { isTTY?: boolean; columns?: number };
  stderr: { isTTY?: boolean };
  env: Readonly<Record<string, string | undefined>>;
}

export interface PrinterOptions {
  stdoutPaint: Palette;
  stderrPaint: Palette;
  timestamps?: Timestamps | undefined;
  /** The terminal that stdout is, for which text is laid out. */
  screen?: Screen | undefined;
}

/** @param here see {@link Screen} */
export function printerOptions(
  { color, timestamps, noTrunc }: TextStyle,
  { stdout, stderr, env }: TextIo,
  here: Screen['here'] = () => undefined,
): PrinterOptions {
  const paint = ({ isTTY }: { isTTY?: boolean }): Palette => palette(wantsColor(color, isTTY === true, env));
  return {
    stdoutPaint: paint(stdout),
    stderrPaint: paint(stderr),
    timestamps,
    screen: stdout.isTTY === true && noTrunc !== true ? { columns: () => stdout.columns, here } : undefined,
  };
}

/**
 * Makes an event's line. JSON tells everything on stdout; text keeps stdout for packets and conversations, and tells what was lost and
 * what there is to know about the tracing on stderr.
 */
export function createPrinter(format: Detail | 'json', options: PrinterOptions): (event: KtraceEvent) => Line | undefined {
  if (format === 'json') return (event) => ({ to: 'stdout', text: safeJson(event) });
  const { stdoutPaint, stderrPaint, timestamps, screen } = options;
  const lines = format === 'text' && screen !== undefined ? new TerminalLines(screen, stdoutPaint, timestamps) : undefined;
  return (event) => {
    if (event.kind === 'lost' || event.kind === 'notice')
      return { to: 'stderr', text: `ktrace: ${eventText(event, format, stderrPaint)}` };
    const text = lines === undefined ? eventText(event, format, stdoutPaint, timestamps) : lines.text(event);
    return text === undefined ? undefined : { to: 'stdout', text };
  };
}
