import type { Arithmetic, Expression, Primitive, ProtocolWord } from '../language/ast.ts';
import { printFilter } from '../language/print.ts';

/** One question of a filter, and of which of a tunnelled packet's headers it is asked. */
export interface Term {
  primitive: Primitive;
  scope: 'any' | 'outer' | 'inner';
}

/** How the answers are combined: a number is that of a term. */
export type Formula = number | { kind: 'and' | 'or'; left: Formula; right: Formula } | { kind: 'not'; of: Formula };

/**
 * What is known of a term. `no` may become `yes` when more is known of the packet, unless it is `never`. `beyond`: the bytes it asks for were
 * not captured.
 */
export type Answer = 'yes' | 'no' | 'never' | 'beyond';

/** `open`: what is not known yet decides. `beyond` is no match. */
export type Outcome = 'match' | 'mismatch' | 'beyond' | 'open';

/** A filter's terms, each once, and how they are combined. */
export function termsOf(expression: Expression): { terms: Term[]; formula: Formula } {
  const terms: Term[] = [];
  const numbers = new Map<string, number>();
  const add = (primitive: Primitive, scope: Term['scope']): number => {
    const key = `${scope} ${printFilter(primitive)}`;
    const known = numbers.get(key);
    if (known !== undefined) return known;
    numbers.set(key, terms.length);
    return terms.push({ primitive, scope }) - 1;
  };
  const read = (node: Expression, scope: Term['scope']): Formula => {
    switch (node.kind) {
      case 'and':
      case 'or':
        return { kind: node.kind, left: read(node.left, scope), right: read(node.right, scope) };
      case 'not':
        return { kind: 'not', of: read(node.of, scope) };
      case 'outer':
      case 'inner':
        return read(node.of, node.kind);
      default:
        return add(node, scope);
    }
  };
  return { formula: read(expression, 'any'), terms };
}

/**
 * What the answers come to. Terms are asked from left to right, no more of them than it takes; one whose bytes were not captured ends it with
 * no match, also under a `not`, as a classic BPF program ends.
 */
export function combine(formula: Formula, answers: readonly Answer[]): Outcome {
  if (typeof formula === 'number') return OUTCOMES[answers[formula] ?? 'no'];
  if (formula.kind === 'not') {
    const of = combine(formula.of, answers);
    return of === 'match' ? 'mismatch' : of === 'mismatch' ? 'match' : of;
  }
  const decisive = formula.kind === 'and' ? 'mismatch' : 'match';
  const left = combine(formula.left, answers);
  if (left === decisive || left === 'beyond') return left;
  const right = combine(formula.right, answers);
  return left !== 'open' || right === decisive ? right : 'open';
}

const OUTCOMES = { yes: 'match', no: 'open', never: 'mismatch', beyond: 'beyond' } as const;

/**
 * Whether the answer is the same wherever the packet is seen: what neither a translation nor a tunnel changes. Tunnels are UDP, or the
 * protocols 4 and 41.
 */
export function isInherent({ primitive, scope }: Term): boolean {
  switch (primitive.kind) {
    case 'protocol':
      return scope === 'inner' ? true : scope === 'any' && !['ip', 'ip6', 'udp'].includes(primitive.protocol);
    case 'proto':
      return scope === 'inner' ? true : scope === 'any' && ![4, 17, 41].includes(primitive.value);
    case 'relation':
      return scope !== 'outer' && isKept(primitive.left) && isKept(primitive.right);
    default:
      return false;
  }
}

function isKept(value: Arithmetic): boolean {
  switch (value.kind) {
    case 'number':
      return true;
    case 'length':
      return false;
    case 'negative':
      return isKept(value.of);
    case 'operation': {
      // What stands on the right is read of any packet, unless the left side has asked for its protocol.
      const asked = leadingProtocols(value.left);
      return isKept(value.left) && isKept(value.right) && leadingProtocols(value.right).every((one) => asked.includes(one));
    }
    case 'bytes':
      return value.index.kind === 'number' && isKeptByte(value.protocol, value.index.value, value.index.value + value.size);
  }
}

/** The protocols that a packet must be of for this side of a relation to be read (`lowerRelation`). */
export function leadingProtocols(value: Arithmetic): ProtocolWord[] {
  switch (value.kind) {
    case 'negative':
      return leadingProtocols(value.of);
    case 'operation':
      return leadingProtocols(value.left);
    case 'bytes':
      return value.protocol === 'ether' ? leadingProtocols(value.index) : [value.protocol, ...leadingProtocols(value.index)];
    default:
      return [];
  }
}

/**
 * TCP's ports and checksum are rewritten with the addresses, its numbers by helpers of connection tracking and its options by rules (the MSS's);
 * ICMP's checksum, id and quoted packet, too.
 */
function isKeptByte(protocol: string, from: number, end: number): boolean {
  if (protocol === 'tcp') return from >= 12 && (end <= 16 || (from >= 18 && end <= 20));
  return (protocol === 'icmp' || protocol === 'icmp6') && end <= 2;
}
