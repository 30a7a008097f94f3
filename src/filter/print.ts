import type { Arithmetic, Direction, Expression, Primitive } from './ast.ts';
import { hostNameText } from './host-name.ts';

const DIRECTIONS: Record<Direction, string> = { either: '', src: 'src ', dst: 'dst ', both: 'src and dst ' };

/** A filter as text that parses to the same, every qualifier written out. */
export function printFilter(expression: Expression): string {
  switch (expression.kind) {
    case 'and':
    case 'or':
      return `${printOperand(expression.left, expression.kind)} ${expression.kind} ${printOperand(expression.right)}`;
    case 'not':
    case 'outer':
    case 'inner':
      return `${expression.kind} ${printOperand(expression.of)}`;
    default:
      return printPrimitive(expression);
  }
}

/** Both operators bind alike, from the left; what mixes them gets parentheses for the reader. */
function printOperand(operand: Expression, chain?: 'and' | 'or'): string {
  const isChained = operand.kind === chain;
  return (operand.kind === 'and' || operand.kind === 'or') && !isChained ? `(${printFilter(operand)})` : printFilter(operand);
}

function printPrimitive(primitive: Primitive): string {
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
    case 'relation':
      return `${printArithmetic(primitive.left)} ${primitive.comparison} ${printArithmetic(primitive.right)}`;
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

function printArithmetic(value: Arithmetic): string {
  switch (value.kind) {
    case 'number':
      return String(value.value);
    case 'length':
      return 'len';
    case 'bytes':
      return `${value.protocol}[${printArithmetic(value.index)}${value.size === 1 ? '' : `:${value.size}`}]`;
    case 'negative':
      return `-${printSide(value.of)}`;
    case 'operation':
      return `${printSide(value.left)} ${value.operator} ${printSide(value.right)}`;
  }
}

function printSide(value: Arithmetic): string {
  return value.kind === 'operation' || value.kind === 'negative' ? `(${printArithmetic(value)})` : printArithmetic(value);
}
