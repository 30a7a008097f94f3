import { RETENTION_MS } from '../../event/gone.ts';
import type { PodRef } from '../../event/types.ts';
import { type AddressBook, ownerKey } from './address-book.ts';
import { currentHolder, endOf, everybody } from './claims.ts';
import type { PodFact } from './facts.ts';
import type { NamedPod, PodOwner, PodRecord, PodVersion } from './pod-records.ts';
import { type RemotePod, type RemotePodFact, RemotePods } from './remote-pods.ts';

/** What a change of a pod changes: the pod before and after, and its addresses before and after. */
export interface PodChange {
  pods: readonly PodRef[];
  ips: readonly string[];
}

/** A pod's labels are remembered for this many changes. */
const MAX_VERSIONS = 16;

/** An endpoint was there a moment before its EndpointSlice could be told. */
const SLICE_LAG_MS = 5000;

/** The pods that are or were: those of this node in full, those of others by name. */
export class PodBook {
  /** This node's, by uid. */
  readonly #own = new Map<string, PodRecord>();
  /** What EndpointSlices name, by {@link keyOf}. */
  readonly #named = new Map<string, NamedPod>();
  /** Whatever EndpointSlices name on other nodes; most of it is in {@link #named} not yet. */
  readonly remote = new RemotePods();
  readonly #addresses: AddressBook;

  constructor(addresses: AddressBook) {
    this.#addresses = addresses;
    addresses.onUnknown = (ip) => this.#recall([ip]);
  }

  get size(): number {
    return this.#own.size + this.#named.size + this.remote.size;
  }

