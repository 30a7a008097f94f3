import { isDeepStrictEqual } from 'node:util';
import type { Scope } from '../../access/scope.ts';
import type { Resolved, Subscription, Target } from '../../event/target.ts';
import type { Endpoint, FlowEvent, PacketEvent } from '../../event/types.ts';
import type { Changes } from '../../kube/index/changes.ts';
import type { Place, ServiceAddress } from '../../kube/index/types.ts';
import { type Basis, isTouched, type ResolvedTargets } from '../../kube/targets.ts';
import { addressOf, emptyBits, type KnownAddress, setBit } from '../kernel/address-bits.ts';
import { ADDRESS_BITS, type KernelTargets, servicePortKey } from '../kernel/target-maps.ts';
import { diedBefore } from './service-addresses.ts';

const PROTOCOL_NUMBERS = { tcp: 6, udp: 17, sctp: 132 } as const;

/** The most addresses of unknown owners that are followed for somebody who may see some namespaces only: a client may name any address. */
export const MOST_UNKNOWN = 1024;

/** Resolves targets against the node's pods and the cluster's Services; see `resolveTargets` in kube. */
export type Resolve = (targets: Target[], extra: readonly string[], allowed: Scope) => ResolvedTargets;

/** What one follower's subscription resolves to. It is never changed: another resolution is another set. */
export interface FollowedSet {
  resolved: Resolved;
  addresses: ReadonlySet<string>;
  serviceAddresses: readonly ServiceAddress[];
  wantsEveryPacket: boolean;
  /** It wants more of each packet than the headers. */
  wantsBytes: boolean;
  /** How many addresses of unknown owners are left out, over {@link MOST_UNKNOWN}. */
  leftOut: number;
  /** Addresses that are not followed because of their owner, or for being over {@link MOST_UNKNOWN}. */
  refused: ReadonlySet<string>;
  /** What the resolution depends on. */
  basis: Basis;
  /** The addresses of new pods that it was resolved with; undefined when it does not follow all pods. */
  newborn: readonly string[] | undefined;
  /** The account that follows; undefined or empty where nobody asks whose it is. */
  owner?: string | undefined;
}

/** What the kernel's maps need of a set. */
export type KernelSet = Pick<FollowedSet, 'addresses' | 'serviceAddresses' | 'wantsEveryPacket' | 'wantsBytes' | 'owner'>;

export interface FollowSetOptions {
  resolve: Resolve;
  /** See `NamesIndex.placeOf` in kube. */
  placeOf(ip: string, namespaces: ReadonlySet<string>): Place;
  /** What the follower may see. */
  allowed: Scope;
  /** Addresses inside new pods, which the API server may not have reported yet. They are followed where all pods are. */
  newborn?: readonly string[];
}

/**
 * Resolves a subscription. Addresses that other agents resolved are followed like own ones, together with their Services. An address that is known to
 * belong to something that the follower may not see is not followed, whether a client, an EndpointSlice or a Service named it.
 */
export function followedSet(
  subscription: Subscription,
  { resolve, placeOf, allowed, newborn = [] }: FollowSetOptions,
): FollowedSet {
  const isOfAll = subscription.targets.some(({ kind }) => kind === 'all');
  const early = isOfAll ? newborn : [];
  const may = createBound(allowed, placeOf);
  const named = canonical(subscription.addresses);
  const found = resolve(subscription.targets, [...named, ...early], allowed);
  const { pods, serviceAddresses, unresolved } = found;
  const addresses = may.choose(early.length === 0 ? found.addresses : new Set([...found.addresses, ...early]));
  return {
    // Own addresses, which other nodes may have as well, are not among those that other agents are asked to follow.
    resolved: { pods, addresses, ...(unresolved.length === 0 ? {} : { unresolved }) },
    addresses: new Set([...addresses, ...may.choose(found.ownAddresses), ...may.choose(named)]),
    serviceAddresses,
    wantsEveryPacket: subscription.units === 'packets',
    wantsBytes: subscription.snapBytes !== undefined,
    leftOut: may.leftOut(),
    refused: may.refused,
    basis: found.basis,
    newborn: isOfAll ? newborn : undefined,
  };
}

const knownCanonical = new WeakMap<readonly string[], readonly string[]>();

/** Addresses as events write them: a client may write one in several ways. A subscription's are looked at once, and there may be 65,536. */
function canonical(addresses: readonly string[]): readonly string[] {
  const known = knownCanonical.get(addresses) ?? addresses.map((ip) => addressOf(ip).text);
  knownCanonical.set(addresses, known);
  return known;
}

/**
 * Whether a subscription that resolved to this set may resolve to another one after these changes.
 * @param newborn the addresses inside new pods now
 */
