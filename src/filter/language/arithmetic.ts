import type { Cursor } from '../tokens/cursor.ts';
import { rejectMisplaced } from '../tokens/refused.ts';
import type { Arithmetic, Comparison, IndexedProtocol, Operator } from './ast.ts';

const INDEXED = new Set<string>([
  'ip',
  'ip6',
  'arp',
  'rarp',
  'tcp',
  'udp',
  'sctp',
  'icmp',
  'icmp6',
  'igmp',
  'igrp',
  'pim',
  'vrrp',
  'carp',
  'ether',
] satisfies IndexedProtocol[]);
/** `link`, `ppp` and `slip` mean the frame as `ether` does. */
export const FRAME_WORDS: ReadonlySet<string> = new Set(['ether', 'link', 'ppp', 'slip']);
/** Binding strength. `%` and `^` have none in libpcap's grammar: they take everything that follows as their right side. */
export const STRENGTH: Readonly<Record<string, number>> = { '|': 1, '&': 2, '<<': 3, '>>': 3, '+': 4, '-': 4, '*': 5, '/': 5 };
const GREEDY = new Set(['%', '^']);
const NEGATION_STRENGTH = 6;
const COMPARISONS = new Set<string>(['=', '!=', '<', '<=', '>', '>='] satisfies Comparison[]);

/** Can arithmetic begin here? A number or a parenthesis can be something else as well. */
export function startsArithmetic(cursor: Cursor): boolean {
  const { kind } = cursor.token;
  if (kind === 'number' || cursor.is('(', '-', 'len', 'length')) return true;
  return kind === 'word' && cursor.peek().text === '[' && cursor.peek().kind === 'sign';
}

/** Arithmetic, as far as it goes. Throws KTRACE_E_FILTER. */
export function parseArithmetic(cursor: Cursor, least = 0): Arithmetic {
  let left = parseUnary(cursor);
  for (;;) {
    const { kind, text, at } = cursor.token;
    const isGreedy = GREEDY.has(text);
    const strength = STRENGTH[text];
    if (kind !== 'sign' || (!isGreedy && (strength === undefined || strength <= least))) return left;
    cursor.take();
    const right = cursor.nested(() => parseArithmetic(cursor, isGreedy ? 0 : strength));
    rejectImpossible(cursor, text, right, at);
    left = { kind: 'operation', operator: text as Operator, left, right };
  }
}

/** Takes the sign of a comparison. */
export function parseComparison(cursor: Cursor): Comparison | undefined {
  const { kind, text } = cursor.token;
  if (kind !== 'sign' || !COMPARISONS.has(text)) return undefined;
  cursor.take();
  return text as Comparison;
}

/** Values that a program can keep at a time: the scratch words of classic BPF. */
const SCRATCH_WORDS = 16;

/** Arithmetic of two sides that needs more than a program can keep. `at`: where it begins. Throws KTRACE_E_FILTER. */
export function rejectDeep(cursor: Cursor, at: number, left: Arithmetic, right: Arithmetic): void {
  if (Math.max(wordsOf(left), 1 + wordsOf(right)) <= SCRATCH_WORDS) return;
  cursor.isRefused = true;
  const hint = 'A right side in parentheses is one deeper; write it to the left.';
  throw cursor.failure(`Expected arithmetic that nests at most ${SCRATCH_WORDS} deep`, hint, at);
}

/** How many values are kept while it is computed: the left side's stays while the right one is. */
function wordsOf(value: Arithmetic): number {
  switch (value.kind) {
    case 'operation':
      return Math.max(wordsOf(value.left), 1 + wordsOf(value.right));
    case 'negative':
      return wordsOf(value.of);
    case 'bytes':
      return wordsOf(value.index);
    default:
      return 1;
  }
}

function parseUnary(cursor: Cursor): Arithmetic {
  if (cursor.accept('-')) {
    return { kind: 'negative', of: cursor.nested(() => parseArithmetic(cursor, NEGATION_STRENGTH)) };
  }
  if (cursor.accept('(')) {
    const inner = cursor.nested(() => parseArithmetic(cursor));
    cursor.expect(')', 'that closes the parenthesis');
    return inner;
  }
  if (cursor.token.kind === 'number') return { kind: 'number', value: cursor.take().value };
  if (cursor.accept('len', 'length')) return { kind: 'length' };
  return parseBytes(cursor);
}

/** `tcp[13]`, `ip[2:2]`. */
function parseBytes(cursor: Cursor): Arithmetic {
  const { kind, text } = cursor.token;
  const protocol = FRAME_WORDS.has(text) ? 'ether' : text;
  if (kind !== 'word' || cursor.peek().text !== '[') throw cursor.expected('a number, "len" or bytes such as tcp[13]');
  if (!INDEXED.has(protocol)) {
    throw cursor.expected('a protocol whose bytes can be had', `One of ${[...INDEXED].join(', ')}.`);
  }
  rejectMisplaced(cursor);
  cursor.take();
  cursor.take();
  const index = cursor.nested(() => parseArithmetic(cursor));
  const size = cursor.accept(':') ? parseSize(cursor) : 1;
  cursor.expect(']', 'that closes the index');
  return { kind: 'bytes', protocol: protocol as IndexedProtocol, index, size };
}

function parseSize(cursor: Cursor): 1 | 2 | 4 {
  const { kind, value } = cursor.token;
  if (kind !== 'number' || (value !== 1 && value !== 2 && value !== 4)) throw cursor.expected('a size of 1, 2 or 4 bytes');
  cursor.take();
  return value;
}

function rejectImpossible(cursor: Cursor, operator: string, right: Arithmetic, at: number): void {
  if (right.kind !== 'number') return;
  if ((operator === '/' || operator === '%') && right.value === 0)
    throw cursor.failure('Expected a divisor that is not 0', undefined, at);
  if ((operator === '<<' || operator === '>>') && right.value > 31) {
    throw cursor.failure(`Expected a shift by at most 31 bits, got ${right.value}`, undefined, at);
  }
}
