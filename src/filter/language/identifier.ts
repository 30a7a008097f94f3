import type { Cursor } from '../tokens/cursor.ts';
import { RESERVED } from '../tokens/host-name.ts';
import type { Token } from '../tokens/lexer.ts';
import { isMeaningless } from '../tokens/refused.ts';
import { ipv4Text, ipv4Word, ipv6Words, maskWord, maskWords } from './address-words.ts';
import type { AddressProtocol, Expression, Primitive } from './ast.ts';
import { parsePort, parseProto } from './number-identifier.ts';
import { OWNER_HINTS, parseOwner } from './owner.ts';
import { notePlace } from './places.ts';
import { protocolOf, type Qualifiers } from './qualifiers.ts';

const ADDRESS_PROTOCOLS: readonly (string | undefined)[] = [undefined, 'ip', 'ip6', 'arp', 'rarp'];
export function startsIdentifier({ token }: Cursor): boolean {
  return token.kind !== 'end' && token.kind !== 'sign' && !(token.kind === 'word' && RESERVED.has(token.text));
}

/** What stands behind `host`, `port` …: a value, `not` one, or several in parentheses. Throws KTRACE_E_FILTER. */
export function parseIdentifiers(cursor: Cursor, qualifiers: Qualifiers): Expression {
  if (cursor.accept('not')) return { kind: 'not', of: cursor.nested(() => parseIdentifiers(cursor, qualifiers)) };
  if (!cursor.is('(')) return parseIdentifier(cursor, qualifiers);
  cursor.take();
  return cursor.nested(() => {
    let left = parseIdentifiers(cursor, qualifiers);
    while (cursor.is('and', 'or')) {
      const kind = cursor.take().text as 'and' | 'or';
      left = { kind, left, right: parseIdentifiers(cursor, qualifiers) };
    }
    cursor.expect(')', 'that closes the parenthesis');
    return left;
  });
}

/** One value, which means what the qualifiers say. */
export function parseIdentifier(cursor: Cursor, qualifiers: Qualifiers): Primitive {
  const { at } = cursor.token;
  const primitive = parseValue(cursor, qualifiers);
  notePlace(primitive, cursor.text, at);
  return primitive;
}

function parseValue(cursor: Cursor, qualifiers: Qualifiers): Primitive {
  if (!startsIdentifier(cursor)) throw cursor.expected(wanted(qualifiers), OWNER_HINTS[qualifiers.type]);
  switch (qualifiers.type) {
    case 'none':
      throw cursor.failure(
        `Expected a word that says what ${JSON.stringify(cursor.token.text)} is`,
        'Such as host, net, port or proto.',
      );
    case 'port':
    case 'portrange':
      return parsePort(cursor, qualifiers);
    case 'proto':
      return parseProto(cursor, qualifiers);
    case 'net':
      return parseNet(cursor, qualifiers);
    case 'pod':
    case 'ns':
    case 'svc':
    case 'node':
    case 'label':
      return parseOwner(cursor, qualifiers.type, qualifiers);
    default:
      return parseHost(cursor, qualifiers);
  }
}

function wanted({ type }: Qualifiers): string {
  const values = {
    none: 'a value',
    any: 'a host',
    host: 'a host',
    net: 'a network',
    port: 'a port',
    portrange: 'a range of ports',
    proto: 'a protocol',
    pod: 'the name of a pod',
    ns: 'the name of a namespace',
    svc: 'the name of a Service',
    node: 'the name of a node',
    label: 'a label, KEY=VALUE',
  };
  return values[type];
}

function parseHost(cursor: Cursor, qualifiers: Qualifiers): Primitive {
  const { direction } = qualifiers;
  if (qualifiers.protocol === 'ether') {
    if (cursor.token.kind !== 'mac') throw cursor.expected('an Ethernet address such as 0a:58:0a:f4:00:01');
    return { kind: 'ether-host', direction, address: macText(cursor.take().text) };
  }
  const protocol = protocolOf<AddressProtocol>(cursor, qualifiers, ADDRESS_PROTOCOLS, 'a host');
  rejectWordAsHost(cursor);
  const token = cursor.take();
  switch (token.kind) {
    case 'number':
      return { kind: 'host', ...familyOf(cursor, protocol, token), direction, address: ipv4Text(token.value) };
    case 'ipv4':
      return shortHost(cursor, token, protocol, direction);
    case 'ipv6':
      return { kind: 'host', ...family6Of(cursor, protocol, token), direction, address: token.text };
    case 'mac':
      throw cursor.failure('Expected an IP address, got an Ethernet address', 'Write "ether host" before it.', token.at);
    default:
      return { kind: 'host-name', ...(protocol === undefined ? {} : { protocol }), direction, name: token.text };
  }
}

/** libpcap's words are no names of hosts, unless a backslash says so. */
function rejectWordAsHost(cursor: Cursor): void {
  const { kind, text } = cursor.token;
  if (kind !== 'word' || !isMeaningless(text)) return;
  throw cursor.failure(
    `Expected a host, got ${JSON.stringify(text)}, which is a word of tcpdump's language`,
    `Write "\\${text}" for a host of this name.`,
  );
}

