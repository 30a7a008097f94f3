/** Filters of follows made by rule: tcpdump's language with the words for a cluster, and `inner` and `outer`. */
import { randomFilter } from './expressions.ts';
import type { Random } from './random.ts';

const OWNERS = [
  'pod frontend',
  'src pod default/redis-0',
  'ns shop',
  'svc default/redis-master',
  'node host1',
  'dst label app=redis',
  'iface cali*',
  'dropped',
  'translated',
  'reason NETFILTER_DROP',
];

/** A filter that nests at most three deep; `hasClusterWords`: else tcpdump's own alone. */
export function randomLiveFilter(random: Random, depth = 0, hasClusterWords = true): string {
  const form = random.below(8);
  const again = () => randomLiveFilter(random, depth + 1, hasClusterWords);
  if (depth > 2 || form < 3) return randomFilter(random, 2);
  if (form === 3) return `not (${again()})`;
  if (form === 4 && hasClusterWords) return `${random.pick(['inner', 'outer', 'not inner'])} (${again()})`;
  if (form === 5 && hasClusterWords) return random.pick(OWNERS);
  return `(${again()}) ${random.pick(['and', 'or', 'and not'])} (${again()})`;
}
