import { Cursor, type Place } from '../tokens/cursor.ts';
import { rejectMeaningless } from '../tokens/refused.ts';
import { parseArithmetic, parseComparison, rejectDeep, startsArithmetic } from './arithmetic.ts';
import type { Expression } from './ast.ts';
import { find } from './find.ts';
import { parseIdentifier, startsIdentifier } from './identifier.ts';
import { notePlace } from './places.ts';
import { parsePrimitive } from './primitive.ts';
import { type Qualifiers, UNQUALIFIED } from './qualifiers.ts';

/**
 * Reads a filter in tcpdump's language and the cluster's words. `undefined` when there are no words in it, which every packet passes.
 * `and` and `or` bind alike, from left to right, as libpcap has them; `not`, `outer` and `inner` bind tighter. What means nothing in `place`
 * is refused. Throws KTRACE_E_FILTER, which shows the place.
 */
export function parseFilter(text: string, place?: Place): Expression | undefined {
  const cursor = new Cursor(text, place);
  if (cursor.isAtEnd) return undefined;
  const { expression } = parseChain(cursor, UNQUALIFIED);
  if (!cursor.isAtEnd) throw cursor.expected('"and", "or" or the end of the filter', joinHint(cursor));
  return expression;
}

/** An expression, and what a bare value behind it would mean: in `port 80 or 443` the second one is a port too. */
interface Parsed {
  expression: Expression;
  qualifiers: Qualifiers;
}

/** `inherited` is what bare values at its beginning mean: in parentheses behind `port 80 or` they are ports. */
function parseChain(cursor: Cursor, inherited: Qualifiers): Parsed {
  let left = parseOperand(cursor, inherited);
  for (;;) {
    const kind = cursor.is('and') ? 'and' : cursor.is('or') ? 'or' : undefined;
    if (kind === undefined) {
      rejectMeaningless(cursor);
      return left;
    }
    cursor.take();
    const right = parseOperand(cursor, left.qualifiers);
    left = { expression: { kind, left: left.expression, right: right.expression }, qualifiers: right.qualifiers };
  }
}

function parseOperand(cursor: Cursor, inherited: Qualifiers): Parsed {
  if (cursor.accept('not')) {
    const { expression, qualifiers } = cursor.nested(() => parseOperand(cursor, inherited));
    return { expression: { kind: 'not', of: expression }, qualifiers };
  }
  const { at } = cursor.token;
  const relation = cursor.is('outer', 'inner') ? undefined : parseRelation(cursor);
  if (relation === undefined && cursor.accept('(')) {
    const { expression } = cursor.nested(() => parseChain(cursor, inherited));
    cursor.expect(')', 'that closes the parenthesis');
    return { expression, qualifiers: inherited };
  }
  const part = relation === undefined ? parsePart(cursor, inherited) : { expression: relation, qualifiers: UNQUALIFIED };
  notePlace(part.expression, cursor.text, at);
  return part;
}

function parsePart(cursor: Cursor, inherited: Qualifiers): Parsed {
  if (cursor.is('outer', 'inner')) return parseScope(cursor, inherited);
  rejectMeaningless(cursor);
  const primitive = parsePrimitive(cursor);
  if (primitive !== undefined) return primitive;
  if (startsIdentifier(cursor)) return { expression: parseIdentifier(cursor, inherited), qualifiers: inherited };
  throw cursor.expected('a host, network, port or protocol', 'See pcap-filter(7): e.g. "tcp port 80 and not host 10.0.0.1".');
}

/** `outer X`, `inner X`: which of a tunnelled packet's headers X looks at. */
function parseScope(cursor: Cursor, inherited: Qualifiers): Parsed {
  const { text, at } = cursor.take();
  const { expression, qualifiers } = cursor.nested(() => parseOperand(cursor, inherited));
  const odd = find(expression, (one) => one.kind === 'outer' || one.kind === 'inner' || one.kind === 'vlan');
  if (odd !== undefined) throw cursor.failure(`Expected no "${odd.kind}" within "${text}"`, 'Write one of them.', at);
  const named = text === 'outer' ? find(expression, (one) => CLUSTER_WORDS.has(one.kind)) : undefined;
  if (named !== undefined) {
    const hint = `Write "${named.kind}" alone, or "outer host ADDRESS".`;
    throw cursor.failure(`Expected a filter of a tunnel's own headers behind "outer", got "${named.kind}"`, hint, at);
  }
  return { expression: { kind: text as 'outer' | 'inner', of: expression }, qualifiers };
}

const CLUSTER_WORDS: ReadonlySet<string> = new Set([
  'pod',
  'ns',
  'svc',
  'node',
  'label',
  'iface',
  'dropped',
  'translated',
  'reason',
]);

/** Undefined, and nothing is taken, when what comes next is no comparison. */
function parseRelation(cursor: Cursor): Expression | undefined {
  if (!startsArithmetic(cursor)) return undefined;
  const start = cursor.token;
  const isCertain = start.kind !== 'number' && start.text !== '(';
  try {
    const left = parseArithmetic(cursor);
    const comparison = parseComparison(cursor);
    if (comparison !== undefined) {
      const right = parseArithmetic(cursor);
      rejectDeep(cursor, start.at, left, right);
      return { kind: 'relation', comparison, left, right };
    }
    if (isCertain) throw cursor.expected('a comparison (=, !=, <, <=, >, >=)');
  } catch (error) {
    // `(` may open an expression as well, and a number may be a port: what they are shows behind them.
    if (isCertain || cursor.isRefused || isBehindComparison(cursor, start.at)) throw error;
  }
  cursor.returnTo(start);
  return undefined;
}

/** Whether a comparison sign stands between the start and where parsing stopped, outside of anything else: then it was arithmetic. */
function isBehindComparison(cursor: Cursor, from: number): boolean {
  return /^[^a-z]*(?:==?|!=|[<>]=?)\s*$/i.test(cursor.text.slice(from, cursor.lastEnd));
}

function joinHint(cursor: Cursor): string | undefined {
  return cursor.is(')') ? 'There is no "(" for it.' : 'Join parts of a filter by "and" or "or".';
}
