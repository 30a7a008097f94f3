import type { Cursor } from '../tokens/cursor.ts';
import { rejectMeaningless } from '../tokens/refused.ts';
import type { Direction, Owner } from './ast.ts';

export type OwnerWord = Owner['kind'];

/** What stands before a value and says what it means: `tcp src port`. */
export interface Qualifiers {
  protocol: string | undefined;
  direction: Direction;
  /** `none`: there was no qualifier at all, a bare value means nothing. `any`: a direction alone, which means hosts. */
  type: 'none' | 'any' | 'host' | 'net' | 'port' | 'portrange' | 'proto' | OwnerWord;
}

export const UNQUALIFIED: Qualifiers = { protocol: undefined, direction: 'either', type: 'none' };

/** Words that say what the value behind them is. */
export const TYPES = ['host', 'net', 'port', 'portrange', 'proto', 'pod', 'ns', 'svc', 'node', 'label'] as const;

/** `[src|dst|src or dst|src and dst] [host|net|port|portrange|proto|pod|ns|svc|node|label]` behind an optional protocol. Undefined when neither stands here. */
export function parseQualifiers(cursor: Cursor, protocol: string | undefined): Qualifiers | undefined {
  const direction = parseDirection(cursor);
  rejectMeaningless(cursor);
  const type = TYPES.find((word) => cursor.is(word));
  if (type === undefined) return direction === undefined ? undefined : { protocol, direction, type: 'any' };
  if (type === 'proto' && direction !== undefined) {
    throw cursor.failure('Expected no "src" or "dst" before proto', 'A protocol number has no direction.');
  }
  cursor.take();
  return { protocol, direction: direction ?? 'either', type };
}

function parseDirection(cursor: Cursor): Direction | undefined {
  const first = cursor.is('src') ? 'src' : cursor.is('dst') ? 'dst' : undefined;
  if (first === undefined) return undefined;
  const start = cursor.take();
  const joint = cursor.is('or') ? 'either' : cursor.is('and') ? 'both' : undefined;
  if (joint === undefined) return first;
  const other = cursor.peek();
  if (other.kind !== 'word' || other.text !== (first === 'src' ? 'dst' : 'src')) {
    throw cursor.failure(`Expected a value behind "${start.text}"`);
  }
  cursor.take();
  cursor.take();
  return joint;
}

/** The protocol before a value, which has to be one of `allowed`. Throws KTRACE_E_FILTER. */
export function protocolOf<Allowed extends string>(
  cursor: Cursor,
  { protocol }: Qualifiers,
  allowed: readonly (string | undefined)[],
  what: string,
): Allowed | undefined {
  if (allowed.includes(protocol)) return protocol as Allowed | undefined;
  const known = allowed.filter((name) => name !== undefined);
  throw cursor.failure(`Expected ${known.join(', ')} or nothing before ${what}, got ${JSON.stringify(protocol)}`);
}
