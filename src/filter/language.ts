import { FRAME_WORDS } from './arithmetic.ts';
import { PROTOCOL_WORDS } from './primitive.ts';
import { TYPES } from './qualifiers.ts';
import { isMeaningless } from './refused.ts';

/** Words beside protocols and qualifiers that a filter may begin with, on a follow and of a file. */
const OTHER_WORDS = {
  anywhere: ['src', 'dst', 'not', 'less', 'greater', 'len', 'length', 'inner', 'outer', 'iface'],
  live: ['dropped', 'translated', 'reason'],
  file: ['broadcast', 'multicast', 'inbound', 'outbound', 'vlan'],
} as const;

const WORDS: ReadonlySet<string> = new Set<string>([
  ...PROTOCOL_WORDS,
  ...FRAME_WORDS,
  ...TYPES,
  ...Object.values(OTHER_WORDS).flat(),
  // Misplaced at the beginning, which the parser says best.
  'and',
  'or',
]);

/** Whether the parser knows the word where a filter begins, be it to refuse it with the reason. Any other word is a name there. */
export function isWordOfFilter(text: string): boolean {
  return WORDS.has(text) || isMeaningless(text);
}
