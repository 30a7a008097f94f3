/**
 * What a filter says, as data: tcpdump's language as libpcap 1.10 reads it (`pcap-filter(7)`), as far as it can say anything about IP packets,
 * and the words for a cluster. `print` writes it back as text that parses to the same.
 */

/** `either`: source or destination, what is meant when nothing is said; `both`: source and destination. */
export type Direction = 'src' | 'dst' | 'either' | 'both';

/** Protocols that stand for themselves. */
export type ProtocolWord =
  | 'ip'
  | 'ip6'
  | 'arp'
  | 'rarp'
  | 'tcp'
  | 'udp'
  | 'sctp'
  | 'icmp'
  | 'icmp6'
  | 'igmp'
  | 'igrp'
  | 'pim'
  | 'vrrp'
  | 'carp'
  | 'ah'
  | 'esp';

/** Whose addresses a `host` or `net` means; undefined: those of every protocol that has such. */
export type AddressProtocol = 'ip' | 'ip6' | 'arp' | 'rarp';

export type PortProtocol = 'tcp' | 'udp' | 'sctp';

/** From where the index of `tcp[13]` counts; `ether` is the frame. */
export type IndexedProtocol = Exclude<ProtocolWord, 'ah' | 'esp'> | 'ether';

export type Comparison = '=' | '!=' | '<' | '<=' | '>' | '>=';
export type Operator = '+' | '-' | '*' | '/' | '%' | '&' | '|' | '^' | '<<' | '>>';

/** 32-bit unsigned arithmetic over the packet's bytes. */
export type Arithmetic =
  | { kind: 'number'; value: number }
  | { kind: 'length' }
  | { kind: 'bytes'; protocol: IndexedProtocol; index: Arithmetic; size: 1 | 2 | 4 }
  | { kind: 'negative'; of: Arithmetic }
  | { kind: 'operation'; operator: Operator; left: Arithmetic; right: Arithmetic };

/** Says whom an end of a packet belongs to. Without `namespace` a name is meant in every namespace. */
export type Owner =
  | { kind: 'pod' | 'svc'; direction: Direction; namespace?: string; name: string }
  | { kind: 'ns' | 'node'; direction: Direction; name: string }
  | { kind: 'label'; direction: Direction; key: string; value: string };

/** Says what was seen of a packet, and is not in it. */
export type Fate =
  /** `pattern` with `*` for any characters and `?` for one. */
  | { kind: 'iface'; pattern: string }
  | { kind: 'dropped' | 'translated' }
  /** In capitals, as kernels write them. */
  | { kind: 'reason'; name: string };

export type Primitive =
  | Owner
  | Fate
  | { kind: 'protocol'; protocol: ProtocolWord }
  /** `address` is an IPv4 or IPv6 address as it was written. */
  | { kind: 'host'; protocol?: AddressProtocol; direction: Direction; address: string }
  /** A name that nobody has looked up yet: `resolveNames` makes hosts of it. */
  | { kind: 'host-name'; protocol?: AddressProtocol; direction: Direction; name: string }
  | { kind: 'ether-host'; direction: Direction; address: string }
  /** `address/mask`, the mask as a number of bits or, as it may have holes, as an IPv4 address. */
  | { kind: 'net'; protocol?: AddressProtocol; direction: Direction; address: string; mask: number | string }
  | { kind: 'port'; protocol?: PortProtocol; direction: Direction; from: number; to: number }
  /** The number in the IP header's protocol field; with `ether` the frame's type. */
  | { kind: 'proto'; protocol?: 'ip' | 'ip6' | 'ether'; value: number }
  | { kind: 'relation'; comparison: Comparison; left: Arithmetic; right: Arithmetic }
  | { kind: 'broadcast'; protocol: 'ip' | 'ether' }
  | { kind: 'multicast'; protocol: 'ip' | 'ip6' | 'ether' }
  /** What follows it in the filter looks behind the tag. */
  | { kind: 'vlan'; id?: number }
  | { kind: 'passage'; way: 'inbound' | 'outbound' };

export type Expression =
  | Primitive
  | { kind: 'and' | 'or'; left: Expression; right: Expression }
  | { kind: 'not'; of: Expression }
  /** Of a tunnelled packet only the tunnel's own headers, or only what is inside. */
  | { kind: 'outer' | 'inner'; of: Expression };
