import { LiveFilter } from '../../filter/evaluate/judge.ts';
import { parseJudged, union } from '../../filter/evaluate/judged.ts';
import { type PastHeaders, termsPastHeaders } from '../../filter/evaluate/past-headers.ts';
import { type LookUp, resolveNames } from '../../filter/evaluate/resolve.ts';
import { type Answer, combine } from '../../filter/evaluate/terms.ts';
import { parseFilter } from '../../filter/language/parse.ts';
import { printFilter } from '../../filter/language/print.ts';

/** A filter as agents take it. */
export interface ReadFilter {
  /** Every qualifier written out, addresses in place of hosts' names. */
  text: string;
  filter: LiveFilter;
  /** What of it the headers alone never match. */
  pastHeaders: PastHeaders[];
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

/** Records that were judged by one of so many last filters are decided by it; older ones have been let pass by their agents. */
const REMEMBERED = 16;

/** The filter of a follow as it changes, and the last word on what the agents let pass. */
export class FollowFilter {
  readonly #byRevision = new Map<number, LiveFilter>();
  #revision = 0;
  #current: ReadFilter | undefined;

  constructor(first: ReadFilter | undefined) {
    this.set(first);
  }

  /** For a subscription. */
  get wanted(): { filter?: { text: string; revision: number } } {
    return this.#current === undefined ? {} : { filter: { text: this.#current.text, revision: this.#revision } };
  }

  get text(): string | undefined {
    return this.#current?.text;
  }

  /** From now on this one is asked for; what was judged by another one before is decided by that. */
  set(next: ReadFilter | undefined): void {
    this.#current = next;
    this.#revision += 1;
    if (next === undefined) return;
    this.#byRevision.set(this.#revision, next.filter);
    const [oldest] = this.#byRevision.keys();
    if (this.#byRevision.size > REMEMBERED && oldest !== undefined) this.#byRevision.delete(oldest);
  }

  /** Whether a record is shown, by what its nodes' parts say: a term is true when it is true of any part. */
  decide(judged: readonly (string | undefined)[]): 'match' | 'mismatch' | 'beyond' {
    const byRevision = new Map<number, Answer[][]>();
    for (const text of judged) {
      const said = text === undefined ? undefined : parseJudged(text);
      // Told by an agent that had no filter then.
      if (said === undefined || !this.#byRevision.has(said.revision)) return 'match';
      byRevision.set(said.revision, [...(byRevision.get(said.revision) ?? []), said.answers]);
    }
    let outcome: 'mismatch' | 'beyond' = 'mismatch';
    for (const [revision, parts] of byRevision) {
      const found = combine((this.#byRevision.get(revision) as LiveFilter).formula, union(parts));
      if (found === 'match') return 'match';
      if (found === 'beyond') outcome = 'beyond';
    }
    return byRevision.size === 0 ? 'match' : outcome;
  }
}
