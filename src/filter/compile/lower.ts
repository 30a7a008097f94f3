import type { LinkLayer } from '../../event/link-layer.ts';
import { ipv4Word, ipv6Words, maskWord, maskWords } from '../language/address-words.ts';
import type { AddressProtocol, Direction, Expression, Primitive, ProtocolWord } from '../language/ast.ts';
import { failureAt } from '../language/places.ts';
import { printFilter } from '../language/print.ts';
import { all, any, type Condition, not, test } from './conditions.ts';
import { ETHERTYPE, LinkView } from './link-layer.ts';
import { lowerRelation } from './lower-relation.ts';
import type { LoadSize, Step } from './program.ts';

const FRAGMENT_HEADER = 44;
const IPV6_HEADER_BYTES = 40;
const ADDRESS_BITS = 0xffff_ffff;
const PORT_PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;
/** Protocols inside IP by number, and in which IP they are looked for (undefined: both), as libpcap has it. */
const IP_WORDS: Record<Exclude<ProtocolWord, 'ip' | 'ip6' | 'arp' | 'rarp'>, [number, ('ip' | 'ip6')?]> = {
  tcp: [6],
  udp: [17],
  sctp: [132],
  icmp: [1, 'ip'],
  icmp6: [58, 'ip6'],
  igmp: [2, 'ip'],
  igrp: [9, 'ip'],
  pim: [103],
  vrrp: [112, 'ip'],
  carp: [112, 'ip'],
  ah: [51],
  esp: [50],
};

/**
 * What a filter tests on packets of a link layer, in libpcap's order: a packet that was cut short is refused at the same test.
 * Throws KTRACE_E_FILTER for what the link layer cannot tell, and for names that were not looked up.
 */
export function lower(expression: Expression, layer: LinkLayer): Condition {
  return lowerIn(new LinkView(layer), expression);
}

function lowerIn(view: LinkView, expression: Expression): Condition {
  switch (expression.kind) {
    case 'and':
    case 'or': {
      // The left side first: a `vlan` in it moves what the right side looks at.
      const left = lowerIn(view, expression.left);
      return { kind: expression.kind, left, right: lowerIn(view, expression.right) };
    }
    case 'not':
      return not(lowerIn(view, expression.of));
    case 'outer':
    case 'inner':
      throw manyPrograms(expression);
    default:
      return lowerPrimitive(view, expression);
  }
}

function lowerPrimitive(view: LinkView, primitive: Primitive): Condition {
  switch (primitive.kind) {
    case 'protocol':
      return lowerProtocol(view, primitive.protocol);
    case 'host':
      return primitive.address.includes(':')
        ? lowerAddress6(view, primitive.direction, ipv6Words(primitive.address), maskWords(128))
        : lowerAddress(view, primitive.protocol, primitive.direction, ipv4Word(primitive.address), ADDRESS_BITS);
    case 'net': {
      const { protocol, direction, address, mask } = primitive;
      if (address.includes(':')) return lowerAddress6(view, direction, ipv6Words(address), maskWords(Number(mask)));
      return lowerAddress(
        view,
        protocol,
        direction,
        ipv4Word(address),
        typeof mask === 'number' ? maskWord(mask) : ipv4Word(mask),
      );
    }
    case 'port':
      return lowerPort(view, primitive);
    case 'proto':
      return lowerProto(view, primitive.protocol, primitive.value);
    case 'relation':
      return lowerRelation(view, primitive, (protocol) => lowerProtocol(view, protocol));
    default:
      return lowerLink(view, primitive);
  }
}

/** Stands for itself: `tcp`. */
function lowerProtocol(view: LinkView, protocol: ProtocolWord): Condition {
  if (protocol === 'ip' || protocol === 'ip6' || protocol === 'arp' || protocol === 'rarp')
    return view.isType(ETHERTYPE[protocol]);
  const [value, family] = IP_WORDS[protocol];
  return lowerProto(view, family, value);
}

function lowerProto(view: LinkView, protocol: 'ip' | 'ip6' | 'ether' | undefined, value: number): Condition {
  if (protocol === 'ether') return view.isType(value);
  if (protocol === 'ip') return all(view.isType(ETHERTYPE.ip), test([load(view, 1, 9)], 'jeq', value));
  if (protocol === undefined) return any(lowerProto(view, 'ip', value), lowerProto(view, 'ip6', value));
  const isBehindFragment = all(
    test([load(view, 1, 6)], 'jeq', FRAGMENT_HEADER),
    test([load(view, 1, IPV6_HEADER_BYTES)], 'jeq', value),
  );
  return all(view.isType(ETHERTYPE.ip6), any(test([load(view, 1, 6)], 'jeq', value), isBehindFragment));
}

function lowerAddress(
  view: LinkView,
  protocol: AddressProtocol | undefined,
  direction: Direction,
  address: number,
  mask: number,
): Condition {
  if (protocol === undefined) {
    const everywhere = (['ip', 'arp', 'rarp'] as const).map((one) => lowerAddress(view, one, direction, address, mask));
    return any(...everywhere);
  }
  const [source, destination] = protocol === 'ip' ? [12, 16] : [14, 24];
  const type = ETHERTYPE[protocol];
  const at = (offset: number) => all(view.isType(type), test([load(view, 4, offset)], 'jeq', address, mask));
  return directed(
    direction,
    () => at(source),
    () => at(destination),
  );
}

function lowerAddress6(view: LinkView, direction: Direction, address: number[], masks: number[]): Condition {
  const at = (offset: number) =>
    all(
      view.isType(ETHERTYPE.ip6),
      ...masks.map((mask, index) => test([load(view, 4, offset + 4 * index)], 'jeq', address[index] as number, mask)),
    );
  return directed(
    direction,
    () => at(8),
    () => at(24),
  );
}

