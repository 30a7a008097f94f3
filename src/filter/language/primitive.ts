import type { Cursor } from '../tokens/cursor.ts';
import { FRAME_WORDS } from './arithmetic.ts';
import type { Expression, ProtocolWord } from './ast.ts';
import { parseIdentifiers } from './identifier.ts';
import { parseFate } from './owner.ts';
import { parseQualifiers, type Qualifiers, UNQUALIFIED } from './qualifiers.ts';

/** Protocols that stand for themselves. */
export const PROTOCOL_WORDS: ReadonlySet<string> = new Set<string>([
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
  'ah',
  'esp',
] satisfies ProtocolWord[]);

/** A primitive that begins with a word of the language; undefined, and nothing is taken, when a value stands there. */
export function parsePrimitive(cursor: Cursor): { expression: Expression; qualifiers: Qualifiers } | undefined {
  const { kind, text } = cursor.token;
  if (kind !== 'word') return undefined;
  const alone = parseWord(cursor, text) ?? parseFate(cursor);
  if (alone !== undefined) return { expression: alone, qualifiers: UNQUALIFIED };
  const protocol = PROTOCOL_WORDS.has(text) ? text : FRAME_WORDS.has(text) ? 'ether' : undefined;
  if (protocol !== undefined) cursor.take();
  const casting = parseCasting(cursor, protocol);
  if (casting !== undefined) return { expression: casting, qualifiers: UNQUALIFIED };
  const qualifiers = parseQualifiers(cursor, protocol);
  if (qualifiers !== undefined) return { expression: parseIdentifiers(cursor, qualifiers), qualifiers };
  if (protocol === 'ether') throw cursor.expected(`"host", "proto", "[", "broadcast" or "multicast" behind "${text}"`);
  if (protocol === undefined) return undefined;
  return { expression: { kind: 'protocol', protocol: protocol as ProtocolWord }, qualifiers: UNQUALIFIED };
}

function parseWord(cursor: Cursor, word: string): Expression | undefined {
  switch (word) {
    case 'less':
    case 'greater': {
      cursor.take();
      const value = takeNumber(cursor, 'a length in bytes');
      const comparison = word === 'less' ? '<=' : '>=';
      return { kind: 'relation', comparison, left: { kind: 'length' }, right: { kind: 'number', value } };
    }
    case 'inbound':
    case 'outbound':
      cursor.take();
      return { kind: 'passage', way: word };
    case 'vlan': {
      cursor.take();
      if (cursor.token.kind !== 'number') return { kind: 'vlan' };
      if (cursor.token.value > 0xfff) throw cursor.expected('a VLAN of at most 4095');
      return { kind: 'vlan', id: cursor.take().value };
    }
    default:
      return undefined;
  }
}

/** `broadcast`, `multicast`: without a protocol, the frame's. */
function parseCasting(cursor: Cursor, protocol = 'ether'): Expression | undefined {
  if (cursor.is('broadcast')) {
    if (protocol !== 'ip' && protocol !== 'ether') throw cursor.failure('Expected "ip" or "ether" before broadcast');
    cursor.take();
    return { kind: 'broadcast', protocol };
  }
  if (!cursor.is('multicast')) return undefined;
  if (protocol !== 'ip' && protocol !== 'ip6' && protocol !== 'ether') {
    throw cursor.failure('Expected "ip", "ip6" or "ether" before multicast');
  }
  cursor.take();
  return { kind: 'multicast', protocol };
}

function takeNumber(cursor: Cursor, what: string): number {
  if (cursor.token.kind !== 'number') throw cursor.expected(what);
  return cursor.take().value;
}
