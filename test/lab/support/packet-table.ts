import type { Sighting, Tuple } from '../../../src/event/sighting.ts';
import {
  authentication,
  echoOf,
  ethernet,
  extension,
  geneve,
  IPV4,
  IPV6,
  icmp,
  ipv4,
  ipv6,
  sctp,
  tcp,
  udp,
  vxlan,
} from './packets.ts';

export const POD = '10.244.1.2';
const PEER = '10.244.2.10';
export const POD6 = 'fd00:10:244:1::2';
const PEER6 = 'fd00:10:244:2::a';
export const NODES = { src: '192.168.0.1', dst: '192.168.0.2' };
export const NODES6 = { src: 'fd00:cafe::1', dst: 'fd00:cafe::2' };
/** The node's own: its tunnels' packets come from them, and go to them. */
export const NODE_ADDRESSES = [...Object.values(NODES), ...Object.values(NODES6)];
export const ports = { sport: 40_000, dport: 80 };
export const v4: Tuple = { src: POD, dst: PEER, ...ports };
export const v6: Tuple = { src: POD6, dst: PEER6, ...ports };
export const ends = { src: POD, dst: PEER };
export const ends6 = { src: POD6, dst: PEER6 };
export const noPorts = { sport: 0, dport: 0 };
export const payload = Buffer.from('some payload to be hashed');
const quotedUdp = ipv4({ ...ends, proto: 17 }, udp(ports));
const quotedUdp6 = ipv6({ ...ends6, next: 17 }, udp(ports));
export const router = { src: '172.31.0.1', dst: '172.31.0.2' };
export const router6 = { src: 'fd00:beef::1', dst: 'fd00:beef::2' };
export const inUdp = (inner: Uint8Array, dport = 8472) => udp({ sport: 55_555, dport }, inner);

/** A packet from L3 on, and what is told of it. */
export type Row = [string, Buffer, Partial<Sighting>];

