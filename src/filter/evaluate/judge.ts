import { compileFilter } from '../compile/compile.ts';
import type { Instruction } from '../compile/program.ts';
import { decide } from '../compile/run.ts';
import type { Direction, Fate, Owner, Primitive } from '../language/ast.ts';
import { parseFilter } from '../language/parse.ts';
import { failureAt } from '../language/places.ts';
import { filterFailure } from '../tokens/failure.ts';
import { hasFate, isOwnedBy, type Told } from './ends.ts';
import { type Answer, combine, type Formula, isInherent, type Outcome, type Term, termsOf } from './terms.ts';
import { Views } from './views.ts';

/** Terms that a follow's filter may have: each is asked of every packet. */
const MAX_TERMS = 256;

export interface Evidence {
  /** The packet's distinct bytes from its own IP header on, as captured. */
  captured: readonly Uint8Array[];
  /** UDP port of the node's VXLAN, where it is known. */
  vxlanPort?: number | undefined;
  /** No other node has anything to tell of this packet. */
  isWhole: boolean;
}

/** What a filter says of a packet. */
export interface Judged {
  outcome: Outcome;
  answers: Answer[];
  wantsBytes?: number;
}

/** A filter for packets as they are told. */
export class LiveFilter {
  readonly formula: Formula;
  readonly #terms: readonly Prepared[];

  /** Throws KTRACE_E_FILTER, also for names of hosts: those are looked up before. */
  constructor(text: string) {
    const expression = parseFilter(text, 'live');
    if (expression === undefined) throw filterFailure(text, 0, 'Expected a filter, got no words');
    const { terms, formula } = termsOf(expression);
    const tooMany = terms[MAX_TERMS]?.primitive;
    if (tooMany !== undefined)
      throw failureAt(tooMany, `Expected a filter of at most ${MAX_TERMS} different terms, got ${terms.length}`);
    for (const { primitive } of terms) {
      if (primitive.kind === 'host-name') throw failureAt(primitive, `Expected an address, got the name ${primitive.name}`);
    }
    this.formula = formula;
    this.#terms = terms.map(prepare);
  }

  get size(): number {
    return this.#terms.length;
  }

  /**
   * Each term is true when it is true in any view of the packet. What is not true here and may be true of another node's part stays open,
   * unless the packet is whole. `wantsBytes`: so much of it, from its IP header on, the packet has and the filter asks for, and less was captured.
   */
  judge(told: Told, { captured, vxlanPort, isWhole }: Evidence): Judged {
    const views = new Views(told, captured, vxlanPort);
    let wantsBytes = 0;
    const answers = this.#terms.map((term) => {
      const { answer, readTo } = ask(term, told, views);
      // A packet that ends before is none that was captured too short.
      if (answer === 'beyond' && captured.length > 0 && told.kind === 'packet' && readTo <= told.len)
        wantsBytes = Math.max(wantsBytes, readTo);
      return answer === 'no' && (isWhole || term.isInherent) ? 'never' : answer;
    });
    const known = answers.map((answer, index) =>
      answer === 'beyond' && !isWhole && !this.#terms[index]?.isInherent ? 'no' : answer,
    );
    return { outcome: combine(this.formula, known), answers, ...(wantsBytes === 0 ? {} : { wantsBytes }) };
  }
}

interface Prepared extends Term {
  isInherent: boolean;
  program: Instruction[];
  /** For views with holes: each end by itself, as one may be known without the other. */
  ends: Instruction[][];
}

function prepare(term: Term): Prepared {
  const { primitive } = term;
  if (isOwner(primitive) || isFate(primitive)) return { ...term, isInherent: false, program: [], ends: [] };
  const program = compileFilter(primitive, 'raw');
  const isEither = 'direction' in primitive && primitive.direction === 'either';
  const of = (direction: Direction) => compileFilter({ ...primitive, direction } as Primitive, 'raw');
  return { ...term, isInherent: isInherent(term), program, ends: isEither ? [of('src'), of('dst')] : [program] };
}

/** `readTo`: how far from the IP header on it read in the view that has least of what it asks for. */
function ask({ primitive, scope, program, ends }: Prepared, told: Told, views: Views): { answer: Answer; readTo: number } {
  if (isOwner(primitive)) return { answer: isOwnedBy(told, primitive) ? 'yes' : 'no', readTo: 0 };
  if (isFate(primitive)) return { answer: hasFate(told, primitive) ? 'yes' : 'no', readTo: 0 };
  let answer: Answer = 'no';
  let readTo = 0;
  for (let at = 0; ; at += 1) {
    const view = views.at(at);
    if (view === undefined) return { answer, readTo };
    const { bytes, wireBytes, holes, isOuter } = view;
    if (scope !== 'any' && isOuter !== (scope === 'outer')) continue;
    for (const one of holes.length === 0 ? [program] : ends) {
      const found = decide(one, bytes, wireBytes, holes);
      if (found === true) return { answer: 'yes', readTo: 0 };
      // What a tunnel's header does not say is not asked of it: only the packet itself can be cut short.
      if (found === false || isOuter) continue;
      answer = 'beyond';
      readTo = Math.max(readTo, found);
    }
  }
}

function isOwner(primitive: Primitive): primitive is Owner {
  return ['pod', 'svc', 'ns', 'node', 'label'].includes(primitive.kind);
}

function isFate(primitive: Primitive): primitive is Fate {
  return ['iface', 'dropped', 'translated', 'reason'].includes(primitive.kind);
}
