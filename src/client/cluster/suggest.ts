/**
 * The known names nearest to a mistyped one, best first: those that begin alike (a pod's name without its hash) and those within a few
 * typing mistakes.
 */
export function nearNames(wanted: string, known: Iterable<string>, most = 3): string[] {
  const limit = Math.max(2, Math.floor(wanted.length / 4));
  const scored: { name: string; score: number }[] = [];
  for (const name of known) {
    const isBeginning = wanted.length >= 3 && (name.startsWith(wanted) || wanted.startsWith(`${name}-`));
    const score = isBeginning ? 0.5 : distance(wanted, name, limit);
    if (score <= limit) scored.push({ name, score });
  }
  scored.sort((a, b) => a.score - b.score || a.name.localeCompare(b.name));
  return scored.slice(0, most).map(({ name }) => name);
}

/** A hint out of near names, or undefined when nothing is near. */
export function didYouMean(wanted: string, known: Iterable<string>, prefix = ''): string | undefined {
  const near = nearNames(wanted, known).map((name) => prefix + name);
  if (near.length === 0) return undefined;
  return `Did you mean ${near.length === 1 ? near[0] : `${near.slice(0, -1).join(', ')} or ${near.at(-1)}`}?`;
}

/** Levenshtein distance; more than `limit` when it is more, which lengths alone often tell: names of a large cluster are many. */
function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? limit + 1;
}
