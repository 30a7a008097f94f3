import { RETENTION_MS } from '../../event/gone.ts';
import {
  type Claim,
  claim,
  claimAt,
  coveringClaim,
  coveringHolder,
  currentHolder,
  endOf,
  everybody,
  forget,
  holderAt,
  next,
  release,
  shortened,
} from './claims.ts';
import { Ended, type Forget } from './ended.ts';
import type { NamedPod, PodRecord } from './pod-records.ts';
import type { L4, Owner, ServicePort } from './types.ts';

export type NodeOwner = Owner & { kind: 'node' };
export type ServiceOwner = Owner & { kind: 'service' };

/**
 * How an address can be held, the strongest first: of several that hold it at a time the first is told. The order goes by who may say so. An API
 * server gives a Service's cluster IP to nobody else, though IPVS and NodeLocal DNSCache have it on a node's interface. Whoever may write EndpointSlices
 * can name any address a pod, any node can write annotations, and Services may have a node's own address as external one.
 */
interface Holders {
  /** A pod of this node. */
  own: PodRecord;
  clusterIp: ServiceOwner;
  /** A node, by its status, its range of the pod network, or its interfaces. */
  node: NodeOwner;
  /** A pod that EndpointSlices name. */
  named: NamedPod;
  /** A node, by its annotations. */
  annotated: NodeOwner;
  /** A Service, by an external or load-balancer address. */
  external: ServiceOwner;
}

export type Kind = keyof Holders;
export type Holder = Holders[Kind];

/** All that is known about one address. */
export type AddressEntry = { [K in Kind]: Claim<Holders[K]> | undefined } & {
  /** By {@link portKey}. */
  ports: Map<number, Claim<ServicePort>> | undefined;
};

/** How many ended things are remembered at most; beyond that some are forgotten early, and counted. */
const MAX_ENDED = 20_000;

/**
 * Who owned which address and port, when. What has ended is remembered for {@link RETENTION_MS}, and in bounded number, of which each owner (see
 * {@link ownerKey}) has an equal share for certain: whoever may write objects in one namespace makes nobody forget what was in another.
 */
export class AddressBook {
  readonly #entries = new Map<string, AddressEntry>();
  readonly #nodePorts = new Map<number, Claim<ServicePort>>();
  readonly #ended: Ended;
  /** Called with an address that nothing is known of, before that is said: whoever keeps it elsewhere claims it now. */
  onUnknown: (ip: string) => void = () => undefined;

  constructor(maxEnded = MAX_ENDED) {
    this.#ended = new Ended(maxEnded);
  }

  get endedCount(): number {
    return this.#ended.count;
  }

  /** Ended things that were forgotten before their time because there were too many. */
  get forgottenEarly(): number {
    return this.#ended.forgottenEarly;
  }

  find(ip: string): AddressEntry | undefined {
    const entry = this.#entries.get(ip);
    if (entry) return entry;
    this.onUnknown(ip);
    return this.#entries.get(ip);
  }

  /** Whether anything is known of an address here, without {@link onUnknown}. */
  has(ip: string): boolean {
    return this.#entries.has(ip);
  }

  /** Who held an address: of all whose time it was the strongest, else the last one before. */
  holderAt(ip: string, timeMs: number): Holder | undefined {
    return this.claimAt(ip, timeMs)?.holder;
  }

  /** The claim by which {@link holderAt} tells: it says when that one's time was over. */
  claimAt(ip: string, timeMs: number): Claim<Holder> | undefined {
    const entry = this.find(ip);
    return entry && (strongestAt(entry, timeMs) ?? lastClaim(entry, timeMs));
  }

  /** Who holds it now by what no tenant can write: the strongest kinds, those before `named`. */
  certainHolder(ip: string): Holder | undefined {
    const entry = this.#entries.get(ip);
    return entry && (currentHolder(entry.own) ?? currentHolder(entry.clusterIp) ?? currentHolder(entry.node));
  }

  /** A node holds it now, and nobody with a stronger claim. */
  isNode(ip: string): boolean {
    const entry = this.#entries.get(ip);
    return entry !== undefined && isNode(strongest(entry, currentHolder));
  }

  isService(ip: string): boolean {
    const entry = this.#entries.get(ip);
    return currentHolder(entry?.clusterIp) !== undefined || currentHolder(entry?.external) !== undefined;
  }

