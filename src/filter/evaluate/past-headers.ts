import type { Arithmetic, Expression, IndexedProtocol } from '../language/ast.ts';
import { printFilter } from '../language/print.ts';

/** A term that reads behind the headers of every packet that it is asked of, and up to where, from the IP header on, at least. */
export interface PastHeaders {
  term: string;
  readsTo: number;
}

const IPV4_BYTES = 20;
const IPV4_MOST_BYTES = 60;
const IPV6_BYTES = 40;
/** Up to here a header may reach, counted from where its bytes are counted. ICMP errors end with eight bytes behind the IP header that they quote. */
const MOST_BYTES: Partial<Record<IndexedProtocol, number>> = {
  tcp: 60,
  udp: 8,
  sctp: 12,
  icmp: 8 + IPV4_MOST_BYTES + 8,
  icmp6: Number.POSITIVE_INFINITY,
  ip: IPV4_MOST_BYTES + 8 + IPV4_MOST_BYTES + 8,
  // Extension headers may be long.
  ip6: Number.POSITIVE_INFINITY,
};

/**
 * The terms that no packet can match of which the headers alone were captured. Only what is certain is told: an index that is computed, or that lies
 * in options that a packet may have, is not.
 */
export function termsPastHeaders(expression: Expression): PastHeaders[] {
  switch (expression.kind) {
    case 'and':
    case 'or':
      return [...termsPastHeaders(expression.left), ...termsPastHeaders(expression.right)];
    case 'not':
    case 'outer':
    case 'inner':
      return termsPastHeaders(expression.of);
    case 'relation': {
      const readsTo = Math.max(readsPast(expression.left), readsPast(expression.right));
      return readsTo === 0 ? [] : [{ term: printFilter(expression), readsTo }];
    }
    default:
      return [];
  }
}

/** 0: not for certain. */
function readsPast(value: Arithmetic): number {
  switch (value.kind) {
    case 'negative':
      return readsPast(value.of);
    case 'operation':
      return Math.max(readsPast(value.left), readsPast(value.right));
    case 'bytes': {
      if (value.index.kind !== 'number') return readsPast(value.index);
      const { protocol, size } = value;
      const end = value.index.value + size;
      if (end <= (MOST_BYTES[protocol] ?? 0)) return 0;
      return protocol === 'ip' || protocol === 'ip6' ? end : end + (protocol === 'icmp6' ? IPV6_BYTES : IPV4_BYTES);
    }
    default:
      return 0;
  }
}