export function isSetTouched(set: FollowedSet, changes: Changes, newborn: readonly string[]): boolean {
  const { addresses, refused, basis } = set;
  if (set.newborn !== undefined && !isSameList(set.newborn, newborn, (ip, otherIp) => ip === otherIp)) return true;
  return isTouched(basis, (ip) => addresses.has(ip) || refused.has(ip), changes);
}

/** Chooses the addresses that a follower may follow. Where there are too many of unknown owners, those that come first. */
function createBound(allowed: Scope, placeOf: FollowSetOptions['placeOf']) {
  const unknown = new Set<string>();
  const refused = new Set<string>();
  if (allowed === 'all') return { choose: (ips: Iterable<string>) => [...ips], leftOut: () => 0, refused };
  let leftOut = 0;
  const isFollowed = (ip: string): boolean => {
    const place = placeOf(ip, allowed);
    if (place === 'inside' || unknown.has(ip)) return true;
    if (place === 'unknown' && unknown.size < MOST_UNKNOWN) {
      unknown.add(ip);
      return true;
    }
    if (place === 'unknown' && !refused.has(ip)) leftOut += 1;
    refused.add(ip);
    return false;
  };
  return { choose: (ips: Iterable<string>) => [...ips].filter(isFollowed), leftOut: () => leftOut, refused };
}

/** Room in the kernel's `targets`, and as much in its `service_ports`. */
const ROOM = 131_072;

/**
 * The union of all followers for the kernel's maps. The node's own addresses are added as such: a masqueraded reply, and a request to a NodePort, have
 * no other address at the uplink. When there is not room for all, each owner gets an equal share, however many follows are theirs, and what is left goes to
 * followers in their order: no owner can take the share of another. Followers without an owner are each their own.
 * @param gained addresses that are new to a follower since the last time, whoever followed them before
 */
export function kernelTargets(
  sets: readonly KernelSet[],
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
    followedBits: emptyBits(),
    servicePortBits: emptyBits(),
    everyPacket: sets.some(({ wantsEveryPacket }) => wantsEveryPacket),
    leftOut: new Map(),
  };
  const isFollowing = sets.some(({ addresses, serviceAddresses }) => addresses.size + serviceAddresses.length > 0);
  for (const ip of isFollowing ? ownAddresses : []) {
    const address = addressOf(ip);
    if (address.isLocalScope) continue;
    addTo(targets, address, ADDRESS_BITS.node);
    setBit(targets.nodeBits, address.bit);
  }
  for (const wish of putShares(targets, sets, room - targets.addresses.size)) {
    const { place, entry } = wish;
    const { hex } = 'servicePort' in entry ? entry.address : entry;
    const isThere = targets.addresses.has(hex);
    if ((isThere || targets.addresses.size < room) && targets.servicePorts.size < room) putIn(targets, wish);
    else targets.leftOut.set(place, (targets.leftOut.get(place) ?? 0) + 1);
  }
  for (const ip of gained) targets.gained.add(addressOf(ip).hex);
  return targets;
}

/** An entry that the follower at a place of the list asks for. */
interface Wish {
  place: number;
  entry: KernelEntry;
  kinds: number;
}

function wishesOf(set: KernelSet, place: number): Wish[] {
  const kinds = kindsOf(set);
  return entriesOf(set).map((entry) => ({ place, entry, kinds }));
}

/** What a set's addresses are to the kernel: ADDRESS bits. */
export function kindsOf({ wantsEveryPacket, wantsBytes }: Pick<KernelSet, 'wantsEveryPacket' | 'wantsBytes'>): number {
  return ADDRESS_BITS.followed | (wantsEveryPacket ? ADDRESS_BITS.every : 0) | (wantsBytes ? ADDRESS_BITS.snap : 0);
}

function addTo(targets: KernelTargets, { hex, bit }: KnownAddress, kinds: number): void {
  const all = (targets.addresses.get(hex) ?? 0) | kinds;
  targets.addresses.set(hex, all);
  setBit(targets.bits, bit);
  if ((kinds & ADDRESS_BITS.followed) !== 0) setBit(targets.followedBits, bit);
}

function putIn(targets: KernelTargets, { entry, kinds }: Wish): void {
  if (!('servicePort' in entry)) {
    addTo(targets, entry, kinds);
    return;
  }
  addTo(targets, entry.address, ADDRESS_BITS.service);
  targets.servicePorts.add(entry.servicePort);
  setBit(targets.servicePortBits, entry.port);
}

/**
 * Puts what each owner gets for certain, and returns the rest. Overlaps are not known yet, and count more than once. Each follow of an owner gets an equal
 * part of the owner's share, and then what the owner's other follows leave of theirs.
 */
