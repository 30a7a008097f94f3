import type { Target } from '../event/target.ts';
import { parseTargets, type TargetWords } from '../filter/targets.ts';
import { parseSelector } from '../kube/selector.ts';
import { EXIT, KtraceError } from '../util/errors.ts';

/**
 * The targets that the words of a follow name. Throws usage errors: those of {@link parseTargets}, KTRACE_E_SELECTOR, and
 * KTRACE_E_FILTER_UNAVAILABLE for words that are a filter.
 */
export function readTargets(words: Omit<TargetWords, 'defaultNamespace'>, defaultNamespace: string): Target[] {
  const { targets, filterWords } = parseTargets({ ...words, defaultNamespace });
  // The agents parse it again; here it is told before any cluster is asked.
  for (const target of targets) if (target.kind === 'selector') parseSelector(target.selector);
  if (filterWords.length === 0) return targets;
  throw new KtraceError('KTRACE_E_FILTER_UNAVAILABLE', `This version has no filters yet\n  ${filterWords.join(' ')}\n  ^`, {
    hint: 'Targets are written KIND/NAME and come first, e.g. pod/web svc/db.',
    exitCode: EXIT.usage,
  });
}
