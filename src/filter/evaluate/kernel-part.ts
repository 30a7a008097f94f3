import type { Arithmetic, Expression, Primitive, ProtocolWord } from '../language/ast.ts';
import { printFilter } from '../language/print.ts';
import { isInherent, leadingProtocols, type Term } from './terms.ts';

/**
 * What of a filter is decided in the kernel, as a filter of the packet itself, whatever it is in; undefined: nothing, every packet may match. A packet
 * that it does not take is none that the filter takes, whatever is seen of it elsewhere: terms that can differ between hooks, nodes, translations
 * and tunnels are left out, so that they may be true and may be not, and what a term that is true implies stands for it. `tunnelPorts` are those of
 * the cluster's tunnels: of a tunnel's outer packet a port is true as well.
 */
export function kernelPart(filter: Expression, tunnelPorts: readonly number[]): Expression | undefined {
  const read = (node: Expression, scope: Term['scope'], isTrue: boolean): Expression | undefined => {
    switch (node.kind) {
      case 'and':
      case 'or':
        return combined(
          (node.kind === 'and') === isTrue ? 'and' : 'or',
          read(node.left, scope, isTrue),
          read(node.right, scope, isTrue),
        );
      case 'not':
        return read(node.of, scope, !isTrue);
      case 'outer':
      case 'inner':
        return read(node.of, node.kind, isTrue);
      default:
        return isTrue ? implied({ primitive: node, scope }, tunnelPorts) : excluded({ primitive: node, scope });
    }
  };
  return read(filter, 'any', true);
}

/** What all of these filters leave out. */
export function unionOf(parts: readonly (Expression | undefined)[]): Expression | undefined {
  const [first, ...rest] = parts;
  return rest.reduce((left, right) => combined('or', left, right), first);
}

/** What of a part asks for protocols alone; undefined: that is nothing. A packet that it does not take is none that a filter of this part takes. */
export function protocolPart(part: Expression): Expression | undefined {
  switch (part.kind) {
    case 'and':
    case 'or':
      return combined(part.kind, protocolPart(part.left), protocolPart(part.right));
    case 'not':
      return isProtocol(part.of) ? part : undefined;
    case 'relation':
      return protocolsOf(part, () => true);
    default:
      return isProtocol(part) ? part : undefined;
  }
}

function isProtocol({ kind }: Expression): boolean {
  return kind === 'protocol' || kind === 'proto';
}

/** Written as the filter that it is: what means the tunnel as well without a word is said to mean the packet inside. */
export function kernelPartText(part: Expression): string {
  return printFilter(meansTunnelsToo(part) ? { kind: 'inner', of: part } : part);
}

/** Does a term ask for bytes: those may be read of a whole packet only. */
export function readsBytes(part: Expression): boolean {
  return has(part, ({ kind }) => kind === 'relation');
}

/** Undefined is "every packet". The same twice is written once. */
function combined(kind: 'and' | 'or', left: Expression | undefined, right: Expression | undefined): Expression | undefined {
  if (left === undefined || right === undefined) return kind === 'and' ? (left ?? right) : undefined;
  const known = new Set(operands(kind, left).map(printFilter));
  return operands(kind, right)
    .filter((one) => !known.has(printFilter(one)))
    .reduce<Expression>((all, one) => ({ kind, left: all, right: one }), left);
}

function operands(kind: 'and' | 'or', node: Expression): Expression[] {
  return node.kind === kind ? [...operands(kind, node.left), ...operands(kind, node.right)] : [node];
}

/** What is true of every packet of which the term is. */
function implied(term: Term, tunnelPorts: readonly number[]): Expression | undefined {
  const { primitive, scope } = term;
  if (scope === 'outer') return undefined;
  if (isInherent(term)) return withEchoes(primitive);
  switch (primitive.kind) {
    case 'port':
      return scope === 'any' && isTunnelPort(primitive, tunnelPorts) ? undefined : anyProtocol(portProtocols(primitive));
    case 'host':
    case 'net':
      return scope === 'inner' ? { kind: 'protocol', protocol: primitive.address.includes(':') ? 'ip6' : 'ip' } : undefined;
    case 'relation':
      return protocolsOf(primitive, (protocol) => scope === 'inner' || !IN_TUNNELS.has(protocol));
    default:
      return undefined;
  }
}

/** Of which protocols a packet has to be, for a comparison to be true; undefined: of any. */
function protocolsOf(
  { left, right }: Primitive & { kind: 'relation' },
  asks: (protocol: string) => boolean,
): Expression | undefined {
  return [left, right]
    .flatMap(leadingProtocols)
    .filter(asks)
    .map((protocol): Expression => ({ kind: 'protocol', protocol }))
    .reduce<Expression | undefined>((all, one) => combined('and', all, one), undefined);
}

/** What is true of every packet of which the term is not. */
function excluded(term: Term): Expression | undefined {
  return isInherent(term) ? withEchoes(term.primitive, true) : undefined;
}

const IN_TUNNELS = new Set<string>(['ip', 'ip6', 'udp']);
const ECHO = { icmp: [8, 0], icmp6: [128, 129] } as const;

/** A ping's two packets tell of each other, how long it took and that there was no answer: whoever may see the one needs both. */
function withEchoes(primitive: Primitive, isNot = false): Expression {
  const term: Expression = isNot ? { kind: 'not', of: primitive } : primitive;
  if (primitive.kind !== 'relation') return term;
  const asked = [primitive.left, primitive.right].flatMap(leadingProtocols);
  const echoes = (['icmp', 'icmp6'] as const)
    .filter((protocol) => asked.includes(protocol))
    .flatMap((protocol) => ECHO[protocol].map((type) => typeIs(protocol, type)));
  return echoes.reduce<Expression>((left, right) => ({ kind: 'or', left, right }), term);
}

function typeIs(protocol: 'icmp' | 'icmp6', type: number): Expression {
  const index: Arithmetic = { kind: 'number', value: 0 };
  return {
    kind: 'relation',
    comparison: '=',
    left: { kind: 'bytes', protocol, index, size: 1 },
    right: { kind: 'number', value: type },
  };
}

/** Of a tunnel's source port nothing is known, so it is never asked. */
function isTunnelPort({ protocol, direction, from, to }: Primitive & { kind: 'port' }, tunnelPorts: readonly number[]): boolean {
  if (direction === 'src' || direction === 'both' || (protocol !== undefined && protocol !== 'udp')) return false;
  return tunnelPorts.some((port) => port >= from && port <= to);
}

function portProtocols({ protocol }: Primitive & { kind: 'port' }): ProtocolWord[] {
  return protocol === undefined ? ['tcp', 'udp', 'sctp'] : [protocol];
}

function anyProtocol([first, ...rest]: ProtocolWord[]): Expression {
  const of = (protocol: ProtocolWord): Expression => ({ kind: 'protocol', protocol });
  return rest.reduce<Expression>((left, protocol) => ({ kind: 'or', left, right: of(protocol) }), of(first as ProtocolWord));
}

function meansTunnelsToo(part: Expression): boolean {
  return has(part, (node) => (node.kind === 'protocol' && IN_TUNNELS.has(node.protocol)) || node.kind === 'proto');
}

function has(node: Expression, is: (one: Expression) => boolean): boolean {
  if (is(node)) return true;
  if (node.kind === 'and' || node.kind === 'or') return has(node.left, is) || has(node.right, is);
  return 'of' in node && has(node.of, is);
}