function putShares(targets: KernelTargets, sets: readonly KernelSet[], room: number): Wish[] {
  const all = sets.reduce((sum, { addresses, serviceAddresses }) => sum + addresses.size + serviceAddresses.length, 0);
  if (all <= room) {
    for (const [place, set] of sets.entries()) for (const wish of wishesOf(set, place)) putIn(targets, wish);
    return [];
  }
  const byOwner = Map.groupBy(sets.entries(), ([place, { owner }]) => owner || place);
  const share = Math.floor(room / byOwner.size);
  return [...byOwner.values()].flatMap((own) => {
    const part = Math.floor(share / own.length);
    const wishes = own.map(([place, set]) => wishesOf(set, place));
    const certain = wishes.flatMap((one) => one.slice(0, part));
    const more = wishes.flatMap((one) => one.slice(part));
    const rest = share - certain.length;
    for (const wish of [...certain, ...more.slice(0, rest)]) putIn(targets, wish);
    return more.slice(rest);
  });
}

/** A followed address, or a Service's address with the key of its port in `service_ports`. */
type KernelEntry = KnownAddress | { address: KnownAddress; port: number; servicePort: string };

/** By set: followers that a change does not touch keep theirs. */
const knownEntries = new WeakMap<KernelSet, readonly KernelEntry[]>();

/** The entries of the kernel's maps for a set, computed once. */
function entriesOf(set: KernelSet): readonly KernelEntry[] {
  const known = knownEntries.get(set);
  if (known !== undefined) return known;
  const entries: KernelEntry[] = [];
  for (const ip of set.addresses) entries.push(addressOf(ip));
  for (const { ip, port, proto } of set.serviceAddresses) {
    const address = addressOf(ip);
    entries.push({ address, port, servicePort: servicePortKey(address.bytes, port, PROTOCOL_NUMBERS[proto]) });
  }
  knownEntries.set(set, entries);
  return entries;
}

/** Whether two sets of own addresses are the same to the kernel, which is not given loopback and link-local ones. */
export function isSameOwn(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  const isLocal = (ip: string) => addressOf(ip).isLocalScope;
  return one === other || (hasAll(one, other, isLocal) && hasAll(other, one, isLocal));
}

/** Whether `others` has all of `ips`, apart from those that `isNothing` leaves out. */
function hasAll(others: ReadonlySet<string>, ips: ReadonlySet<string>, isNothing = (_ip: string) => false): boolean {
  for (const ip of ips) if (!others.has(ip) && !isNothing(ip)) return false;
  return true;
}

/** Whether two resolutions of a subscription are the same to its follower and to the kernel. */
export function isSameSet(one: FollowedSet, other: FollowedSet): boolean {
  return (
    isSameResolved(one.resolved, other.resolved) &&
    one.addresses.size === other.addresses.size &&
    hasAll(one.addresses, other.addresses) &&
    isSameList(one.serviceAddresses, other.serviceAddresses, isSameService) &&
    one.wantsEveryPacket === other.wantsEveryPacket &&
    one.wantsBytes === other.wantsBytes &&
    one.leftOut === other.leftOut
  );
}

export function isSameResolved(one: Resolved, other: Resolved): boolean {
  return (
    isSameList(one.addresses, other.addresses, (ip, otherIp) => ip === otherIp) &&
    isSameList(one.unresolved ?? [], other.unresolved ?? [], (place, otherPlace) => place === otherPlace) &&
    isSameList(one.pods, other.pods, (pod, otherPod) => isDeepStrictEqual(pod, otherPod))
  );
}

function isSameService(one: ServiceAddress, other: ServiceAddress): boolean {
  return one.ip === other.ip && one.port === other.port && one.proto === other.proto;
}

function isSameList<T>(one: readonly T[], other: readonly T[], isSame: (a: T, b: T) => boolean): boolean {
  return one.length === other.length && one.every((item, at) => isSame(item, other[at] as T));
}

/** Whether one of the record's addresses is followed, or would have been: its own, those before and after translation, those that an ICMP error quotes. */
export function isWanted(set: FollowedSet, event: PacketEvent | FlowEvent): boolean {
  const has = ({ ip }: Endpoint) => set.addresses.has(ip);
  if (has(event.src) || has(event.dst)) return true;
  if (event.nat?.some(({ before, after }) => has(before) || has(after)) === true) return true;
  if (event.kind !== 'packet') return false;
  if (event.icmp?.about === undefined) return diedBefore(set.serviceAddresses, event);
  const { src, dst, nat } = event.icmp.about;
  return has(src) || has(dst) || nat?.some(({ before, after }) => has(before) || has(after)) === true;
}
