import type { Target } from '../../event/target.ts';
import { LiveFilter } from '../../filter/evaluate/judge.ts';
import { termsPastHeaders } from '../../filter/evaluate/past-headers.ts';
import { type LookUp, resolveNames } from '../../filter/evaluate/resolve.ts';
import { parseFilter } from '../../filter/language/parse.ts';
import { printFilter } from '../../filter/language/print.ts';
import { parseTargets, type TargetWords } from '../../filter/targets.ts';
import { parseSelector } from '../../util/label-selector.ts';
import type { ReadFilter } from '../merge/follow-filter.ts';

/**
 * What the words of a follow name: targets, and a filter of their packets, empty when there is none. Throws usage errors: those of
 * {@link parseTargets}, KTRACE_E_SELECTOR, KTRACE_E_FILTER.
 */
export function readWords(
  words: Omit<TargetWords, 'defaultNamespace'>,
  defaultNamespace: string,
): { targets: Target[]; filter: string } {
  const { targets, filterWords } = parseTargets({ ...words, defaultNamespace });
  // The agents parse both again; here mistakes are told before any cluster is asked.
  for (const target of targets) if (target.kind === 'selector') parseSelector(target.selector);
  const filter = filterWords.join(' ');
  parseFilter(filter, 'live');
  return { targets, filter };
}

/**
 * A filter as agents take it: every qualifier written out, and addresses in place of hosts' names. Undefined when it has no words. `isOfDrops`: what it
 * takes, if it was dropped. Throws KTRACE_E_FILTER, KTRACE_E_FILTER_HOST.
 */
export async function readFilter(text: string, lookUp: LookUp, isOfDrops = false): Promise<ReadFilter | undefined> {
  const parsed = parseFilter(text, 'live');
  const words = [
    ...(parsed === undefined ? [] : [printFilter(await resolveNames(parsed, lookUp))]),
    ...(isOfDrops ? ['dropped'] : []),
  ];
  if (words.length === 0) return undefined;
  const all = words.length === 1 ? words.join() : words.map((one) => `(${one})`).join(' and ');
  return { text: all, filter: new LiveFilter(all), pastHeaders: parsed === undefined ? [] : termsPastHeaders(parsed) };
}
