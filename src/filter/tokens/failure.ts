import { EXIT, KtraceError } from '../../util/errors.ts';

const SHOWN_CHARS = 160;
const BEFORE_CHARS = 100;

/** A usage error: what is wrong, the filter, and a caret under the place. `at` is an index into `text`. */
export function filterFailure(
  text: string,
  at: number,
  message: string,
  hint?: string,
  code: 'KTRACE_E_FILTER' | 'KTRACE_E_FILTER_HOST' = 'KTRACE_E_FILTER',
): KtraceError {
  const from = Math.max(0, at - BEFORE_CHARS);
  const lead = from > 0 ? '…' : '';
  const shown = text.slice(from, from + SHOWN_CHARS).replace(/\s/g, ' ');
  const tail = from + SHOWN_CHARS < text.length ? '…' : '';
  const caret = ' '.repeat(lead.length + at - from);
  return new KtraceError(code, `${message}\n  ${lead}${shown}${tail}\n  ${caret}^`, {
    exitCode: EXIT.usage,
    ...(hint === undefined ? {} : { hint }),
  });
}
