import { isDeepStrictEqual } from 'node:util';
import type { Scope } from '../access/scope.ts';
import type { Resolved, Subscription, Target } from '../event/target.ts';
import type { Endpoint, FlowEvent, PacketEvent } from '../event/types.ts';
import type { Place, ServiceAddress } from '../kube/types.ts';
import { addressOf, emptyBits, setBit } from './address-bits.ts';
import { ADDRESS_BITS, type KernelTargets, servicePortKey } from './tracer.ts';

const PROTOCOL_NUMBERS = { tcp: 6, udp: 17, sctp: 132 } as const;

/** Addresses whose owner is not known for certain that a follower who may see some namespaces has at most: a client may name any. */
export const MOST_UNKNOWN = 1024;

/** Resolves selectors against the node's pods and the cluster's Services, see `resolveTargets` in kube. */
export type Resolve = (
  targets: Target[],
  extra: readonly string[],
  allowed: Scope,
) => { pods: Resolved['pods']; addresses: string[]; ownAddresses: string[]; serviceAddresses: ServiceAddress[] };

/** What one follower's subscription stands for now. */
export interface FollowedSet {
  resolved: Resolved;
  addresses: ReadonlySet<string>;
  serviceAddresses: readonly ServiceAddress[];
  wantsEveryPacket: boolean;
  /** More than the headers. */
  wantsBytes: boolean;
  /** Addresses that are not followed because nobody knows whose they are, and there are too many of these. */
  leftOut: number;
}

export interface FollowSetOptions {
  resolve: Resolve;
  /** See `NamesIndex.placeOf` in kube. */
  placeOf(ip: string, namespaces: ReadonlySet<string>): Place;
  /** What the follower may see. */
  allowed: Scope;
  /** Addresses of pods that the API server may not have told of yet: who follows all pods follows these. */
  newborn?: readonly string[];
}

/**
 * Resolves a subscription. Addresses that other agents resolved are followed like own ones, and bring their Services along. Whoever named an address,
 * client, EndpointSlice or Service: one that is known to be of somebody whom the follower may not see is not followed.
 */
export function followedSet(
  subscription: Subscription,
  { resolve, placeOf, allowed, newborn = [] }: FollowSetOptions,
): FollowedSet {
  const early = subscription.targets.some(({ kind }) => kind === 'all') ? newborn : [];
  const may = createBound(allowed, placeOf);
  // A client may write an address in many ways, and each would be another one.
  const named = subscription.addresses.map((ip) => addressOf(ip).text);
  const found = resolve(subscription.targets, [...named, ...early], allowed);
  const { pods, serviceAddresses } = found;
  const addresses = may.choose(new Set([...found.addresses, ...early]));
  return {
    // What others may have as well is not told to them.
    resolved: { pods, addresses },
    addresses: new Set([...addresses, ...may.choose(found.ownAddresses), ...may.choose(named)]),
    serviceAddresses,
    wantsEveryPacket: subscription.units === 'packets',
    wantsBytes: subscription.snapBytes !== undefined,
    leftOut: may.leftOut(),
  };
}

/** Chooses what a follower may follow, the first that are asked about before the later ones. */
function createBound(allowed: Scope, placeOf: FollowSetOptions['placeOf']) {
  const unknown = new Set<string>();
  const left = new Set<string>();
  const isFollowed = (ip: string): boolean => {
    const place = allowed === 'all' ? 'inside' : placeOf(ip, allowed);
    if (place !== 'unknown' || unknown.has(ip)) return place !== 'outside';
    (unknown.size < MOST_UNKNOWN ? unknown : left).add(ip);
    return unknown.has(ip);
  };
  return { choose: (ips: Iterable<string>) => [...ips].filter(isFollowed), leftOut: () => left.size };
}

/** Room in the kernel's `targets`, and as much in its `service_ports`. */
const ROOM = 131_072;

/**
 * The union of all followers for the kernel. The node's own addresses are added as such: a masqueraded reply, and a request to a NodePort, carry
 * nothing else at the uplink. Where there is not room for all, each follower has an equal share first, and then what is left in their order: nobody
 * takes another one's place.
 * @param gained addresses that a follower has come to since the last time, whoever followed them before
 */
