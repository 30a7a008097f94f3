import { type Claim, claim, currentHolder, forget, holderAt, RETENTION_MS, release } from './claims.ts';
import type { PodRecord } from './pod-book.ts';
import type { L4, Owner, ServicePort } from './types.ts';

export type NodeOwner = Owner & { kind: 'node' };
export type ServiceOwner = Owner & { kind: 'service' };

/** All that is known about one address. A node's address is never a pod's: pods on the node's network have none of their own. */
export interface AddressEntry {
  node: Claim<NodeOwner> | undefined;
  pod: Claim<PodRecord> | undefined;
  service: Claim<ServiceOwner> | undefined;
  /** By {@link portKey}. */
  ports: Map<number, Claim<ServicePort>> | undefined;
}

/** How many ended things are remembered at most; beyond that the oldest are forgotten early, and counted. */
const MAX_ENDED = 20_000;

/**
 * Who owned which address and port, when. What has ended is remembered for {@link RETENTION_MS}, and in bounded number.
 */
export class AddressBook {
  readonly #entries = new Map<string, AddressEntry>();
  readonly #nodePorts = new Map<number, Claim<ServicePort>>();
  readonly #maxEnded: number;
  #ended: { atMs: number; forget: (beforeMs: number) => void }[] = [];
  #firstEnded = 0;
  /** Ended things that were forgotten before their time because there were too many. */
  forgottenEarly = 0;
  /** Called with an address that nothing is known of, before that is said: whoever keeps it elsewhere claims it now. */
  onUnknown: (ip: string) => void = () => undefined;

  constructor(maxEnded = MAX_ENDED) {
    this.#maxEnded = maxEnded;
  }

  get endedCount(): number {
    return this.#ended.length - this.#firstEnded;
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

  isNode(ip: string): boolean {
    return currentHolder(this.#entries.get(ip)?.node) !== undefined;
  }

  isService(ip: string): boolean {
    return currentHolder(this.#entries.get(ip)?.service) !== undefined;
  }

  servicePort(ip: string, key: number, timeMs: number): ServicePort | undefined {
    const entry = this.#entries.get(ip);
    if (!entry) return undefined;
    const own = entry.ports && holderAt(entry.ports.get(key), timeMs);
    if (own) return own;
    return entry.node && holderAt(entry.node, timeMs) !== undefined ? holderAt(this.#nodePorts.get(key), timeMs) : undefined;
  }

  claimNode(ip: string, node: NodeOwner, fromMs: number): void {
    const entry = this.#entry(ip);
    if (currentHolder(entry.node) !== node) entry.node = claim(entry.node, node, fromMs);
  }

  releaseNode(ip: string, node: NodeOwner, atMs: number): void {
    if (release(this.#entries.get(ip)?.node, node, atMs)) this.#end(atMs, (before) => this.#forgetAddress(ip, before));
  }

  claimPod(ip: string, pod: PodRecord, fromMs: number): void {
    const entry = this.#entry(ip);
    entry.pod = claim(entry.pod, pod, fromMs);
  }

  releasePod(ip: string, pod: PodRecord, atMs: number, nowMs: number): void {
    if (release(this.#entries.get(ip)?.pod, pod, atMs)) this.remember(nowMs, (before) => this.#forgetAddress(ip, before));
  }

  claimService(ip: string, service: ServiceOwner, fromMs: number): void {
    const entry = this.#entry(ip);
    entry.service = claim(entry.service, service, fromMs);
  }

  releaseService(ip: string, service: ServiceOwner, atMs: number): void {
    if (release(this.#entries.get(ip)?.service, service, atMs)) this.#end(atMs, (before) => this.#forgetAddress(ip, before));
  }

  claimPort(ip: string, key: number, port: ServicePort, fromMs: number): void {
    const entry = this.#entry(ip);
    entry.ports ??= new Map();
    entry.ports.set(key, claim(entry.ports.get(key), port, fromMs));
  }

  releasePort(ip: string, key: number, port: ServicePort, atMs: number): void {
    if (release(this.#entries.get(ip)?.ports?.get(key), port, atMs)) this.#end(atMs, (before) => this.#forgetAddress(ip, before));
  }

  claimNodePort(key: number, port: ServicePort, fromMs: number): void {
    this.#nodePorts.set(key, claim(this.#nodePorts.get(key), port, fromMs));
  }

  releaseNodePort(key: number, port: ServicePort, atMs: number): void {
    if (!release(this.#nodePorts.get(key), port, atMs)) return;
    this.#end(atMs, (before) => forgetIn(this.#nodePorts, key, before));
  }

  /** Calls `forgetIt` once the time of remembering is over, or earlier when there is too much to remember. */
  remember(nowMs: number, forgetIt: (beforeMs: number) => void): void {
    this.#end(nowMs, forgetIt);
  }

  /** Forgets what ended longer ago than it is remembered. Cheap when there is nothing to do. */
  sweep(nowMs: number): void {
    while (this.endedCount > 0) {
      const oldest = this.#ended[this.#firstEnded];
      if (!oldest || oldest.atMs > nowMs - RETENTION_MS) break;
      this.#forgetOldest();
    }
  }

  #end(atMs: number, forgetIt: (beforeMs: number) => void): void {
    this.#ended.push({ atMs, forget: forgetIt });
    while (this.endedCount > this.#maxEnded) {
      this.forgottenEarly += 1;
      this.#forgetOldest();
    }
  }

  #forgetOldest(): void {
    const oldest = this.#ended[this.#firstEnded];
    this.#firstEnded += 1;
    oldest?.forget(oldest.atMs);
    if (this.#firstEnded > 1024 && this.#firstEnded * 2 > this.#ended.length) {
      this.#ended = this.#ended.slice(this.#firstEnded);
      this.#firstEnded = 0;
    }
  }

  #entry(ip: string): AddressEntry {
    let entry = this.find(ip);
    if (!entry) {
      entry = { node: undefined, pod: undefined, service: undefined, ports: undefined };
      this.#entries.set(ip, entry);
    }
    return entry;
  }

  #forgetAddress(ip: string, beforeMs: number): void {
    const entry = this.#entries.get(ip);
    if (!entry) return;
    entry.node = forget(entry.node, beforeMs);
    entry.pod = forget(entry.pod, beforeMs);
    entry.service = forget(entry.service, beforeMs);
    if (entry.ports) {
      for (const key of entry.ports.keys()) forgetIn(entry.ports, key, beforeMs);
      if (entry.ports.size === 0) entry.ports = undefined;
    }
    if (!entry.node && !entry.pod && !entry.service && !entry.ports) this.#entries.delete(ip);
  }
}

const PROTOS: Record<string, number> = { tcp: 0, udp: 1, sctp: 2 } satisfies Record<L4, number>;

/** A port and protocol as one small number; undefined for a protocol without ports. */
export function portKey(port: number, proto: string): number | undefined {
  const index = PROTOS[proto];
  return index === undefined ? undefined : port * 4 + index;
}

function forgetIn<H>(claims: Map<number, Claim<H>>, key: number, beforeMs: number): void {
  const rest = forget(claims.get(key), beforeMs);
  if (rest) claims.set(key, rest);
  else claims.delete(key);
}