/** libpcap reads `host 10.1` as the network 10.1.0.0/16. */
function shortHost(
  cursor: Cursor,
  token: Token,
  protocol: AddressProtocol | undefined,
  direction: Qualifiers['direction'],
): Primitive {
  const { address, bits } = ipv4Of(cursor, token);
  const family = familyOf(cursor, protocol, token);
  if (cursor.is('/'))
    throw cursor.failure('Expected "net" before an address with a mask', `Write "net ${token.text}/…".`, token.at);
  return bits === 32
    ? { kind: 'host', ...family, direction, address }
    : { kind: 'net', ...family, direction, address, mask: bits };
}

function parseNet(cursor: Cursor, qualifiers: Qualifiers): Primitive {
  const { direction } = qualifiers;
  const protocol = protocolOf<AddressProtocol>(cursor, qualifiers, ADDRESS_PROTOCOLS, 'a network');
  const token = cursor.take();
  if (token.kind === 'ipv6') {
    const mask = cursor.accept('/') ? takeBits(cursor, 128) : 128;
    rejectHostBits6(cursor, token, mask);
    return { kind: 'net', ...family6Of(cursor, protocol, token), direction, address: token.text, mask };
  }
  const family = familyOf(cursor, protocol, token);
  if (token.kind === 'number') {
    const { value, bits: implied } = promoted(token.value);
    const bits = cursor.accept('/') ? takeBits(cursor, 32) : implied;
    rejectHostBits(cursor, token, ipv4Text(value), bits);
    return { kind: 'net', ...family, direction, address: ipv4Text(value), mask: bits };
  }
  if (token.kind !== 'ipv4') {
    cursor.returnTo(token);
    throw cursor.expected('a network such as 10.244.0.0/16', 'Names of networks are not looked up.');
  }
  const { address, bits } = ipv4Of(cursor, token);
  const mask = parseMask(cursor) ?? bits;
  rejectHostBits(cursor, token, address, mask);
  return { kind: 'net', ...family, direction, address, mask };
}

function parseMask(cursor: Cursor): number | string | undefined {
  if (cursor.accept('/')) return takeBits(cursor, 32);
  if (!cursor.accept('mask')) return undefined;
  if (cursor.token.kind !== 'ipv4') throw cursor.expected('a mask such as 255.255.0.0');
  return ipv4Of(cursor, cursor.take()).address;
}

function familyOf(cursor: Cursor, protocol: AddressProtocol | undefined, token: Token): { protocol?: AddressProtocol } {
  if (protocol === 'ip6') throw cursor.failure('Expected an IPv6 address behind "ip6"', undefined, token.at);
  return protocol === undefined ? {} : { protocol };
}

function family6Of(cursor: Cursor, protocol: AddressProtocol | undefined, token: Token): { protocol?: AddressProtocol } {
  if (protocol !== undefined && protocol !== 'ip6')
    throw cursor.failure(`Expected an IPv4 address behind "${protocol}"`, undefined, token.at);
  return protocol === undefined ? {} : { protocol };
}

function takeBits(cursor: Cursor, most: number): number {
  if (cursor.token.kind !== 'number' || cursor.token.value > most) throw cursor.expected(`a mask of at most ${most} bits`);
  return cursor.take().value;
}

function ipv4Of(cursor: Cursor, { text, at }: Token): { address: string; bits: number } {
  const octets = text.split('.');
  if (!octets.every((octet) => /^\d+$/.test(octet) && Number(octet) <= 255)) {
    throw cursor.failure(`Expected an IPv4 address, got ${text}`, 'Each part is a decimal number of at most 255.', at);
  }
  const padded = [...octets.map(Number), 0, 0, 0].slice(0, 4);
  return { address: padded.join('.'), bits: octets.length * 8 };
}

/** libpcap reads `net 10` as 10.0.0.0/8. */
function promoted(number: number): { value: number; bits: number } {
  let value = number;
  let bits = 32;
  while (value !== 0 && value <= 0xff_ffff) {
    value *= 256;
    bits -= 8;
  }
  return { value, bits };
}

function macText(text: string): string {
  const digits = /^[\da-f]{12}$|^[\da-f]{4}\./i.test(text)
    ? (text.replaceAll('.', '').match(/../g) as string[])
    : text.split(/[-:.]/);
  return digits.map((digit) => digit.padStart(2, '0').toLowerCase()).join(':');
}

function rejectHostBits(cursor: Cursor, { text, at }: Token, address: string, mask: number | string): void {
  const bits = typeof mask === 'number' ? maskWord(mask) : ipv4Word(mask);
  const word = ipv4Word(address);
  if ((word & ~bits) === 0) return;
  throw cursor.failure(`Expected no bits set behind the mask of ${text}`, `The network is ${ipv4Text(word & bits)}.`, at);
}

function rejectHostBits6(cursor: Cursor, { text, at }: Token, mask: number): void {
  const bits = maskWords(mask);
  if (ipv6Words(text).every((word, index) => (word & ~(bits[index] as number)) === 0)) return;
  throw cursor.failure(`Expected no bits set behind the mask of ${text}/${mask}`, undefined, at);
}