  servicePort(ip: string, key: number, timeMs: number): ServicePort | undefined {
    const entry = this.#entries.get(ip);
    if (!entry) return undefined;
    const own = entry.ports?.get(key);
    const covering = coveringHolder(own, timeMs);
    if (covering) return covering;
    const nodePort = isNode(this.holderAt(ip, timeMs)) ? this.#nodePorts.get(key) : undefined;
    return coveringHolder(nodePort, timeMs) ?? holderAt(own, timeMs) ?? holderAt(nodePort, timeMs);
  }

  /** @param displaces see {@link claim} */
  claim<K extends Kind>(
    kind: K,
    ip: string,
    holder: Holders[K],
    fromMs: number,
    displaces: (other: Holders[K]) => boolean,
  ): void {
    const claims = this.#entry(ip) as ClaimsOf<K>;
    const before = claims[kind];
    const displaced = currentHolder(before);
    claims[kind] = shortenedBy(kind, claim(before, holder, fromMs, displaces));
    if (displaced !== undefined && before !== claims[kind]) this.#endAddress(ip, ownerKey(kind, displaced), endOf(before));
  }

  /** @param nowMs from when on it is remembered for a while */
  release<K extends Kind>(kind: K, ip: string, holder: Holders[K], atMs: number, nowMs = atMs): void {
    const claims = this.#entries.get(ip) as ClaimsOf<K> | undefined;
    const newest = claims?.[kind];
    if (!claims || !newest || !release(newest, holder, atMs)) return;
    claims[kind] = shortenedBy(kind, next(newest));
    this.#endAddress(ip, ownerKey(kind, holder), nowMs);
  }

  /** @param displaces see {@link claim} */
  claimPort(ip: string, key: number, port: ServicePort, fromMs: number, displaces: (other: ServicePort) => boolean): void {
    const entry = this.#entry(ip);
    entry.ports ??= new Map();
    const before = entry.ports.get(key);
    const displaced = currentHolder(before);
    const now = shortenedBy('port', claim(before, port, fromMs, displaces));
    entry.ports.set(key, now);
    if (displaced !== undefined && before !== now) this.#endAddress(ip, ownerKey('port', displaced), endOf(before));
  }

  releasePort(ip: string, key: number, port: ServicePort, atMs: number): void {
    const ports = this.#entries.get(ip)?.ports;
    const newest = ports?.get(key);
    if (!ports || !newest || !release(newest, port, atMs)) return;
    ports.set(key, shortenedBy('port', next(newest)));
    this.#endAddress(ip, ownerKey('port', port), atMs);
  }

  claimNodePort(key: number, port: ServicePort, fromMs: number): void {
    const before = this.#nodePorts.get(key);
    const displaced = currentHolder(before);
    const now = shortenedBy('port', claim(before, port, fromMs, everybody));
    this.#nodePorts.set(key, now);
    if (displaced !== undefined && before !== now) this.#endNodePort(key, ownerKey('port', displaced), endOf(before));
  }

  releaseNodePort(key: number, port: ServicePort, atMs: number): void {
    if (!release(this.#nodePorts.get(key), port, atMs)) return;
    this.#endNodePort(key, ownerKey('port', port), atMs);
  }

  /** Calls `forgetIt` once the time of remembering is over, or earlier when there is too much to remember of this owner. */
  remember(owner: string, nowMs: number, forgetIt: Forget): void {
    this.#ended.add(owner, nowMs, forgetIt);
  }

  /** Forgets what ended longer ago than it is remembered. Cheap when there is nothing to do. */
  sweep(nowMs: number): void {
    this.#ended.sweep(nowMs - RETENTION_MS);
  }

  #endAddress(ip: string, owner: string, atMs: number): void {
    this.#ended.add(owner, atMs, (before, isEarly) => this.#forgetAddress(ip, before, isEarly ? owner : undefined));
  }

  #entry(ip: string): AddressEntry {
    let entry = this.find(ip);
    if (!entry) {
      entry = { ...NOBODY };
      this.#entries.set(ip, entry);
    }
    return entry;
  }

  #endNodePort(key: number, owner: string, atMs: number): void {
    this.#ended.add(owner, atMs, (before, isEarly) => forgetIn(this.#nodePorts, key, before, isEarly ? owner : undefined));
  }

  /** @param owner of whom alone; undefined: of everybody */
  #forgetAddress(ip: string, beforeMs: number, owner: string | undefined): void {
    const entry = this.#entries.get(ip);
    if (!entry) return;
    for (const kind of KINDS) forgetKind(entry, kind, beforeMs, owner);
    if (entry.ports) {
      for (const key of entry.ports.keys()) forgetIn(entry.ports, key, beforeMs, owner);
      if (entry.ports.size === 0) entry.ports = undefined;
    }
    const rest = strongest(entry, (claims) => claims);
    if (rest === undefined && !entry.ports) this.#entries.delete(ip);
  }
}

