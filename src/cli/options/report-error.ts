import { EXIT, KtraceError } from '../../util/errors.ts';

/**
 * What a person reads of an error on stderr: what, what to do about it, and the code to look up. Never a stack, unless asked for. `called`: the command
 * whose help tells more.
 */
export function errorText(error: unknown, isDebugging: boolean, called?: string): string {
  const { message, hint, code } = error instanceof KtraceError ? error : unexpected(error);
  const [first, ...more] = printable(message).split('\n');
  const lines = [`ktrace: ${first} [${code}]`, ...more, ...(hint === undefined ? [] : [`  hint: ${printable(hint)}`])];
  if (called !== undefined) lines.push(`  See ${called} --help`);
  if (isDebugging) for (let at: unknown = error; at instanceof Error; at = at.cause) lines.push(at.stack ?? at.message);
  return `${lines.join('\n')}\n`;
}

export function exitCodeOf(error: unknown): number {
  return error instanceof KtraceError ? error.exitCode : EXIT.failure;
}

function unexpected(error: unknown): { message: string; hint: string; code: string } {
  return {
    message: `This should not happen: ${error instanceof Error ? error.message : String(error)}`,
    hint: 'With KTRACE_DEBUG=1 the place is told; please report it.',
    code: 'KTRACE_E_INTERNAL',
  };
}

/** Messages quote what came from outside: an API server's words, a name. Line feeds are ours, other control characters are not. */
function printable(text: string): string {
  return text.replace(/[^\P{C}\n]/gu, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}
