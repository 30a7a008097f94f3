import type { Captured } from '../event/captured.ts';
import type { Sighting, Tuple } from '../event/sighting.ts';
import type { PacketEvent } from '../event/types.ts';
import { contentKey } from './fingerprint.ts';
import type { Listed } from './packet-list.ts';

export type InterfaceKind = 'pod' | 'bridge' | 'tunnel' | 'uplink';

/** What the assembler asks about its node. Answers may change while it runs. */
export interface NodeView {
  node: string;
  interfaceName(ifindex: number): string;
  interfaceKind(ifindex: number): InterfaceKind | undefined;
  /** `namespace/name` of the pod that an interface led to at a time (Unix ms); empty: the pod is not known; undefined: it leads to none. */
  podBehind(ifindex: number, timeMs: number): string | undefined;
  /** The network namespace of the pod behind an interface, by inode; undefined when it is not known. */
  netnsOf(ifindex: number): number | undefined;
  /** Whether it is an address of the node's own network namespace. */
  isOwnAddress(ip: string): boolean;
  /** The node's interface that has this address; undefined when none has. */
  interfaceOfAddress(ip: string): number | undefined;
  /** CLOCK_REALTIME − CLOCK_MONOTONIC, ns. */
  realtimeOffsetNs(): bigint;
  dropReasons: ReadonlyMap<number, string>;
  /** The kernel side knows a drop's receiving socket, and leaves out what TCP has taken in. */
  knowsReceivers: boolean;
  /** The kernel function at an address. */
  symbol(address: bigint): string;
}

/** A packet's event, and what the agent needs besides. */
export interface AssembledPacket {
  event: PacketEvent;
  /** Unix ms of its first sighting. */
  timeMs: number;
  /** Unix ns of its first and last hop. */
  firstNs: bigint;
  lastNs: bigint;
  firstIfindex: number;
  lastIfindex: number;
  /** Only for followers who asked for every packet. */
  nothingNew: boolean;
  /** Interface of each of `event.hops`. */
  hopIfindexes: readonly number[];
  /** The packet's tuple at each of `event.hops`. */
  hopTuples: readonly Tuple[];
  /** Its captured bytes at each sighting (those of the inner packet when tunnelled); empty when nobody asks for them. */
  captured: readonly Captured[];
  /** The same at each of `event.hops`. */
  hopCaptured: readonly Captured[];
}

/** A packet on its way through this node, as far as it was seen. */
export interface OpenPacket extends Listed<OpenPacket> {
  id: string;
  /** Addresses of its sk_buffs: several where the kernel copied it. */
  skbs: number[];
  /** Its keys by content, and the addresses that each is of: one, and one more for each translation. */
  contentKeys: number[];
  contentTuples: Tuple[];
  fingerprint: number;
  first: Sighting;
  last: Sighting;
  sightings: Sighting[];
  /** Sightings of kernel functions that handled it. */
  stack: Sighting[];
  /** Of an ICMP error: the sighting of the kernel making it. */
  madeBy: Sighting | undefined;
  conntrack: Sighting['conntrack'];
  /** Drops of it and of its copies, see `fateOf`. */
  drops: Sighting[];
  touchedMs: number;
  isTold: boolean;
  isProvisional: boolean;
}

/** A packet that begins with a sighting. Most have no more than one of each: an array that grows takes room for 17. */
export function newPacket(id: string, sighting: Sighting, fingerprint: number): OpenPacket {
  return {
    id,
    skbs: [sighting.skb],
    contentKeys: [contentKey(fingerprint, sighting.tuple)],
    contentTuples: [sighting.tuple],
    fingerprint,
    first: sighting,
    last: sighting,
    sightings: [sighting],
    stack: [],
    madeBy: undefined,
    conntrack: sighting.conntrack,
    drops: sighting.hook === 'drop' ? [sighting] : [],
    touchedMs: 0,
    isTold: false,
    isProvisional: sighting.provisional,
    list: undefined,
    before: undefined,
    after: undefined,
    listedSightings: 0,
  };
}

export function sightingsOf({ sightings, stack }: OpenPacket): number {
  return sightings.length + stack.length;
}