export const TABLE: Row[] = [
  [
    'TCP',
    ipv4({ ...ends, proto: 6, id: 7 }, tcp({ ...ports, seq: 0xffff_fff0, ack: 9, flags: 0x12 }, payload)),
    { tuple: v4, proto: 6, ipVersion: 4, ipId: 7, tcp: { flags: 0x12, seq: 0xffff_fff0, ack: 9 }, len: 40 + payload.length },
  ],
  [
    'TCP over IPv6',
    ipv6({ ...ends6, next: 6 }, tcp(ports)),
    { tuple: v6, proto: 6, ipVersion: 6, tcp: { flags: 0x10, seq: 1, ack: 2 } },
  ],
  ['UDP', ipv4({ ...ends, proto: 17 }, udp(ports, payload)), { tuple: v4, proto: 17, tcp: undefined, icmp: undefined }],
  ['UDP over IPv6', ipv6({ ...ends6, next: 17 }, udp(ports)), { tuple: v6, proto: 17 }],
  ['SCTP', ipv4({ ...ends, proto: 132 }, sctp(ports)), { tuple: v4, proto: 132 }],
  ['SCTP over IPv6', ipv6({ ...ends6, next: 132 }, sctp(ports)), { tuple: v6, proto: 132 }],
  [
    'an echo request',
    ipv4({ ...ends, proto: 1 }, icmp({ type: 8, rest: echoOf(513, 7) })),
    { tuple: { ...ends, sport: 513, dport: 0 }, icmp: { type: 8, code: 0, id: 513, seq: 7, mtu: 0 } },
  ],
  [
    'an echo reply over IPv6',
    ipv6({ ...ends6, next: 58 }, icmp({ type: 129, rest: echoOf(65_535, 65_535) })),
    { tuple: { ...ends6, sport: 65_535, dport: 0 }, icmp: { type: 129, code: 0, id: 65_535, seq: 65_535, mtu: 0 } },
  ],
  [
    'a neighbour solicitation',
    ipv6({ ...ends6, next: 58 }, icmp({ type: 135 }, Buffer.alloc(16))),
    { tuple: { ...ends6, ...noPorts }, icmp: { type: 135, code: 0, id: 0, seq: 0, mtu: 0 }, quoted: undefined },
  ],
  [
    'an ICMP error between strangers that quotes a followed flow',
    ipv4({ ...router, proto: 1 }, icmp({ type: 3, code: 3 }, quotedUdp)),
    { tuple: { ...router, ...noPorts }, quoted: { proto: 17, tuple: v4 }, icmp: { type: 3, code: 3, id: 0, seq: 0, mtu: 0 } },
  ],
  [
    'fragmentation needed, with its MTU and a quoted echo',
    ipv4(
      { ...router, proto: 1 },
      icmp({ type: 3, code: 4, rest: 1400 }, ipv4({ ...ends, proto: 1 }, icmp({ type: 8, rest: echoOf(5, 6) }))),
    ),
    {
      icmp: { type: 3, code: 4, id: 0, seq: 6, mtu: 1400 },
      quoted: { proto: 1, tuple: { ...ends, sport: 5, dport: 0 }, seq: 6 },
    },
  ],
  [
    'packet too big over IPv6',
    ipv6({ ...router6, next: 58 }, icmp({ type: 2, rest: 1280 }, quotedUdp6)),
    { icmp: { type: 2, code: 0, id: 0, seq: 0, mtu: 1280 }, quoted: { proto: 17, tuple: v6 } },
  ],
  [
    'an error about a datagram behind extension headers',
    ipv6({ ...router6, next: 58 }, icmp({ type: 1 }, ipv6({ ...ends6, next: 0 }, extension(6, 0, tcp(ports))))),
    { quoted: { proto: 6, tuple: v6 } },
  ],
  [
    'an error with IPv4 options before and inside',
    ipv4(
      { ...router, proto: 1, options: Buffer.alloc(8, 1) },
      icmp({ type: 11 }, ipv4({ ...ends, proto: 6, options: Buffer.alloc(40, 1) }, tcp(ports))),
    ),
    { quoted: { proto: 6, tuple: v4 }, icmp: { type: 11, code: 0, id: 0, seq: 0, mtu: 0 } },
  ],
  ['hop-by-hop options', ipv6({ ...ends6, next: 0 }, extension(17, 1, udp(ports))), { tuple: v6, proto: 17 }],
  ['a routing header', ipv6({ ...ends6, next: 43 }, extension(6, 2, tcp(ports))), { tuple: v6, proto: 6 }],
  ['destination options', ipv6({ ...ends6, next: 60 }, extension(132, 0, sctp(ports))), { tuple: v6, proto: 132 }],
  ['an authentication header', ipv6({ ...ends6, next: 51 }, authentication(6, tcp(ports))), { tuple: v6, proto: 6 }],
  [
    'seven extension headers in a row',
    ipv6(
      { ...ends6, next: 0 },
      extension(
        60,
        1,
        extension(43, 0, extension(60, 0, authentication(60, extension(135, 0, extension(60, 3, extension(17, 0, udp(ports))))))),
      ),
    ),
    { tuple: v6, proto: 17 },
  ],
  [
    'IPv4 options',
    ipv4({ ...ends, proto: 6, options: Buffer.alloc(40, 1) }, tcp(ports)),
    { tuple: v4, tcp: { flags: 0x10, seq: 1, ack: 2 } },
  ],
  ['another protocol', ipv4({ ...ends, proto: 47 }, Buffer.alloc(20)), { tuple: { ...ends, ...noPorts }, proto: 47 }],
  [
    'ICMPv6 in IPv4, which is none',
    ipv4({ ...ends, proto: 58 }, icmp({ type: 3, code: 3 }, quotedUdp)),
    { tuple: { ...ends, ...noPorts }, proto: 58, icmp: undefined, quoted: undefined },
  ],
  [
    'VXLAN of a configured port',
    ipv4({ ...NODES, proto: 17 }, inUdp(vxlan(77, IPV4, ipv4({ ...ends, proto: 6 }, tcp(ports))))),
    { tuple: v4, proto: 6, tunnel: { kind: 'vxlan', vni: 77, ...NODES }, len: 40 },
  ],
  [
    'IPv6 in VXLAN',
    ipv4({ ...NODES, proto: 17 }, inUdp(vxlan(0xff_ffff, IPV6, ipv6({ ...ends6, next: 58 }, icmp({ type: 128 }))), 4789)),
    { tuple: { ...ends6, ...noPorts }, tunnel: { kind: 'vxlan', vni: 0xff_ffff, ...NODES } },
  ],
  [
    'VXLAN over IPv6',
    ipv6({ ...NODES6, next: 17 }, inUdp(vxlan(1, IPV4, ipv4({ ...ends, proto: 17 }, udp(ports))))),
    { tuple: v4, tunnel: { kind: 'vxlan', vni: 1, ...NODES6 } },
  ],
  [
    'Geneve',
    ipv4({ ...NODES, proto: 17 }, inUdp(geneve(77, ethernet(IPV4, ipv4({ ...ends, proto: 6 }, tcp(ports)))), 6081)),
    { tuple: v4, proto: 6, tunnel: { kind: 'geneve', vni: 77, ...NODES }, len: 40 },
  ],
  [
    'Geneve with the most options, over IPv6',
    ipv6(
      { ...NODES6, next: 17 },
      inUdp(geneve(0xff_ffff, ethernet(IPV6, ipv6({ ...ends6, next: 6 }, tcp(ports))), { options: 63 }), 6081),
    ),
    { tuple: v6, proto: 6, tunnel: { kind: 'geneve', vni: 0xff_ffff, ...NODES6 }, len: 60 },
  ],
  [
    'IP in Geneve without a frame',
    ipv4({ ...NODES, proto: 17 }, inUdp(geneve(1, ipv4({ ...ends, proto: 17 }, udp(ports)), { options: 2, type: IPV4 }), 6081)),
    { tuple: v4, proto: 17, tunnel: { kind: 'geneve', vni: 1, ...NODES } },
  ],
  [
    'IPIP',
    ipv4({ ...NODES, proto: 4 }, ipv4({ ...ends, proto: 17 }, udp(ports))),
    { tuple: v4, tunnel: { kind: 'ipip', vni: 0, ...NODES } },
  ],
  [
    'IPv6 in IPv4',
    ipv4({ ...NODES, proto: 41 }, ipv6({ ...ends6, next: 6 }, tcp(ports))),
    { tuple: v6, tunnel: { kind: 'ipip', vni: 0, ...NODES } },
  ],
  [
    'IPv4 in IPv6',
    ipv6({ ...NODES6, next: 4 }, ipv4({ ...ends, proto: 6 }, tcp(ports))),
    { tuple: v4, tunnel: { kind: 'ipip', vni: 0, ...NODES6 } },
  ],
  [
    'an ICMP error inside VXLAN',
    ipv4({ ...NODES, proto: 17 }, inUdp(vxlan(1, IPV4, ipv4({ ...router, proto: 1 }, icmp({ type: 11 }, quotedUdp))))),
    { quoted: { proto: 17, tuple: v4 }, tunnel: { kind: 'vxlan', vni: 1, ...NODES } },
  ],
];
