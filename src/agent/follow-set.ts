import { isDeepStrictEqual } from 'node:util';
import type { Scope } from '../access/scope.ts';
import type { Resolved, Subscription, Target } from '../event/target.ts';
import type { Endpoint, FlowEvent, PacketEvent } from '../event/types.ts';
import type { Changes } from '../kube/changes.ts';
import { type Basis, isTouched, type ResolvedTargets } from '../kube/targets.ts';
import type { Place, ServiceAddress } from '../kube/types.ts';
import { addressOf, emptyBits, type KnownAddress, setBit } from './address-bits.ts';
import { ADDRESS_BITS, type KernelTargets, servicePortKey } from './tracer.ts';

const PROTOCOL_NUMBERS = { tcp: 6, udp: 17, sctp: 132 } as const;

/** Addresses whose owner is not known for certain that a follower who may see some namespaces has at most: a client may name any. */
export const MOST_UNKNOWN = 1024;

/** Resolves selectors against the node's pods and the cluster's Services, see `resolveTargets` in kube. */
export type Resolve = (targets: Target[], extra: readonly string[], allowed: Scope) => ResolvedTargets;

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
  /** Addresses that are not followed, and may be when their owner is another one. */
  refused: ReadonlySet<string>;
  /** What the targets were resolved from. */
  basis: Basis;
  /** The addresses of new pods that are followed; undefined where not all pods are. */
  newborn: readonly string[] | undefined;
  /** The account that follows; undefined or empty where nobody asks whose it is. */
  owner?: string | undefined;
}

/** What the kernel is asked for one follower. */
export type KernelSet = Pick<FollowedSet, 'addresses' | 'serviceAddresses' | 'wantsEveryPacket' | 'wantsBytes' | 'owner'>;

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
  const isOfAll = subscription.targets.some(({ kind }) => kind === 'all');
  const early = isOfAll ? newborn : [];
  const may = createBound(allowed, placeOf);
  // A client may write an address in many ways, and each would be another one.
  const named = subscription.addresses.map((ip) => addressOf(ip).text);
  const found = resolve(subscription.targets, [...named, ...early], allowed);
  const { pods, serviceAddresses, unresolved } = found;
  const addresses = may.choose(early.length === 0 ? found.addresses : new Set([...found.addresses, ...early]));
  return {
    // What others may have as well is not told to them.
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

/**
 * Whether a subscription that stood for this set may stand for another one after these changes.
 * @param newborn the addresses of new pods now
 */
export function isSetTouched(set: FollowedSet, changes: Changes, newborn: readonly string[]): boolean {
  const { addresses, refused, basis } = set;
  if (set.newborn !== undefined && !isSameList(set.newborn, newborn, (ip, otherIp) => ip === otherIp)) return true;
  return isTouched(basis, (ip) => addresses.has(ip) || refused.has(ip), changes);
}

/** Chooses what a follower may follow, the first that are asked about before the later ones. */
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
 * The union of all followers for the kernel. The node's own addresses are added as such: a masqueraded reply, and a request to a NodePort, carry
 * nothing else at the uplink. Where there is not room for all, each owner has an equal share first, however many follows are theirs, and then what is
 * left in their order: nobody takes another one's place. Followers without an owner are each their own.
 * @param gained addresses that a follower has come to since the last time, whoever followed them before
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
    everyPacket: sets.some(({ wantsEveryPacket }) => wantsEveryPacket),
    leftOut: new Map(),
  };
  const isFollowing = sets.some(({ addresses, serviceAddresses }) => addresses.size + serviceAddresses.length > 0);
  for (const ip of isFollowing ? ownAddresses : []) {
    const address = addressOf(ip);
    if (address.isOfOneHost) continue;
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
  const every = set.wantsEveryPacket ? ADDRESS_BITS.every : 0;
  const snap = set.wantsBytes ? ADDRESS_BITS.snap : 0;
  const kinds = ADDRESS_BITS.followed | every | snap;
  return entriesOf(set).map((entry) => ({ place, entry, kinds }));
}

function addTo(targets: KernelTargets, { hex, bit }: KnownAddress, kinds: number): void {
  targets.addresses.set(hex, (targets.addresses.get(hex) ?? 0) | kinds);
  setBit(targets.bits, bit);
}

function putIn(targets: KernelTargets, { entry, kinds }: Wish): void {
  if (!('servicePort' in entry)) {
    addTo(targets, entry, kinds);
    return;
  }
  addTo(targets, entry.address, ADDRESS_BITS.service);
  targets.servicePorts.add(entry.servicePort);
}

/**
 * Puts what each owner has for certain, and gives the rest: how much of it is the same is not known yet. Of an owner's share each of its follows has an equal
 * part, and then what the others of the same owner leave of theirs.
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

/** A followed address, or one of a Service with its key of `service_ports`. */
type KernelEntry = KnownAddress | { address: KnownAddress; servicePort: string };

/** What is not resolved again keeps its set. */
const knownEntries = new WeakMap<KernelSet, readonly KernelEntry[]>();

/** A set as the kernel's maps have it, made out once. */
function entriesOf(set: KernelSet): readonly KernelEntry[] {
  const known = knownEntries.get(set);
  if (known !== undefined) return known;
  const entries: KernelEntry[] = [];
  for (const ip of set.addresses) entries.push(addressOf(ip));
  for (const { ip, port, proto } of set.serviceAddresses) {
    const address = addressOf(ip);
    entries.push({ address, servicePort: servicePortKey(address.bytes, port, PROTOCOL_NUMBERS[proto]) });
  }
  knownEntries.set(set, entries);
  return entries;
}

/** Whether the kernel gets the same of two sets of own addresses: what each host has for itself it does not get. */
export function isSameOwn(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  const isLocal = (ip: string) => addressOf(ip).isOfOneHost;
  return one === other || (hasAll(one, other, isLocal) && hasAll(other, one, isLocal));
}

/** Whether all of `ips` are among others, but for those that do not matter. */
function hasAll(others: ReadonlySet<string>, ips: ReadonlySet<string>, isNothing = (_ip: string) => false): boolean {
  for (const ip of ips) if (!others.has(ip) && !isNothing(ip)) return false;
  return true;
}

/** Whether two resolutions of a subscription stand for the same. */
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

/** True when one of the record's addresses, before or after translation or quoted, is a followed one. */
export function isWanted(set: FollowedSet, event: PacketEvent | FlowEvent): boolean {
  const has = ({ ip }: Endpoint) => set.addresses.has(ip);
  if (has(event.src) || has(event.dst)) return true;
  if (event.nat?.some(({ before, after }) => has(before) || has(after)) === true) return true;
  if (event.kind !== 'packet' || event.icmp?.about === undefined) return false;
  const { src, dst, nat } = event.icmp.about;
  return has(src) || has(dst) || nat?.some(({ before, after }) => has(before) || has(after)) === true;
}
