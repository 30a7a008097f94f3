import { hostNameText } from '../tokens/host-name.ts';
import { STRENGTH } from './arithmetic.ts';
import type { Arithmetic, Direction, Expression, Primitive } from './ast.ts';

const DIRECTIONS: Record<Direction, string> = { either: '', src: 'src ', dst: 'dst ', both: 'src and dst ' };

/** Deeper ones are written without parentheses that are there for the reader alone: the parser takes no more than 100. */
const MOST_FOR_READERS = 40;

/** A filter as text that parses to the same, every qualifier written out. */
export function printFilter(expression: Expression): string {
  return print(expression, nestingOf(expression) <= MOST_FOR_READERS);
}

function print(expression: Expression, isForReaders: boolean): string {
  switch (expression.kind) {
    case 'and':
    case 'or': {
      // Both operators bind alike, from the left; what mixes them gets parentheses for the reader.
      const isPlain = expression.left.kind === expression.kind || !isForReaders;
      const left = isPlain ? print(expression.left, isForReaders) : printOperand(expression.left, isForReaders);
      return `${left} ${expression.kind} ${printOperand(expression.right, isForReaders)}`;
    }
    case 'not':
    case 'outer':
    case 'inner':
      return `${expression.kind} ${printOperand(expression.of, isForReaders)}`;
    case 'relation': {
      const { left, comparison, right } = expression;
      return `${printArithmetic(left, isForReaders)} ${comparison} ${printArithmetic(right, isForReaders)}`;
    }
    default:
      return printPrimitive(expression);
  }
}

function printOperand(operand: Expression, isForReaders: boolean): string {
  const text = print(operand, isForReaders);
  return operand.kind === 'and' || operand.kind === 'or' ? `(${text})` : text;
}

/** How deep it is written for readers. */
function nestingOf(expression: Expression): number {
  switch (expression.kind) {
    case 'and':
    case 'or': {
      const isPlain = expression.left.kind === expression.kind;
      return Math.max(nestingOf(expression.left) + (isPlain ? 0 : 1), 1 + nestingOf(expression.right));
    }
    case 'not':
    case 'outer':
    case 'inner':
      return 1 + nestingOf(expression.of);
    case 'relation':
      return Math.max(arithmeticNestingOf(expression.left), arithmeticNestingOf(expression.right));
    default:
      return 0;
  }
}

function arithmeticNestingOf(value: Arithmetic): number {
  switch (value.kind) {
    case 'bytes':
      return 1 + arithmeticNestingOf(value.index);
    case 'negative':
      return 1 + arithmeticNestingOf(value.of);
    case 'operation':
      return 1 + Math.max(arithmeticNestingOf(value.left), arithmeticNestingOf(value.right));
    default:
      return 0;
  }
}

function printPrimitive(primitive: Exclude<Primitive, { kind: 'relation' }>): string {
  switch (primitive.kind) {
    case 'protocol':
      return primitive.protocol;
    case 'host':
      return `${head(primitive.protocol, primitive.direction)}host ${primitive.address}`;
    case 'host-name':
      return `${head(primitive.protocol, primitive.direction)}host ${hostNameText(primitive.name)}`;
    case 'ether-host':
      return `ether ${DIRECTIONS[primitive.direction]}host ${primitive.address}`;
    case 'net': {
      const mask = typeof primitive.mask === 'number' ? `/${primitive.mask}` : ` mask ${primitive.mask}`;
      return `${head(primitive.protocol, primitive.direction)}net ${primitive.address}${mask}`;
    }
    case 'port': {
      const { protocol, direction, from, to } = primitive;
      return `${head(protocol, direction)}${from === to ? `port ${from}` : `portrange ${from}-${to}`}`;
    }
    case 'proto':
      return `${head(primitive.protocol, 'either')}proto ${primitive.value}`;
    case 'broadcast':
    case 'multicast':
      return `${primitive.protocol} ${primitive.kind}`;
    case 'vlan':
      return primitive.id === undefined ? 'vlan' : `vlan ${primitive.id}`;
    case 'passage':
      return primitive.way;
    case 'pod':
    case 'svc': {
      const { kind, direction, namespace, name } = primitive;
      return `${DIRECTIONS[direction]}${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
    }
    case 'ns':
    case 'node':
      return `${DIRECTIONS[primitive.direction]}${primitive.kind} ${primitive.name}`;
    case 'label':
      return `${DIRECTIONS[primitive.direction]}label ${primitive.key}=${primitive.value}`;
    case 'iface':
      return `iface ${primitive.pattern}`;
    case 'reason':
      return `reason ${primitive.name}`;
    case 'dropped':
    case 'translated':
      return primitive.kind;
  }
}

function head(protocol: string | undefined, direction: Direction): string {
  return `${protocol === undefined ? '' : `${protocol} `}${DIRECTIONS[direction]}`;
}

/** `isLast`: nothing of its side of the comparison stands behind it, which `%` and `^` would take as theirs. */
function printArithmetic(value: Arithmetic, isForReaders: boolean, isLast = true): string {
  const side = (of: Arithmetic, isPlain: boolean, isLastOne: boolean): string =>
    isPlain || (of.kind !== 'operation' && of.kind !== 'negative')
      ? printArithmetic(of, isForReaders, isLastOne)
      : `(${printArithmetic(of, isForReaders)})`;
  switch (value.kind) {
    case 'number':
      return String(value.value);
    case 'length':
      return 'len';
    case 'bytes':
      return `${value.protocol}[${printArithmetic(value.index, isForReaders)}${value.size === 1 ? '' : `:${value.size}`}]`;
    case 'negative': {
      const isPlain = value.of.kind === 'operation' ? isGreedy(value.of) && isLast : true;
      return `-${side(value.of, isPlain && !isForReaders, isLast)}`;
    }
    case 'operation': {
      const left = side(value.left, !isForReaders && isReadAsLeft(value.left, value), false);
      const right = side(value.right, !isForReaders && isReadAsRight(value.right, value, isLast), isLast);
      return `${left} ${value.operator} ${right}`;
    }
  }
}

type Operation = Arithmetic & { kind: 'operation' };

function isGreedy({ operator }: Operation): boolean {
  return STRENGTH[operator] === undefined;
}

function strengthOf({ operator }: Operation): number {
  return STRENGTH[operator] ?? 0;
}

/** Whether a left side is read before the operator behind it, without parentheses. */
function isReadAsLeft(left: Arithmetic, own: Operation): boolean {
  if (isGreedy(own)) return false;
  return left.kind !== 'operation' || (!isGreedy(left) && strengthOf(left) >= strengthOf(own));
}

/** Whether the whole of a right side is, and no more than it. */
function isReadAsRight(right: Arithmetic, own: Operation, isLast: boolean): boolean {
  if (right.kind !== 'operation' || isGreedy(own)) return true;
  return isGreedy(right) ? isLast : strengthOf(right) > strengthOf(own);
}
