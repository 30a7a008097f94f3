/** Filters made by rule: every primitive of the language, arithmetic, and what joins them. */
import type { Random } from './random.ts';
import { IPV4, IPV6, MACS, PORTS } from './traffic.ts';

const DIRECTIONS = ['', '', 'src ', 'dst ', 'src or dst ', 'src and dst ', 'dst or src '];
const NUMBERS = [
  '0',
  '1',
  '2',
  '5',
  '6',
  '7',
  '13',
  '14',
  '20',
  '40',
  '60',
  '64',
  '80',
  '0x10',
  '010',
  '255',
  'tcp-syn',
  'icmp-echo',
  'tcpflags',
];
const INDEXED = ['ip', 'tcp', 'udp', 'icmp', 'ip6', 'icmp6', 'ether', 'sctp', 'arp'];
const OPERATORS = ['+', '-', '*', '&', '|', '^', '%', '/', '&', '&'];
const WORDS = [
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
  'pim',
  'vrrp',
  'ah',
  'esp',
  'carp',
  'igrp',
];
const NETS = [
  '10',
  '10.0',
  '10.0.0.0/8',
  '10.0.0.0/31',
  '0.0.0.0/0',
  '192.168',
  '10.0.0.0 mask 255.0.0.255',
  '224.0.0.0/4',
  '10.0.0.1',
];
const NETS6 = ['fe80::/10', '2001:db8::/32', '::/0', '2001:db8::1', 'ff00::/8', '2001:db8::/127'];
const CASTS = ['ip multicast', 'ip6 multicast', 'ip broadcast', 'multicast', 'broadcast', 'ether multicast', 'ether broadcast'];

/** A filter that nests at most four deep. */
export function randomFilter(random: Random, depth = 0): string {
  const form = random.below(8);
  if (depth > 3 || form < 3) return primitive(random);
  if (form === 3) return `not ${randomFilter(random, depth + 1)}`;
  if (form === 4) return `(${randomFilter(random, depth + 1)})`;
  const join = random.pick(['and', 'or', '&&', '||']);
  return `${randomFilter(random, depth + 1)} ${join} ${randomFilter(random, depth + 1)}`;
}

function primitive(random: Random): string {
  const { pick } = random;
  const forms: (() => string)[] = [
    () => pick(WORDS),
    () =>
      `${pick(['', 'ip ', 'arp ', 'rarp '])}${pick(['host ', 'src ', 'dst ', 'src host ', 'src and dst host ', 'dst or src '])}${pick(IPV4)}`,
    () => `${pick(['', 'ip6 '])}${pick(DIRECTIONS)}host ${pick(IPV6)}`,
    () => `${pick(['', '', 'tcp ', 'udp ', 'sctp '])}${pick(DIRECTIONS)}port ${pick([...PORTS, 'domain', 'https'])}`,
    () =>
      `${pick(['', 'tcp ', 'udp '])}${pick(DIRECTIONS)}portrange ${pick(['80-443', '443-80', '0-100', '8080', 'domain-8080', '53-53'])}`,
    () => `${pick(['', 'ip '])}${pick(DIRECTIONS)}net ${pick(NETS)}`,
    () => `${pick(DIRECTIONS)}net ${pick(NETS6)}`,
    () => `${pick(['', 'ip ', 'ip6 '])}proto ${pick(['6', '17', '1', '58', '132', '\\tcp', '\\udp', 'gre', '\\icmp', 'ipip'])}`,
    () => `${arithmetic(random, 0)} ${pick(['=', '==', '!=', '<', '>', '<=', '>='])} ${arithmetic(random, 1)}`,
    () => `${arithmetic(random, 0)} ${pick(['=', '!=', '<', '>'])} ${arithmetic(random, 1)}`,
    () => `${pick(['less', 'greater'])} ${pick([40, 54, 60, 64, 80, 100])}`,
    () => pick(CASTS),
    () => pick(['vlan', 'vlan 5', 'vlan 100', 'inbound', 'outbound']),
    () => `ether ${pick(['host ', 'src ', 'dst ', 'src and dst '])}${pick(MACS)}`,
    () => `ether proto ${pick(['\\ip', '0x86dd', '\\arp', '40', '2048'])}`,
    () => `${pick(DIRECTIONS)}port (80 or 443 and not 53)`,
    () => 'host 10.0.0.1 or 10.0.0.2',
    () => 'tcp[tcpflags] & (tcp-syn|tcp-fin) != 0',
  ];
  return pick(forms)();
}

function arithmetic(random: Random, depth: number): string {
  const { pick, below } = random;
  const form = below(depth > 3 ? 2 : 8);
  if (form === 0) return pick(NUMBERS);
  if (form === 1) return pick(['len', pick(NUMBERS)]);
  if (form < 5)
    return `${pick(INDEXED)}[${below(4) > 0 ? pick(NUMBERS) : arithmetic(random, depth + 2)}${pick(['', '', ':2', ':4', ':1'])}]`;
  if (form === 5) return `(${arithmetic(random, depth + 1)})`;
  if (form === 6 && below(4) === 0) return `- ${arithmetic(random, depth + 1)}`;
  return `${arithmetic(random, depth + 1)} ${pick(OPERATORS)} ${arithmetic(random, depth + 1)}`;
}
