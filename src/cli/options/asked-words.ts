import { type AskedWords, parseWords } from '../../filter/targets.ts';

/** What words, `-l`, `-n` and `-A` ask for. Throws usage errors, at once: before anything is loaded that speaks to clusters. */
export function askedWords(words: string[], flags: Record<string, unknown>): AskedWords {
  return parseWords({
    words,
    selectors: (flags['selector'] as string[] | undefined) ?? [],
    namespaces: (flags['namespace'] as string[] | undefined) ?? [],
    allNamespaces: flags['allNamespaces'] === true,
  });
}
