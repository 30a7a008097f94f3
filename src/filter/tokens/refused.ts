import type { Cursor, Place } from './cursor.ts';

type Refusal = [reason: string, instead: string];

const PF = 'is a word for the logs of pf';
const INSTEAD: Record<string, Refusal> = {
  gateway: ['libpcap has no "gateway" where it knows IPv6', 'Write "ether host MAC and not host ADDRESS".'],
  vxlan: ['libpcap 1.10 has no such word', 'Write "udp port 4789" or "udp port 8472" for the tunnel itself.'],
  byte: ['"byte" is a form of old', 'Write "ether[INDEX] = VALUE".'],
  mask: ['"mask" stands behind a network', 'Write "net 10.0.0.0 mask 255.0.0.0".'],
  on: [`"on" ${PF}`, 'Write "iface NAME".'],
  ifname: [`"ifname" ${PF}`, 'Write "iface NAME".'],
};
/** Words that tcpdump takes, and why ktrace does not. */
const INSTEAD_IN: Record<Place, Record<string, Refusal>> = {
  live: {
    gateway: [
      'libpcap has no "gateway" where it knows IPv6, and frames are not followed',
      'Write "host" with an address, or "node NAME".',
    ],
    byte: ['"byte" is a form of old', 'Write "ip[INDEX] = VALUE".'],
    protochain: ['"protochain" needs a loop, which no filter program may have', 'Write "ip6 proto N" for the first next header.'],
    mpls: ['MPLS does not occur on the interfaces of pods', 'Leave it out.'],
    pppoed: ['PPPoE does not occur on the interfaces of pods', 'Leave it out.'],
    pppoes: ['PPPoE does not occur on the interfaces of pods', 'Leave it out.'],
    geneve: ['a record does not have the port of a Geneve tunnel', 'Write "outer udp" for what is in a tunnel over UDP.'],
    ifindex: ['an interface has another number on every node', 'Write "iface NAME".'],
  },
  file: {
    protochain: [
      '"protochain" needs a loop, which no program of ktrace has',
      'Write "ip6 proto N" for the first next header, or use tcpdump.',
    ],
    mpls: ['ktrace does not read behind MPLS labels', 'Leave it out, or use tcpdump.'],
    pppoed: ['PPPoE discovery has no IP packets', 'Leave it out, or use tcpdump.'],
    pppoes: ['ktrace does not read behind PPPoE headers', 'Leave it out, or use tcpdump.'],
    geneve: ['ktrace does not read "geneve"', 'Write "udp port 6081" for the tunnel itself, "inner X" for what is in it.'],
    ifindex: ['ktrace does not read "ifindex"', 'Write "iface NAME" where the file has names, or use tcpdump.'],
  },
};
const NOT_IP = new Set(
  (
    'fddi tr wlan radio atalk aarp decnet lat sca moprc mopdl iso esis es-is isis is-is l1 l2 iih lsp snp csnp psnp clnp stp ipx netbeui type ' +
    'subtype direction dir address1 addr1 address2 addr2 address3 addr3 address4 addr4 ra ta lane llc metac bcc oam oamf4 oamf4ec oamf4sc sc ' +
    'ilmic vpi vci connectmsg metaconnect rset ruleset rnr rulenum srnr subrulenum action fisu lssu lsu msu hfisu hlssu hmsu ' +
    'sio opc dpc sls hsio hopc hdpc hsls'
  ).split(' '),
);

const FRAME = 'frames are not what ktrace follows: it sees packets from the IP header on';
const WRITE_HOST = 'Write "host" with an IP address, or the name of whose packets are meant: "pod NAME", "node NAME".';
const WAY = 'a packet is followed over many interfaces, in and out of each';
const NOT_IN_FILES = 'a capture file says nothing of it';
const ONLY_LIVE = 'Filter a follow by it, or write the address.';

/** Words that have no meaning in one place: the reason, and what to write there. */
const MISPLACED: Record<Place, Record<string, Refusal>> = {
  live: {
    ether: [FRAME, WRITE_HOST],
    link: [FRAME, WRITE_HOST],
    ppp: [FRAME, WRITE_HOST],
    slip: [FRAME, WRITE_HOST],
    broadcast: [FRAME, 'Write "ip broadcast".'],
    multicast: [FRAME, 'Write "ip multicast" or "ip6 multicast".'],
    vlan: [FRAME, 'Leave it out: a packet is seen behind its tag as without one. "iface NAME" means one interface.'],
    arp: ['ARP is not IP, and only IP packets are followed', 'Leave it out.'],
    rarp: ['RARP is not IP, and only IP packets are followed', 'Leave it out.'],
    inbound: [WAY, 'Write "src" or "dst" before a pod, host or port; "iface NAME" for one interface.'],
    outbound: [WAY, 'Write "src" or "dst" before a pod, host or port; "iface NAME" for one interface.'],
  },
  file: {
    pod: ['a capture file knows no pods', ONLY_LIVE],
    ns: ['a capture file knows no namespaces', ONLY_LIVE],
    svc: ['a capture file knows no Services', ONLY_LIVE],
    node: ['a capture file knows no nodes', ONLY_LIVE],
    label: ['a capture file knows no labels', ONLY_LIVE],
    dropped: [NOT_IN_FILES, 'Filter a follow by it.'],
    translated: [NOT_IN_FILES, 'Filter a follow by it.'],
    reason: [NOT_IN_FILES, 'Filter a follow by it.'],
  },
};

/** Is it a word of libpcap's that can say nothing about IP packets? */
export function isMeaningless(text: string): boolean {
  return [INSTEAD, INSTEAD_IN.live].some((words) => Object.hasOwn(words, text)) || NOT_IP.has(text);
}

/** Words of libpcap's that can say nothing about IP packets are refused with the reason, as a name they would surprise. Throws KTRACE_E_FILTER. */
export function rejectMeaningless(cursor: Cursor): void {
  const { kind, text } = cursor.token;
  if (kind !== 'word') return;
  if (NOT_IP.has(text)) {
    const hint = cursor.place === 'file' ? 'Leave it out, or use tcpdump.' : 'Leave it out.';
    throw cursor.failure(`Expected a filter of IP packets, got ${JSON.stringify(text)}, which is about other ones`, hint);
  }
  for (const words of [INSTEAD_IN[cursor.place ?? 'live'], INSTEAD]) {
    const refusal = Object.hasOwn(words, text) ? words[text] : undefined;
    if (refusal !== undefined) throw cursor.failure(`Expected a filter of IP packets: ${refusal[0]}`, refusal[1]);
  }
  rejectMisplaced(cursor);
}

/** A word that cannot mean anything where the filter is applied. Throws KTRACE_E_FILTER. */
export function rejectMisplaced(cursor: Cursor): void {
  const { kind, text } = cursor.token;
  if (kind !== 'word' || cursor.place === undefined) return;
  const words = MISPLACED[cursor.place];
  const refusal = Object.hasOwn(words, text) ? words[text] : undefined;
  if (refusal === undefined) return;
  const what = cursor.place === 'live' ? 'a filter of packets that are followed' : 'a filter of a capture file';
  cursor.isRefused = true;
  throw cursor.failure(`Expected ${what}, got ${JSON.stringify(text)}: ${refusal[0]}`, refusal[1]);
}