  /** This node's pods that are there now, finished ones among them. */
  *own(): Generator<PodRecord> {
    for (const pod of this.#own.values()) if (pod.goneMs === Number.POSITIVE_INFINITY) yield pod;
  }

  /** A pod of this node was added or has changed. Undefined when nothing has. */
  upsert(fact: PodFact, nowMs: number): PodChange | undefined {
    const known = this.#own.get(fact.uid);
    const pod = known ?? newRecord(refOf(fact), nowMs);
    const isNew = known?.goneMs !== Number.POSITIVE_INFINITY;
    const before = {
      ref: pod.version.owner.pod,
      ips: pod.ips,
      hostNetwork: pod.hostNetwork,
      held: pod.held,
      endedMs: pod.endedMs,
    };
    if (!known) this.#own.set(fact.uid, pod);
    else if (!sameRef(known.version.owner.pod, fact)) change(known, refOf(fact), nowMs);
    pod.goneMs = Number.POSITIVE_INFINITY;
    pod.hostNetwork = fact.hostNetwork;
    pod.endedMs = fact.endedMs;
    const ips = fact.isFinished ? [] : fact.ips;
    for (const ip of pod.ips) if (!ips.includes(ip)) this.#release(pod, ip, nowMs);
    const begun = ips.flatMap((ip) => this.#claimOwn(pod, ip, fact.since, nowMs) ?? []);
    const held = pod.held !== undefined && ips.some((ip) => pod.ips.includes(ip)) ? [pod.held.fromMs] : [];
    if (begun.length > 0) pod.held = { ips, fromMs: Math.min(...held, ...begun) };
    // Over before it could be told that it had an address.
    if (fact.isFinished && pod.held === undefined) this.#claimFinished(pod, fact, nowMs);
    pod.ips = ips;
    const ref = pod.version.owner.pod;
    const isSame =
      !isNew &&
      ref === before.ref &&
      pod.held === before.held &&
      pod.hostNetwork === before.hostNetwork &&
      pod.endedMs === before.endedMs &&
      ips.join() === before.ips.join();
    return isSame ? undefined : { pods: [...new Set([before.ref, ref])], ips: [...new Set([...before.ips, ...ips])] };
  }

  /** A pod of this node is gone. Undefined when it was before. */
  remove(uid: string, nowMs: number): PodChange | undefined {
    const pod = this.#own.get(uid);
    if (pod?.goneMs !== Number.POSITIVE_INFINITY) return undefined;
    const { ips } = pod;
    for (const ip of ips) this.#addresses.release('own', ip, pod, nowMs);
    this.#end(this.#own, uid, pod, ownerKey('own', pod), nowMs);
    return { pods: [pod.version.owner.pod], ips };
  }

  /** An EndpointSlice of a Service names a pod of another node. What is given has to be handed back with {@link dropEndpoint}. */
  addEndpoint(fact: RemotePodFact, service: string, isFirstList: boolean, nowMs: number): RemotePod {
    const { ip, pod } = fact;
    const known = this.remote.at(ip);
    if (known !== undefined && this.remote.isPod(known, pod)) {
      this.remote.hold(known, service);
      return known;
    }
    if (known === undefined && !this.#addresses.has(ip) && !this.#named.has(keyOf(pod)))
      return this.remote.add(fact, isFirstList ? 0 : nowMs - SLICE_LAG_MS, service);
    this.#recall([ip]);
    const fromMs = isFirstList ? 0 : this.#sliceStart(ip, nowMs);
    return this.remote.addInFull(fact, fromMs, service, this.#name(fact, fromMs, 1));
  }

  /** Returns the addresses that the endpoint's pod no longer holds. */
  dropEndpoint(row: RemotePod, service: string, nowMs: number): readonly string[] {
    const known = this.remote.record(row);
    if (!known && this.remote.endpoints(row) > 1) {
      this.remote.release(row, service);
      return NO_IPS;
    }
    const pod = known ?? this.#keepInFull(row);
    const key = keyOf(this.remote.pod(row));
    this.remote.release(row, service);
    pod.endpoints -= 1;
    if (pod.endpoints > 0) return NO_IPS;
    const { ips } = pod;
    for (const ip of ips) this.#addresses.release('named', ip, pod, nowMs);
    this.#end(this.#named, key, pod, ownerKey('named', pod), nowMs);
    return ips;
  }

  /** Keeps in full who holds these addresses: somebody asks, or another is about to get them. */
  #recall(ips: readonly string[]): void {
    for (const ip of ips) {
      const row = this.remote.at(ip);
      if (row !== undefined) this.#keepInFull(row);
    }
  }

  #keepInFull(row: RemotePod): NamedPod {
    const { remote } = this;
    const fact = { ip: remote.ip(row), node: remote.node(row), pod: remote.pod(row) };
    return remote.keepInFull(row, () => this.#name(fact, remote.fromMs(row), remote.endpoints(row)));
  }

  /** The record of a pod of another node, with its claim on this address and these endpoints more. */
  #name({ ip, node, pod: { namespace, name, uid } }: RemotePodFact, fromMs: number, endpoints: number): NamedPod {
    const ref: PodRef = node === undefined ? { namespace, name, uid } : { namespace, name, uid, node };
    const key = keyOf(ref);
    const pod = this.#named.get(key) ?? { owner: { kind: 'pod', pod: ref }, ips: NO_IPS, endpoints: 0, goneMs: Infinity };
    this.#named.set(key, pod);
    pod.endpoints += endpoints;
    pod.goneMs = Number.POSITIVE_INFINITY;
    if (!pod.ips.includes(ip)) pod.ips = [...pod.ips, ip];
    // Whoever may write slices in another namespace takes no name away.
    this.#addresses.claim('named', ip, pod, fromMs, (other) => other.owner.pod.namespace === namespace);
    return pod;
  }

  /**
   * An address of a pod of this node; gives since when, where it is new. Where another pod still holds it or held it last, the address changed hands between
   * that one's last sign of life and the first of this one: the API server tells of both only later. Where a node or a pod of another node held it, not
   * before their end.
   */
  #claimOwn(pod: PodRecord, ip: string, since: PodFact['since'], nowMs: number): number | undefined {
    const entry = this.#addresses.find(ip);
    const newest = entry?.own;
    if (currentHolder(newest) === pod) return undefined;
    let fromMs = Math.min(since?.ms ?? nowMs, nowMs);
    if (!since?.exact) fromMs = Math.max(fromMs, endOf(entry?.node), endOf(entry?.named));
    if (newest) {
      const lastSignMs = newest.holder.endedMs ?? newest.fromMs;
      const endMs = newest.toMs === Number.POSITIVE_INFINITY ? (newest.holder.endedMs ?? nowMs) : newest.toMs;
      fromMs = since?.exact && fromMs > newest.fromMs ? Math.max(fromMs, lastSignMs) : Math.max(fromMs, endMs);
    }
    this.#addresses.claim('own', ip, pod, fromMs, everybody);
    return fromMs;
  }

  /** A pod that was over when its address was first told: it held that once, if nobody else does now. */
  #claimFinished(pod: PodRecord, fact: PodFact, nowMs: number): void {
    const endMs = fact.endedMs ?? nowMs;
    if (endMs < nowMs - RETENTION_MS) return;
    for (const ip of fact.ips) {
      const fromMs = Math.min(fact.since?.ms ?? endMs, endMs);
      const newest = this.#addresses.find(ip)?.own;
      if (newest !== undefined && newest.toMs > fromMs) continue;
      this.#addresses.claim('own', ip, pod, fromMs, everybody);
      this.#addresses.release('own', ip, pod, endMs, nowMs);
      pod.held = { ips: fact.ips, fromMs };
    }
  }

