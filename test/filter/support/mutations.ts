/** Filters as they come out of hurried fingers: pieces missing, doubled, swapped, and bytes that belong to no language. */
import type { Random } from './random.ts';

const PIECES = [
  '(',
  ')',
  '[',
  ']',
  'not',
  'and',
  '!',
  '&&',
  '||',
  ':',
  '/',
  '\\',
  '-',
  '0x',
  '99999999999',
  '::',
  'net',
  'pod',
  'é',
  '\0',
  '"',
  '<<',
  '%',
];

export function mutated(random: Random, text: string): string {
  let result = text;
  for (let count = random.below(4) + 1; count > 0; count--) result = once(random, result);
  return result;
}

function once({ below, pick }: Random, text: string): string {
  const at = below(text.length + 1);
  const to = Math.min(text.length, at + below(6));
  switch (below(5)) {
    case 0:
      return text.slice(0, at) + text.slice(to);
    case 1:
      return text.slice(0, at) + pick(PIECES) + text.slice(at);
    case 2:
      return text.slice(0, to) + text.slice(at);
    case 3:
      return `${text.slice(0, at)} ${pick(PIECES)} ${text.slice(at)}`;
    default:
      return text.slice(0, at) + String.fromCharCode(32 + below(96)) + text.slice(at + 1);
  }
}
