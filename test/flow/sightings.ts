import type { ConntrackSeen, Sighting, Tuple } from '../../src/event/sighting.ts';
import { Assembler, type AssemblerOptions } from '../../src/flow/assemble.ts';
import type { AssembledPacket, InterfaceKind, NodeView } from '../../src/flow/open-packet.ts';

/** What the tests of the flow room share: sightings by what matters of them, a node to see them on, conntrack entries. */

export const POD = 1;
export const BRIDGE = 2;
const TUNNEL = 3;
export const UPLINK = 4;
export const OTHER_POD = 5;
export const THIRD_POD = 6;
/** Inode of a pod's namespace. */
export const netnsOf = (pod: number): number => 100 + pod;

const KINDS: Record<number, InterfaceKind> = {
  [POD]: 'pod',
  [BRIDGE]: 'bridge',
  [TUNNEL]: 'tunnel',
  [UPLINK]: 'uplink',
  [OTHER_POD]: 'pod',
  [THIRD_POD]: 'pod',
};
const NAMES: Record<number, string> = {
  [POD]: 'veth1',
  [BRIDGE]: 'cni0',
  [TUNNEL]: 'flannel.1',
  [UPLINK]: 'eth0',
  [OTHER_POD]: 'veth2',
  [THIRD_POD]: 'veth3',
};

export const tuple = (src: string, sport: number, dst: string, dport: number): Tuple => ({ src, dst, sport, dport });

/** A TCP segment at a pod's interface; anything else by `fields`. */
export function sighting(fields: Partial<Sighting> = {}): Sighting {
  return {
    timeNs: 1000n,
    skb: 0x1000,
    netns: 1,
    ifindex: POD,
    hook: 'tc-in',
    provisional: false,
    nothingNew: false,
    entry: false,
    len: 60,
    gsoSegs: 1,
    ipVersion: 4,
    proto: 6,
    tuple: tuple('10.244.1.2', 40_000, '10.244.2.10', 80),
    ipId: 1,
    fragment: undefined,
    tcp: fields.proto === undefined || fields.proto === 6 ? { flags: 0x10, seq: 100, ack: 200 } : undefined,
    icmp: undefined,
    quoted: undefined,
    conntrack: undefined,
    tunnel: undefined,
    vlan: undefined,
    drop: undefined,
    rewrite: undefined,
    sent: undefined,
    payloadHash: 0,
    data: new Uint8Array(0),
    headerBytes: fields.data?.length ?? 0,
    ...fields,
  };
}

export function echo(type: 0 | 8, seq: number, fields: Partial<Sighting> = {}): Sighting {
  const ends = type === 8 ? tuple('10.244.1.2', 77, '10.244.2.10', 0) : tuple('10.244.2.10', 77, '10.244.1.2', 0);
  return sighting({ proto: 1, tuple: ends, icmp: { type, code: 0, id: 77, seq, mtu: 0 }, ipId: seq, ...fields });
}

/** `IPS_CONFIRMED`. */
const CONFIRMED = 1 << 3;

export function conntrack(original: Tuple, reply: Tuple, fields: Partial<ConntrackSeen> = {}): ConntrackSeen {
  return { original, reply, status: CONFIRMED, isReply: false, remembered: false, ...fields };
}

/** From pod to pod across nodes: the hops of the first one, in the order a packet passes them. */
export const WAY_OUT: Partial<Sighting>[] = [
  { ifindex: POD, hook: 'tc-in', entry: true },
  { ifindex: BRIDGE, hook: 'tc-in' },
  { ifindex: TUNNEL, hook: 'tc-out' },
  { ifindex: UPLINK, hook: 'tc-out', tunnel: { kind: 'vxlan', vni: 1, src: '192.168.0.1', dst: '192.168.0.2' } },
];

/** Where the kernel's function of this name is. */
export const TCP_V4_RCV = 99n;

export const view: NodeView = {
  node: 'host1',
  interfaceName: (ifindex) => NAMES[ifindex] ?? `#${ifindex}`,
  interfaceKind: (ifindex) => KINDS[ifindex],
  podBehind: () => undefined,
  netnsOf: (ifindex) => (KINDS[ifindex] === 'pod' ? netnsOf(ifindex) : undefined),
  isOwnAddress: (ip) => ip === '192.168.0.1',
  interfaceOfAddress: (ip) => (ip === '192.168.0.1' ? UPLINK : undefined),
  realtimeOffsetNs: () => 1_700_000_000_000_000_000n,
  dropReasons: new Map([
    [2, 'SKB_DROP_REASON_NOT_SPECIFIED'],
    [3, 'SKB_DROP_REASON_NO_SOCKET'],
    [6, 'SKB_DROP_REASON_NETFILTER_DROP'],
    [7, 'SKB_DROP_REASON_SOCKET_FILTER'],
    [8, 'SKB_DROP_REASON_QUEUE_PURGE'],
  ]),
  knowsReceivers: false,
  symbol: (address) => (address === TCP_V4_RCV ? 'tcp_v4_rcv' : `at_${address}`),
};

/** An assembler whose packets are kept in the order they were told. */
export function assembling(options: Partial<AssemblerOptions> = {}): { assembler: Assembler; told: AssembledPacket[] } {
  const told: AssembledPacket[] = [];
  const assembler = new Assembler({ view, idPrefix: 'n-', onPacket: (packet) => told.push(packet), ...options });
  return { assembler, told };
}

/** `if:direction` of each hop, as a person would say it. */
export const hops = ({ event }: AssembledPacket): string[] => event.hops.map((hop) => `${hop.if} ${hop.dir}`);