/**
 * Who may write what it stands for: of a namespace's pods those that its node told, and apart from them those that slices name; a namespace's Services;
 * the cluster's nodes.
 */
export function ownerKey(kind: Kind | 'port', holder: Holder | ServicePort): string {
  if ('service' in holder) return `service ${holder.service.namespace}`;
  if ('kind' in holder) return 'node';
  const { pod } = 'version' in holder ? holder.version.owner : holder.owner;
  return `${kind} ${pod.namespace}`;
}

/** Of an address that is passed on all the time the newest holder's own past is forgotten first. */
function shortenedBy<H extends Holder | ServicePort>(kind: Kind | 'port', chain: Claim<H>): Claim<H> {
  const owner = ownerKey(kind, chain.holder);
  return shortened(chain, (holder) => ownerKey(kind, holder) === owner);
}

type ClaimsOf<K extends Kind> = { [P in K]: Claim<Holders[K]> | undefined };

const KINDS: readonly Kind[] = ['own', 'clusterIp', 'node', 'named', 'annotated', 'external'];

const NOBODY: AddressEntry = {
  own: undefined,
  clusterIp: undefined,
  node: undefined,
  named: undefined,
  annotated: undefined,
  external: undefined,
  ports: undefined,
};

/** In the order of {@link Holders}. */
function claimsOf({ own, clusterIp, node, named, annotated, external }: AddressEntry): (Claim<Holder> | undefined)[] {
  return [own, clusterIp, node, named, annotated, external];
}

/** What is found first, of the strongest claim. */
function strongest<T>(entry: AddressEntry, find: (claims: Claim<Holder> | undefined) => T | undefined): T | undefined {
  for (const claims of claimsOf(entry)) {
    const found = find(claims);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** {@link strongest} of the claims that cover a time, for each end of each packet: without anything that has to be made first. */
function strongestAt(
  { own, clusterIp, node, named, annotated, external }: AddressEntry,
  timeMs: number,
): Claim<Holder> | undefined {
  return (
    coveringClaim<Holder>(own, timeMs) ??
    coveringClaim<Holder>(clusterIp, timeMs) ??
    coveringClaim<Holder>(node, timeMs) ??
    coveringClaim<Holder>(named, timeMs) ??
    coveringClaim<Holder>(annotated, timeMs) ??
    coveringClaim<Holder>(external, timeMs)
  );
}

/** For a time that was nobody's: the one who had it last, or got it a moment later. */
function lastClaim(entry: AddressEntry, timeMs: number): Claim<Holder> | undefined {
  let last: Claim<Holder> | undefined;
  let lastMs = Number.NEGATIVE_INFINITY;
  for (const claims of claimsOf(entry)) {
    const one = claimAt(claims, timeMs);
    if (!one) continue;
    const endMs = one.toMs < timeMs ? one.toMs : Number.NEGATIVE_INFINITY;
    if (last && endMs <= lastMs) continue;
    last = one;
    lastMs = endMs;
  }
  return last;
}

function isNode(holder: Holder | undefined): holder is NodeOwner {
  return holder !== undefined && 'kind' in holder && holder.kind === 'node';
}

const PROTOS: Record<string, number> = { tcp: 0, udp: 1, sctp: 2 } satisfies Record<L4, number>;

/** A port and protocol as one small number; undefined for a protocol without ports. */
export function portKey(port: number, proto: string): number | undefined {
  const index = PROTOS[proto];
  return index === undefined ? undefined : port * 4 + index;
}

function forgetKind<K extends Kind>(entry: AddressEntry, kind: K, beforeMs: number, owner: string | undefined): void {
  const claims = entry as ClaimsOf<K>;
  claims[kind] = forget(claims[kind], beforeMs, (holder) => owner === undefined || ownerKey(kind, holder) === owner);
}

function forgetIn(claims: Map<number, Claim<ServicePort>>, key: number, beforeMs: number, owner: string | undefined): void {
  const rest = forget(claims.get(key), beforeMs, (port) => owner === undefined || ownerKey('port', port) === owner);
  if (rest) claims.set(key, rest);
  else claims.delete(key);
}
