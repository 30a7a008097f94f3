/** Names of protocols, TCP flags and ICMP types, as the field writes them. */

const PROTOCOLS: Record<number, string> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmp6', 132: 'sctp' };

/** `tcp`, `udp`, …, or the number in decimal. Numbers: IANA protocol numbers. */
export function protocolName(proto: number): string {
  return PROTOCOLS[proto] ?? String(proto);
}

/** Letters of the flags that are set, e.g. `S`, `SA`, `PA`; RFC 9293 section 3.1 with ECE (E) and CWR (C). */
export function tcpFlagLetters(flags: number): string {
  let letters = '';
  for (const [bit, letter] of TCP_FLAGS) if ((flags & bit) !== 0) letters += letter;
  return letters;
}

const TCP_FLAGS = [
  [0x02, 'S'],
  [0x01, 'F'],
  [0x04, 'R'],
  [0x08, 'P'],
  [0x10, 'A'],
  [0x20, 'U'],
  [0x40, 'E'],
  [0x80, 'C'],
] as const;

const ICMP_TYPES: Record<number, string> = {
  0: 'echo-reply',
  3: 'unreachable',
  4: 'source-quench',
  5: 'redirect',
  8: 'echo-request',
  9: 'router-advertisement',
  10: 'router-solicitation',
  11: 'time-exceeded',
  12: 'parameter-problem',
  13: 'timestamp-request',
  14: 'timestamp-reply',
};
/** RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1. */
const UNREACHABLE_CODES: Record<number, string> = {
  0: 'net-unreachable',
  1: 'host-unreachable',
  2: 'protocol-unreachable',
  3: 'port-unreachable',
  4: 'fragmentation-needed',
  5: 'source-route-failed',
  9: 'net-prohibited',
  10: 'host-prohibited',
  13: 'admin-prohibited',
};
const ICMP6_TYPES: Record<number, string> = {
  1: 'unreachable',
  2: 'packet-too-big',
  3: 'time-exceeded',
  4: 'parameter-problem',
  128: 'echo-request',
  129: 'echo-reply',
  130: 'listener-query',
  131: 'listener-report',
  132: 'listener-done',
  133: 'router-solicitation',
  134: 'router-advertisement',
  135: 'neighbor-solicitation',
  136: 'neighbor-advertisement',
  137: 'redirect',
  143: 'listener-report-v2',
};
/** RFC 4443 section 3.1. */
const UNREACHABLE6_CODES: Record<number, string> = {
  0: 'no-route',
  1: 'admin-prohibited',
  2: 'beyond-scope',
  3: 'address-unreachable',
  4: 'port-unreachable',
  5: 'policy-failed',
  6: 'reject-route',
};

/** Name of an ICMP message: the code's for unreachable, else the type's, else `type-N`. */
export function icmpName(version: number, type: number, code: number): string {
  if (version === 6) return (type === 1 ? UNREACHABLE6_CODES[code] : undefined) ?? ICMP6_TYPES[type] ?? `type-${type}`;
  return (type === 3 ? UNREACHABLE_CODES[code] : undefined) ?? ICMP_TYPES[type] ?? `type-${type}`;
}

/** RFC 792 and RFC 4443: a message that quotes the packet it is about. */
export function isIcmpError(version: number, type: number): boolean {
  return version === 6 ? type < 128 : type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
}

export function isEchoRequest(version: number, type: number): boolean {
  return type === (version === 6 ? 128 : 8);
}

export function isEchoReply(version: number, type: number): boolean {
  return type === (version === 6 ? 129 : 0);
}

/** What is told of a place in the kernel whose name is hidden: never its address. */
export const UNKNOWN_SYMBOL = 'unknown';

/**
 * Name of a drop reason from the running kernel's `enum skb_drop_reason` (value → name). Subsystem reasons (mac80211, openvswitch) have the
 * subsystem in the high 16 bits and no names in that enum.
 */
export function dropReasonName(reasons: ReadonlyMap<number, string>, reason: number): string {
  const known = reasons.get(reason);
  if (known !== undefined) return known.replace(/^SKB_DROP_REASON_/, '');
  return reason >>> 16 === 0 ? `REASON_${reason}` : `SUBSYSTEM_${reason >>> 16}_${reason & 0xffff}`;
}
