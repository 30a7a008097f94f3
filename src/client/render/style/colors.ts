import picocolors from 'picocolors';

type Paint = (text: string) => string;

/** Colours by meaning, the same everywhere. */
export interface Palette {
  pod: Paint;
  service: Paint;
  node: Paint;
  /** What is there to be looked up, not to be read first: time, hops, counts. */
  dim: Paint;
  /** What NAT did. */
  translation: Paint;
  /** A packet that came where it should. */
  good: Paint;
  /** Dropped, lost, unanswered. */
  bad: Paint;
  warning: Paint;
}

/** The palette; without colour every paint is the text itself. */
export function palette(isColored: boolean): Palette {
  const colors = picocolors.createColors(isColored);
  return {
    pod: colors.cyan,
    service: colors.magenta,
    node: colors.blue,
    dim: colors.dim,
    translation: colors.yellow,
    good: colors.green,
    bad: (text) => colors.bold(colors.red(text)),
    warning: colors.yellow,
  };
}

/** `--color` and `--no-color` win; else a terminal that is not told otherwise (https://no-color.org). */
export function wantsColor(
  flag: boolean | undefined,
  isTerminal: boolean,
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  if (flag !== undefined) return flag;
  return isTerminal && !env['NO_COLOR'] && env['TERM'] !== 'dumb';
}
