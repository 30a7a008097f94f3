import type { Resolved, Subscription, Target } from '../event/target.ts';
import type { Endpoint, FlowEvent, PacketEvent } from '../event/types.ts';
import type { ServiceAddress } from '../kube/types.ts';
import { isOfOneHost } from '../util/address.ts';
import { bytesOf, emptyBits, setBit } from './address-bits.ts';
import { ADDRESS_BITS, type KernelTargets, servicePortKey } from './tracer.ts';

const PROTOCOL_NUMBERS = { tcp: 6, udp: 17, sctp: 132 } as const;

/** Resolves selectors against the node's pods and the cluster's Services, see `resolveTargets` in kube. */
export type Resolve = (
  targets: Target[],
  extra: readonly string[],
) => { pods: Resolved['pods']; addresses: string[]; ownAddresses: string[]; serviceAddresses: ServiceAddress[] };

/** What one follower's subscription stands for now. */
export interface FollowedSet {
  resolved: Resolved;
  addresses: ReadonlySet<string>;
  serviceAddresses: readonly ServiceAddress[];
  wantsEveryPacket: boolean;
  /** More than the headers. */
  wantsBytes: boolean;
}

/**
 * Resolves a subscription. Addresses that other agents resolved are followed like own ones, and bring their Services along.
 * @param newborn addresses of pods that the API server may not have told of yet: who follows all pods follows these
 */
export function followedSet(subscription: Subscription, resolve: Resolve, newborn: readonly string[] = []): FollowedSet {
  const early = subscription.targets.some(({ kind }) => kind === 'all') ? newborn : [];
  const found = resolve(subscription.targets, [...subscription.addresses, ...early]);
  const { pods, serviceAddresses, ownAddresses } = found;
  const addresses = [...new Set([...found.addresses, ...early])];
  return {
    // What others may have as well is not told to them.
    resolved: { pods, addresses },
    addresses: new Set([...addresses, ...ownAddresses, ...subscription.addresses]),
    serviceAddresses,
    wantsEveryPacket: subscription.units === 'packets',
    wantsBytes: subscription.snapBytes !== undefined,
  };
}

/**
 * The union of all followers for the kernel. The node's own addresses are added as such: a masqueraded reply, and a request to a NodePort, carry
 * nothing else at the uplink.
 * @param gained addresses that a follower has come to since the last time, whoever followed them before
 */
export function kernelTargets(
  sets: Iterable<FollowedSet>,
  ownAddresses: Iterable<string>,
  gained: Iterable<string> = [],
): KernelTargets {
  const targets: KernelTargets = {
    addresses: new Map(),
    gained: new Set(),
    servicePorts: new Set(),
    bits: emptyBits(),
    nodeBits: emptyBits(),
    everyPacket: false,
  };
  const add = (ip: string, kind: number): Uint8Array => {
    const bytes = bytesOf(ip);
    const key = hexOf(bytes);
    targets.addresses.set(key, (targets.addresses.get(key) ?? 0) | kind);
    setBit(targets.bits, bytes);
    return bytes;
  };
  for (const set of sets) {
    const every = set.wantsEveryPacket ? ADDRESS_BITS.every : 0;
    const snap = set.wantsBytes ? ADDRESS_BITS.snap : 0;
    for (const ip of set.addresses) add(ip, ADDRESS_BITS.followed | every | snap);
    for (const { ip, port, proto } of set.serviceAddresses) {
      targets.servicePorts.add(servicePortKey(add(ip, ADDRESS_BITS.service), port, PROTOCOL_NUMBERS[proto]));
    }
    if (set.wantsEveryPacket) targets.everyPacket = true;
  }
  for (const ip of gained) targets.gained.add(hexOf(bytesOf(ip)));
  if (targets.addresses.size > 0)
    for (const ip of ownAddresses) if (!isOfOneHost(ip)) setBit(targets.nodeBits, add(ip, ADDRESS_BITS.node));
  return targets;
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
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
