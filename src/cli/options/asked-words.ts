import type { AskedWords } from '../../filter/targets.ts';

/** The flags that say what is asked for, beside words. */
export interface AskingFlags {
  selector?: string[];
  namespace?: string[];
  allNamespaces?: true;
}

/** What words, `-l`, `-n` and `-A` ask for. Throws usage errors, at once: before anything is loaded that speaks to clusters. */
export async function askedWords(words: string[], { selector, namespace, allNamespaces }: AskingFlags): Promise<AskedWords> {
  const { parseWords } = await import('../../filter/targets.ts');
  return parseWords({ words, selectors: selector ?? [], namespaces: namespace ?? [], allNamespaces: allNamespaces === true });
}