function lowerPort(view: LinkView, { protocol, direction, from, to }: Primitive & { kind: 'port' }): Condition {
  const numbers =
    protocol === undefined ? [PORT_PROTOCOLS.sctp, PORT_PROTOCOLS.tcp, PORT_PROTOCOLS.udp] : [PORT_PROTOCOLS[protocol]];
  const inIpv6 = numbers.map((number) =>
    all(
      test([load(view, 1, 6)], 'jeq', number),
      portIn(direction, from, to, (offset) => [load(view, 2, IPV6_HEADER_BYTES + offset)]),
    ),
  );
  const inIpv4 = numbers.map((number) =>
    all(
      test([load(view, 1, 9)], 'jeq', number),
      view.isFirstFragment(),
      portIn(direction, from, to, (offset) => [
        { op: 'index-header', k: view.payload },
        { op: 'load-indirect', size: 2, k: view.payload + offset },
      ]),
    ),
  );
  return any(all(view.isType(ETHERTYPE.ip6), any(...inIpv6)), all(view.isType(ETHERTYPE.ip), any(...inIpv4)));
}

function portIn(direction: Direction, from: number, to: number, loadPort: (offset: number) => Step[]): Condition {
  const at = (offset: number) =>
    from === to
      ? test(loadPort(offset), 'jeq', from)
      : all(test(loadPort(offset), 'jge', from), not(test(loadPort(offset), 'jgt', to)));
  return directed(
    direction,
    () => at(0),
    () => at(2),
  );
}

function lowerLink(view: LinkView, primitive: Primitive): Condition {
  switch (primitive.kind) {
    case 'ether-host':
      return lowerFrameAddress(view, primitive, primitive.direction, primitive.address);
    case 'broadcast':
      if (primitive.protocol === 'ether') return lowerFrameAddress(view, primitive, 'dst', 'ff:ff:ff:ff:ff:ff');
      return all(
        view.isType(ETHERTYPE.ip),
        any(test([load(view, 4, 16)], 'jeq', 0), test([load(view, 4, 16)], 'jeq', ADDRESS_BITS)),
      );
    case 'multicast':
      if (primitive.protocol === 'ip') return all(view.isType(ETHERTYPE.ip), test([load(view, 1, 16)], 'jge', 224));
      if (primitive.protocol === 'ip6') return all(view.isType(ETHERTYPE.ip6), test([load(view, 1, 24)], 'jeq', 255));
      return all(needsEthernet(view, primitive), test([{ op: 'load', size: 1, k: 0 }], 'jset', 1));
    case 'vlan':
      return lowerVlan(view, primitive);
    case 'passage': {
      const isOutgoing = view.isOutgoing();
      if (isOutgoing === undefined) {
        throw failureAt(primitive, `Expected packets that say which way they went, got ${LAYER_NAMES[view.layer]}`);
      }
      return primitive.way === 'outbound' ? isOutgoing : not(isOutgoing);
    }
    default:
      if (primitive.kind === 'host-name')
        throw failureAt(
          primitive,
          `Expected an address, got the name ${primitive.name}`,
          'A program has no names: give the address.',
        );
      throw manyPrograms(primitive);
  }
}

/** What no program decides by itself: those that apply the filter ask for it beside their programs. */
function manyPrograms(expression: Expression): Error {
  return failureAt(expression, `Expected what one program can decide, got "${expression.kind}"`, 'Leave it out.');
}

const LAYER_NAMES: Record<LinkLayer, string> = {
  ethernet: 'Ethernet frames',
  raw: 'packets without a frame',
  ipv4: 'packets without a frame',
  ipv6: 'packets without a frame',
  sll: 'packets of "any" device (Linux cooked)',
  sll2: 'packets of "any" device (Linux cooked v2)',
};

function needsEthernet(view: LinkView, primitive: Primitive): Condition {
  if (view.layer === 'ethernet') return { kind: 'constant', value: true };
  throw failureAt(primitive, `Expected Ethernet frames for "${printFilter(primitive)}", got ${LAYER_NAMES[view.layer]}`);
}

function lowerFrameAddress(view: LinkView, primitive: Primitive, direction: Direction, text: string): Condition {
  needsEthernet(view, primitive);
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = text.split(':').map((digits) => Number.parseInt(digits, 16));
  const at = (offset: number) =>
    all(
      test([{ op: 'load', size: 4, k: offset + 2 }], 'jeq', ((c << 24) | (d << 16) | (e << 8) | f) >>> 0),
      test([{ op: 'load', size: 2, k: offset }], 'jeq', (a << 8) | b),
    );
  return directed(
    direction,
    () => at(6),
    () => at(0),
  );
}

function lowerVlan(view: LinkView, primitive: Primitive & { kind: 'vlan' }): Condition {
  const { id } = primitive;
  needsEthernet(view, primitive);
  const isTagged = any(view.isType(ETHERTYPE.vlan), view.isType(ETHERTYPE.provider), view.isType(ETHERTYPE.qinq));
  const condition = id === undefined ? isTagged : all(isTagged, test([load(view, 2, 0)], 'jeq', id, 0x0fff));
  view.enterVlan();
  return condition;
}

function directed(direction: Direction, source: () => Condition, destination: () => Condition): Condition {
  if (direction === 'src') return source();
  if (direction === 'dst') return destination();
  return direction === 'both' ? all(source(), destination()) : any(source(), destination());
}

/** From the IP header. */
function load(view: LinkView, size: LoadSize, offset: number): Step {
  return { op: 'load', size, k: view.payload + offset };
}
