import { filterFailure } from '../tokens/failure.ts';
import type { Expression } from './ast.ts';
import { printFilter } from './print.ts';

/** Where parts of filters stand in what the user wrote: beside the tree, which says only what they mean. */
const places = new WeakMap<Expression, { text: string; at: number }>();

/** Notes where a part begins; the last note of a part holds. */
export function notePlace(part: Expression, text: string, at: number): void {
  places.set(part, { text, at });
}

/** A usage error that shows the part's place in the filter, or the part alone where it was not written by the user. */
export function failureAt(
  part: Expression,
  message: string,
  hint?: string,
  code?: 'KTRACE_E_FILTER' | 'KTRACE_E_FILTER_HOST',
): Error {
  const { text, at } = places.get(part) ?? { text: printFilter(part), at: 0 };
  return filterFailure(text, at, message, hint, code);
}
