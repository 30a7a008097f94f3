import type { Place } from '../tokens/cursor.ts';
import { isMeaningless } from '../tokens/refused.ts';
import { FRAME_WORDS } from './arithmetic.ts';
import { PROTOCOL_WORDS } from './primitive.ts';
import { TYPES } from './qualifiers.ts';

/** Types that are the cluster's. */
export const OWNER_WORDS: ReadonlySet<string> = new Set(['pod', 'svc', 'ns', 'node', 'label']);
const EVERYWHERE = ['src', 'dst', 'not', 'less', 'greater', 'len', 'inner', 'outer', 'iface'];
const ONLY_LIVE = ['dropped', 'translated', 'reason'];
const ONLY_IN_FILES = ['ether', 'vlan', 'inbound', 'outbound', 'broadcast', 'multicast'];
const NOT_LIVE = new Set(['arp', 'rarp']);

const WORDS: ReadonlySet<string> = new Set<string>([
  ...PROTOCOL_WORDS,
  ...FRAME_WORDS,
  ...TYPES,
  ...EVERYWHERE,
  ...ONLY_LIVE,
  ...ONLY_IN_FILES,
  'length',
  // Misplaced at the beginning, which the parser says best.
  'and',
  'or',
]);

/** Words that have a meaning in a filter there, for who types one. */
export function wordsOfFilter(place: Place): string[] {
  const isLive = place === 'live';
  return [
    ...TYPES.filter((word) => isLive || !OWNER_WORDS.has(word)),
    ...[...PROTOCOL_WORDS].filter((word) => !isLive || !NOT_LIVE.has(word)),
    ...EVERYWHERE,
    ...(isLive ? ONLY_LIVE : ONLY_IN_FILES),
    'and',
    'or',
  ];
}

/** Whether the parser knows the word where a filter begins, be it to refuse it with the reason. Any other word is a name there. */
export function isWordOfFilter(text: string): boolean {
  return WORDS.has(text) || isMeaningless(text);
}
