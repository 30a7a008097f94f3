import { isDeepStrictEqual } from 'node:util';
import type { Scope } from '../../access/scope.ts';
import type { Resolved, Subscription } from '../../event/target.ts';
import type { NoticeEvent } from '../../event/types.ts';
import { type Change, Changes } from '../../kube/index/changes.ts';
import { messageOf } from '../../util/errors.ts';
import type { Guard } from '../../util/guard.ts';
import type { Logger } from '../../util/log.ts';
import type { Interfaces } from '../kernel/interfaces.ts';
import type { TargetMaps } from '../kernel/target-maps.ts';
import type { Sink } from './feed.ts';
import {
  type FollowedSet,
  type FollowSetOptions,
  followedSet,
  isSameOwn,
  isSameResolved,
  isSameSet,
  isSetTouched,
  kernelTargets,
  kindsOf,
  MOST_UNKNOWN,
} from './follow-set.ts';
import type { Notices } from './notices/notices.ts';

/** Changes of pods and Services come in bursts: they are collected for this long. */
const RESOLVE_DELAY_MS = 50;
/** Resolving pauses for this many times as long as it took: the same thread reads the ring, and at most a tenth of its time goes to this. */
const RESOLVE_REST = 10;
const NONE: ReadonlySet<string> = new Set();

/** A change that targets may depend on: of the cluster, or of the addresses that were found inside new pods. */
export type TargetChange = Change | { kind: 'pod-addresses' };

/** One follower. */
export interface Following {
  subscription: Subscription;
  /** What it may see. */
  allowed: Scope;
  readonly sink: Sink;
  /** What the subscription resolves to. */
  set: FollowedSet;
  /** Something that `set` depends on has changed since it was resolved. */
  isTouched: boolean;
  /** The addresses that the kernel was last given for this follower. */
  given: ReadonlySet<string>;
  /** The resolution that was last delivered to it. */
  told: Resolved | undefined;
  /** The notice that was last delivered to it about addresses that are left out. */
  leftOutText: string;
}

export interface FollowersOptions {
  naming: Pick<FollowSetOptions, 'resolve' | 'placeOf'>;
  tracer: { targets: Pick<TargetMaps, 'set' | 'add'> };
  interfaces: Pick<Interfaces, 'ownAddresses' | 'newPodAddresses'>;
  notices: Notices;
  guard: Guard;
  log: Logger;
  /** Delivers a notice to one follower. */
  tell(following: Following, notice: NoticeEvent): void;
  /** Called when the kernel's maps are not up to date. It has to call {@link Followers.give} once packets can be taken in. */
  changed(): void;
  /** Entries of the kernel's tables of targets, in place of as many as they have. */
  targetRoom?: number | undefined;
  /** Milliseconds of a clock that is never stepped. */
  nowMs?: (() => number) | undefined;
}

/** The followers: their subscriptions, what these resolve to as the cluster changes, and what the kernel was given of it. */
export class Followers {
  readonly #options: FollowersOptions;
  readonly #all = new Set<Following>();
  readonly #nowMs: () => number;
  /** Changes that no follower was checked against yet. */
  #changes = new Changes();
  #isResolving = false;
  #resolveCostMs = 0;
  /** The node's own addresses that the kernel was last given. */
  #givenOwn = NONE;
  /** The kernel's maps are not up to date: something has changed since, was refused, or failed. */
  #isBehind = false;

  constructor(options: FollowersOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
  }

  get size(): number {
    return this.#all.size;
  }

  [Symbol.iterator](): Iterator<Following> {
    return this.#all.values();
  }

  /** Throws, and adds nobody, when the subscription cannot be resolved. The resolution is delivered by {@link tellResolved}. */
  add(subscription: Subscription, sink: Sink, allowed: Scope): Following {
    const set = this.#resolve({ subscription, allowed, sink });
    const following: Following = {
      ...{ subscription, allowed, sink, set },
      ...{ isTouched: false, given: NONE, told: undefined, leftOutText: '' },
    };
    this.#all.add(following);
    this.#isBehind = true;
    return following;
  }

  /** Throws, and changes nothing, when the subscription cannot be resolved. */
  update(following: Following, subscription: Subscription, allowed: Scope): void {
    const set = this.#resolve({ subscription, allowed, sink: following.sink });
    // With another filter, or more of each packet, flows that were emitted already have to be emitted again.
    if (!asksTheSame(following.subscription, subscription)) following.given = NONE;
    following.subscription = subscription;
    following.allowed = allowed;
    following.set = set;
    following.isTouched = false;
    this.#isBehind = true;
    this.tellResolved(following);
  }

  /** False when it was removed before. */
  remove(following: Following): boolean {
    const wasThere = this.#all.delete(following);
    if (wasThere) this.#isBehind = true;
    return wasThere;
  }

  clear(): void {
    this.#all.clear();
  }

  /** Delivers a follower's resolution to it, when it differs from the last one. */
  tellResolved(following: Following): void {
    const { resolved } = following.set;
    if (following.told !== undefined && isSameResolved(following.told, resolved)) return;
    following.told = resolved;
    following.sink.resolved(resolved);
  }

