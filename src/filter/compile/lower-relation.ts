import type { Arithmetic, IndexedProtocol, Primitive, ProtocolWord } from '../language/ast.ts';
import { all, type Condition, not, test } from './conditions.ts';
import type { LinkView } from './link-layer.ts';
import type { Alu, Step } from './program.ts';

const ICMP6 = 58;
const ALUS: Record<string, Alu> = {
  '+': 'add',
  '-': 'sub',
  '*': 'mul',
  '/': 'div',
  '%': 'mod',
  '&': 'and',
  '|': 'or',
  '^': 'xor',
  '<<': 'lsh',
  '>>': 'rsh',
};

type IsProtocol = (protocol: ProtocolWord) => Condition;

/** The steps that leave a value in scratch word `register`, and what has to hold of the packet for that. */
interface Value {
  steps: Step[];
  conditions: Condition[];
}

/** `A op B`, which is true only of packets that have the bytes it names. */
export function lowerRelation(
  view: LinkView,
  { comparison, left, right }: Primitive & { kind: 'relation' },
  is: IsProtocol,
): Condition {
  const a = evaluate(view, left, 0, is);
  const b = evaluate(view, right, 1, is);
  const direct = right.kind === 'number' ? straight(view, left) : undefined;
  const k = direct !== undefined && right.kind === 'number' ? { k: right.value } : {};
  const steps: Step[] = direct ?? [...a.steps, ...b.steps, { op: 'index-memory', m: 1 }, { op: 'load-memory', m: 0 }];
  const jump = comparison === '=' || comparison === '!=' ? 'jeq' : comparison === '>' || comparison === '<=' ? 'jgt' : 'jge';
  const isReversed = comparison === '!=' || comparison === '<=' || comparison === '<';
  const compare: Condition = { kind: 'test', steps, jump, ...k };
  return all(...a.conditions, ...b.conditions, isReversed ? not(compare) : compare);
}

/** Indexes up to here are added to the place from which they count: a larger one could wrap around. */
const MOST_DIRECT_INDEX = 0xffff;

/** The steps that leave a value in `A` without scratch words, reading the same bytes in the same order; undefined where it takes them. */
function straight(view: LinkView, value: Arithmetic): Step[] | undefined {
  switch (value.kind) {
    case 'number':
      return [{ op: 'load-number', k: value.value }];
    case 'length':
      return [{ op: 'load-length' }];
    case 'negative': {
      const of = straight(view, value.of);
      return of === undefined ? undefined : [...of, { op: 'negate' }];
    }
    case 'operation': {
      const left = value.right.kind === 'number' ? straight(view, value.left) : undefined;
      if (left === undefined || value.right.kind !== 'number') return undefined;
      return [...left, { op: 'alu', alu: ALUS[value.operator] as Alu, k: value.right.value }];
    }
    case 'bytes': {
      const { protocol, index, size } = value;
      if (index.kind !== 'number' || index.value > MOST_DIRECT_INDEX) return undefined;
      const { base, isBehindHeader } = placeOf(view, protocol);
      if (!isBehindHeader) return [{ op: 'load', size, k: base + index.value }];
      return [
        { op: 'index-header', k: view.payload },
        { op: 'load-indirect', size, k: base + index.value },
      ];
    }
  }
}

/** From where a protocol's bytes count, with an IPv4 header's length more where they are behind one. */
function placeOf(view: LinkView, protocol: IndexedProtocol): { base: number; isBehindHeader: boolean } {
  if (protocol === 'ether') return { base: 0, isBehindHeader: false };
  if (protocol === 'icmp6') return { base: view.payload + 40, isBehindHeader: false };
  return { base: view.payload, isBehindHeader: !['ip', 'ip6', 'arp', 'rarp'].includes(protocol) };
}

function evaluate(view: LinkView, value: Arithmetic, register: number, is: IsProtocol): Value {
  const store: Step = { op: 'store', m: register };
  switch (value.kind) {
    case 'number':
      return { steps: [{ op: 'load-number', k: value.value }, store], conditions: [] };
    case 'length':
      return { steps: [{ op: 'load-length' }, store], conditions: [] };
    case 'negative': {
      const of = evaluate(view, value.of, register, is);
      return { ...of, steps: [...of.steps, { op: 'load-memory', m: register }, { op: 'negate' }, store] };
    }
    case 'operation': {
      const left = evaluate(view, value.left, register, is);
      const right = evaluate(view, value.right, register + 1, is);
      const apply: Step[] = [
        { op: 'index-memory', m: register + 1 },
        { op: 'load-memory', m: register },
        { op: 'alu', alu: ALUS[value.operator] as Alu },
        store,
      ];
      // libpcap asks for the left side's protocol only: `1 + tcp[0]` reads that byte of any packet.
      return { steps: [...left.steps, ...right.steps, ...apply], conditions: left.conditions };
    }
    case 'bytes':
      return loadBytes(view, value, register, is);
  }
}

function loadBytes(
  view: LinkView,
  { protocol, index, size }: Arithmetic & { kind: 'bytes' },
  register: number,
  is: IsProtocol,
): Value {
  const at = evaluate(view, index, register, is);
  const { before, base, conditions } = reach(view, protocol, at.conditions, register, is);
  const steps: Step[] = [...at.steps, ...before, { op: 'load-indirect', size, k: base }, { op: 'store', m: register }];
  return { steps, conditions };
}

/** How to get `X` to the index, from which `base` the load counts, and what the packet has to be for that. */
function reach(
  view: LinkView,
  protocol: IndexedProtocol,
  ofIndex: Condition[],
  register: number,
  is: IsProtocol,
): { before: Step[]; base: number; conditions: Condition[] } {
  const { base, isBehindHeader } = placeOf(view, protocol);
  const before: Step[] = isBehindHeader
    ? [{ op: 'index-header', k: view.payload }, { op: 'load-memory', m: register }, { op: 'alu', alu: 'add' }, { op: 'to-index' }]
    : [{ op: 'index-memory', m: register }];
  return { before, base, conditions: conditionsOf(view, protocol, ofIndex, is) };
}

function conditionsOf(view: LinkView, protocol: IndexedProtocol, ofIndex: Condition[], is: IsProtocol): Condition[] {
  switch (protocol) {
    case 'ether':
      return ofIndex;
    case 'ip':
    case 'ip6':
    case 'arp':
    case 'rarp':
      return [...ofIndex, is(protocol)];
    case 'icmp6':
      return [...ofIndex, is('ip6'), test([{ op: 'load', size: 1, k: view.payload + 6 }], 'jeq', ICMP6)];
    default:
      return [is('ip'), ...ofIndex, is(protocol), view.isFirstFragment()];
  }
}
