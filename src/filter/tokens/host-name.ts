import { tokenAt } from './lexer.ts';
import { isMeaningless } from './refused.ts';

/** Words that end an expression and therefore are no names. */
export const RESERVED: ReadonlySet<string> = new Set([
  'and',
  'or',
  'not',
  'src',
  'dst',
  'host',
  'net',
  'port',
  'portrange',
  'proto',
  'len',
  'length',
  'mask',
]);

/** A name of a host as it is written: with a backslash where the bare word would mean something else, or nothing. */
export function hostNameText(name: string): string {
  const token = /^[a-z\d]/i.test(name) ? tokenAt(name, 0) : undefined;
  const isWord = token?.kind === 'word' && token.end === name.length && !RESERVED.has(name) && !isMeaningless(name);
  return isWord ? name : `\\${name}`;
}