export function kernelTargets(
  sets: readonly FollowedSet[],
  ownAddresses: Iterable<string>,
  gained: Iterable<string> = [],
  room = ROOM,
): KernelTargets {
  const targets: KernelTargets = {
    addresses: new Map(),
    gained: new Set(),
    servicePorts: new Set(),
    bits: emptyBits(),
    nodeBits: emptyBits(),
    everyPacket: false,
    leftOut: new Map(),
  };
  const add = (ip: string, kind: number): Uint8Array => {
    const { bytes, hex: key } = addressOf(ip);
    targets.addresses.set(key, (targets.addresses.get(key) ?? 0) | kind);
    setBit(targets.bits, bytes);
    return bytes;
  };
  const isFollowing = sets.some(({ addresses, serviceAddresses }) => addresses.size + serviceAddresses.length > 0);
  if (isFollowing)
    for (const ip of ownAddresses) if (!addressOf(ip).isOfOneHost) setBit(targets.nodeBits, add(ip, ADDRESS_BITS.node));
  const share = shareOf(sets, room - targets.addresses.size);
  const left: { place: number; ip: string; put(): void }[] = [];
  for (const [place, set] of sets.entries()) {
    const every = set.wantsEveryPacket ? ADDRESS_BITS.every : 0;
    const snap = set.wantsBytes ? ADDRESS_BITS.snap : 0;
    if (set.wantsEveryPacket) targets.everyPacket = true;
    let count = 0;
    const offer = (ip: string, put: () => void): void => {
      count += 1;
      if (count <= share) put();
      else left.push({ place, ip, put });
    };
    for (const ip of set.addresses) offer(ip, () => void add(ip, ADDRESS_BITS.followed | every | snap));
    for (const { ip, port, proto } of set.serviceAddresses) {
      const number = PROTOCOL_NUMBERS[proto];
      offer(ip, () => void targets.servicePorts.add(servicePortKey(add(ip, ADDRESS_BITS.service), port, number)));
    }
  }
  for (const { place, ip, put } of left) {
    const isThere = targets.addresses.has(addressOf(ip).hex);
    if ((isThere || targets.addresses.size < room) && targets.servicePorts.size < room) put();
    else targets.leftOut.set(place, (targets.leftOut.get(place) ?? 0) + 1);
  }
  for (const ip of gained) targets.gained.add(addressOf(ip).hex);
  return targets;
}

/** How much each may have that everybody has it; of overlaps nothing is known yet. */
function shareOf(sets: readonly FollowedSet[], room: number): number {
  const all = sets.reduce((sum, { addresses, serviceAddresses }) => sum + addresses.size + serviceAddresses.length, 0);
  return all <= room ? all : Math.floor(room / sets.length);
}

/** Whether two resolutions of a subscription stand for the same. */
export function isSameSet(one: FollowedSet, other: FollowedSet): boolean {
  return (
    isSameResolved(one.resolved, other.resolved) &&
    one.addresses.size === other.addresses.size &&
    [...other.addresses].every((ip) => one.addresses.has(ip)) &&
    isSameList(one.serviceAddresses, other.serviceAddresses, isSameService) &&
    one.wantsEveryPacket === other.wantsEveryPacket &&
    one.wantsBytes === other.wantsBytes &&
    one.leftOut === other.leftOut
  );
}

export function isSameResolved(one: Resolved, other: Resolved): boolean {
  return (
    isSameList(one.addresses, other.addresses, (ip, otherIp) => ip === otherIp) &&
    isSameList(one.pods, other.pods, (pod, otherPod) => isDeepStrictEqual(pod, otherPod))
  );
}

function isSameService(one: ServiceAddress, other: ServiceAddress): boolean {
  return one.ip === other.ip && one.port === other.port && one.proto === other.proto;
}

function isSameList<T>(one: readonly T[], other: readonly T[], isSame: (a: T, b: T) => boolean): boolean {
  return one.length === other.length && one.every((item, at) => isSame(item, other[at] as T));
}

/** True when one of the record's addresses, before or after translation or quoted, is a followed one. */
export function isWanted(set: FollowedSet, event: PacketEvent | FlowEvent): boolean {
  const has = ({ ip }: Endpoint) => set.addresses.has(ip);
  if (has(event.src) || has(event.dst)) return true;
  if (event.nat?.some(({ before, after }) => has(before) || has(after)) === true) return true;
  if (event.kind !== 'packet' || event.icmp?.about === undefined) return false;
  const { src, dst, nat } = event.icmp.about;
  return has(src) || has(dst) || nat?.some(({ before, after }) => has(before) || has(after)) === true;
}
