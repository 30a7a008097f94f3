import type { LiveFilter } from '../../filter/evaluate/judge.ts';
import { parseJudged, union } from '../../filter/evaluate/judged.ts';
import type { PastHeaders } from '../../filter/evaluate/past-headers.ts';
import { type Answer, combine } from '../../filter/evaluate/terms.ts';

/** A filter as agents take it. */
export interface ReadFilter {
  /** Every qualifier written out, addresses in place of hosts' names. */
  text: string;
  filter: LiveFilter;
  /** What of it the headers alone never match. */
  pastHeaders: PastHeaders[];
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