  #release(pod: PodRecord, ip: string, nowMs: number): void {
    this.#addresses.release('own', ip, pod, Math.min(pod.endedMs ?? nowMs, nowMs), nowMs);
  }

  #end<P extends PodRecord | NamedPod>(pods: Map<string, P>, key: string, pod: P, owner: string, nowMs: number): void {
    pod.ips = NO_IPS;
    pod.goneMs = nowMs;
    this.#addresses.remember(owner, nowMs, (before) => {
      if (pod.goneMs <= before && pods.get(key) === pod) pods.delete(key);
    });
  }

  #sliceStart(ip: string, nowMs: number): number {
    const last = this.#addresses.find(ip)?.named;
    const endMs = last ? (last.toMs === Number.POSITIVE_INFINITY ? nowMs : last.toMs) : 0;
    return Math.max(nowMs - SLICE_LAG_MS, endMs);
  }
}

/** The pod as it was at a time. */
export function ownerAt(pod: PodRecord, timeMs: number): PodOwner {
  let version = pod.version;
  while (timeMs < version.fromMs && version.older) version = version.older;
  return version.owner;
}

/** A uid alone is whatever a slice says: what one namespace's slices say of it is nothing to another's. */
function keyOf({ namespace, uid }: { namespace: string; uid: string }): string {
  return `${namespace}/${uid}`;
}

const NO_IPS: readonly string[] = [];

function newRecord(ref: PodRef, fromMs: number): PodRecord {
  return {
    version: { owner: { kind: 'pod', pod: ref }, fromMs, older: undefined },
    hostNetwork: false,
    ips: NO_IPS,
    held: undefined,
    endedMs: undefined,
    goneMs: Number.POSITIVE_INFINITY,
  };
}

function change(pod: PodRecord, ref: PodRef, nowMs: number): void {
  pod.version = { owner: { kind: 'pod', pod: ref }, fromMs: nowMs, older: pod.version };
  let version: PodVersion | undefined = pod.version;
  for (let i = 1; version; version = version.older, i += 1) {
    if (i >= MAX_VERSIONS || version.fromMs < nowMs - RETENTION_MS) version.older = undefined;
  }
}

/** A pod as records name it. */
export function refOf(fact: PodFact): PodRef {
  const ref: PodRef = { namespace: fact.namespace, name: fact.name, uid: fact.uid, labels: fact.labels, node: fact.node };
  if (fact.owner !== undefined) ref.owner = fact.owner;
  return ref;
}

function sameRef(ref: PodRef, fact: PodFact): boolean {
  if (!ref.labels || ref.owner !== fact.owner) return false;
  const keys = Object.keys(fact.labels);
  return keys.length === Object.keys(ref.labels).length && keys.every((key) => ref.labels?.[key] === fact.labels[key]);
}
