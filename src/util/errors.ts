/** The one error class of ktrace: every code has a section in `docs/errors.md`. */
export class KtraceError extends Error {
  /** Stable, e.g. `KTRACE_E_POD_UNKNOWN`; documented in `docs/errors.md`. */
  readonly code: `KTRACE_E_${string}`;
  /** What a person can do about it, in one sentence. */
  readonly hint: string | undefined;
  /** The exit code that the command line ends with (see {@link EXIT}). */
  readonly exitCode: number;

  constructor(code: `KTRACE_E_${string}`, message: string, options: { hint?: string; cause?: unknown; exitCode?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'KtraceError';
    this.code = code;
    this.hint = options.hint;
    this.exitCode = options.exitCode ?? EXIT.failure;
  }
}

/** Exit codes of the command line, as the public face promises them. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  noAgent: 3,
  notAuthorized: 4,
  incomplete: 5,
  interrupted: 130,
} as const;

/** A bad argument: "Expected WHAT for NAME, got VALUE", exit code 2. */
export function badArgument(name: string, expected: string, got: unknown): KtraceError {
  const shown = typeof got === 'string' ? JSON.stringify(got) : String(got);
  return new KtraceError('KTRACE_E_ARGUMENT', `Expected ${expected} for ${name}, got ${shown}`, {
    exitCode: EXIT.usage,
  });
}

/** The message of anything thrown, without a stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The system had no memory for it (ENOMEM), which it may have at another time. */
export function isOutOfMemory(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === 'ENOMEM';
}