  /** Resolves those followers again that a change touches. Changes are collected for a moment first. */
  resolveAgain(change: TargetChange): void {
    if (this.#all.size === 0) return;
    if (change.kind === 'pod-addresses') this.#options.guard.run('targets', () => this.#followNewborn());
    else this.#changes.add(change);
    if (this.#isResolving) return;
    this.#isResolving = true;
    const resolve = this.#options.guard.wrap('targets', () => {
      this.#isResolving = false;
      const startedMs = this.#nowMs();
      try {
        this.#resolveTouched();
      } finally {
        this.#resolveCostMs = this.#nowMs() - startedMs;
      }
    });
    setTimeout(resolve, Math.max(RESOLVE_DELAY_MS, this.#resolveCostMs * RESOLVE_REST));
  }

  /** Brings the kernel's maps up to date. What the kernel refuses is reported to the followers; the rest is in place. */
  give(): void {
    const { tracer, interfaces, notices, log, targetRoom } = this.#options;
    this.#isBehind = true;
    const all = [...this.#all];
    const sets = all.map(({ set }) => set);
    try {
      const targets = kernelTargets(sets, interfaces.ownAddresses, this.#gained(), targetRoom);
      for (const [place, following] of all.entries()) this.#tellLeftOut(following, targets.leftOut.get(place) ?? 0);
      this.#givenOwn = interfaces.ownAddresses;
      tracer.targets.set(targets);
      this.#isBehind = false;
      notices.withdraw('KTRACE_N_TARGETS_INCOMPLETE');
    } catch (error) {
      log.error({ err: messageOf(error) }, 'not all targets could be followed');
      const text = `some of what is followed is not seen on this node: ${messageOf(error)}`;
      // Every change tries again, and may be refused for the same reason.
      notices.update({ code: 'KTRACE_N_TARGETS_INCOMPLETE', text, level: 'warn' });
    }
  }

  /** Empties the kernel's maps until the next {@link give}. */
  takeBack(): void {
    this.#isBehind = true;
    this.#options.tracer.targets.set(kernelTargets([], []));
  }

  /**
   * Follows the addresses of new pods at once, where all pods are followed: a pod's first packets come within milliseconds, and resolving may be put off
   * for longer. What else depends on them is resolved then.
   */
  #followNewborn(): void {
    const { interfaces, tracer } = this.#options;
    // The kernel does not have all of the followers yet: it gets these with the rest.
    if (this.#isBehind) return;
    const newborn = interfaces.newPodAddresses();
    for (const following of this.#all) {
      const { set, given } = following;
      if (set.newborn === undefined || following.allowed !== 'all') continue;
      const fresh = newborn.filter((ip) => !set.addresses.has(ip));
      if (fresh.length === 0) continue;
      tracer.targets.add(fresh, kindsOf(set));
      following.set = { ...set, addresses: new Set([...set.addresses, ...fresh]) };
      // They are told from now on: not again when the resolution has them.
      following.given = given === set.addresses ? following.set.addresses : new Set([...given, ...fresh]);
    }
  }

  #resolveTouched(): void {
    const { guard, interfaces, changed } = this.#options;
    const newborn = interfaces.newPodAddresses();
    const changes = this.#changes;
    for (const following of this.#all) following.isTouched ||= isSetTouched(following.set, changes, newborn);
    this.#changes = new Changes();
    // One that cannot be resolved does not stop the others. It stays touched, and the next change tries again.
    for (const following of this.#all) if (following.isTouched) guard.run('targets', () => this.#renew(following));
    if (this.#isBehind || !isSameOwn(interfaces.ownAddresses, this.#givenOwn)) changed();
  }

  #renew(following: Following): void {
    const set = this.#resolve(following);
    const isSame = isSameSet(following.set, set);
    // Kept also when it resolves to the same: it may depend on other objects now.
    following.set = set;
    following.isTouched = false;
    if (isSame) return;
    this.#isBehind = true;
    this.tellResolved(following);
  }

  #resolve({ subscription, allowed, sink }: Pick<Following, 'subscription' | 'allowed' | 'sink'>): FollowedSet {
    const { naming, interfaces } = this.#options;
    const set = followedSet(subscription, {
      resolve: naming.resolve,
      placeOf: naming.placeOf,
      allowed,
      newborn: interfaces.newPodAddresses(),
    });
    return { ...set, owner: sink.identity };
  }

  #tellLeftOut(following: Following, withoutRoom: number): void {
    const text = textOfLeftOut(following.set.leftOut, withoutRoom);
    if (text === following.leftOutText) return;
    following.leftOutText = text;
    const { tell, notices } = this.#options;
    if (text !== '') tell(following, notices.event({ code: 'KTRACE_N_TARGETS_INCOMPLETE', text, level: 'warn' }));
  }

  /** Addresses that are new to a follower. Their flows have to be emitted again for it, even when others follow them already. */
  #gained(): Set<string> {
    const gained = new Set<string>();
    for (const following of this.#all) {
      const { addresses } = following.set;
      if (addresses === following.given) continue;
      for (const ip of addresses) if (!following.given.has(ip)) gained.add(ip);
      following.given = addresses;
    }
    return gained;
  }
}

function textOfLeftOut(unknown: number, withoutRoom: number): string {
  const reasons: string[] = [];
  if (unknown > 0) reasons.push(`${unknown} that this node does not know the owner of, over ${MOST_UNKNOWN}`);
  if (withoutRoom > 0) reasons.push(`${withoutRoom} that the kernel’s tables have no room for beside other followers’`);
  return reasons.length === 0 ? '' : `addresses are not followed on this node: ${reasons.join('; ')}`;
}

/** Whether two subscriptions differ in nothing but what they follow. */
function asksTheSame(one: Subscription, other: Subscription): boolean {
  const { targets: _targets, addresses: _addresses, ...asked } = one;
  const { targets: _otherTargets, addresses: _otherAddresses, ...otherAsked } = other;
  return isDeepStrictEqual(asked, otherAsked);
}
