import type { ServiceRef } from '../event/types.ts';
import { AddressBook, type NodeOwner, portKey } from './address-book.ts';
import { Ranges } from './addresses.ts';
import { holderAt } from './claims.ts';
import type { NodeFact, PodFact, ServiceFact, SliceFact } from './facts.ts';
import { ownerAt, PodBook, type PodRecord } from './pod-book.ts';
import { type EndpointRecord, ServiceBook, type ServiceRecord, type ServiceWithSlices } from './service-book.ts';
import type { Names, Owner, ProxyMode, ServicePort } from './types.ts';

/** What has changed in an index. */
export type Change = 'pods' | 'services' | 'endpoints' | 'nodes';

export interface IndexOptions {
  /** The node that this agent is on. */
  node: string;
  /** Unix milliseconds. */
  now?: () => number;
  /** How many ended pods, addresses and ports are remembered at most. */
  maxEnded?: number;
}

/**
 * Who owned an address or a Service's port at a time, out of the API server's objects. Facts are given in by `put…`, `drop…`
 * and `replace…`; a `replace…` takes the whole list at once, so that the index is never half of an old and half of a new one.
 */
export class NamesIndex implements Names {
  readonly node: string;
  proxyMode: ProxyMode = 'iptables';
  readonly #now: () => number;
  readonly #addresses: AddressBook;
  readonly #pods: PodBook;
  readonly #services: ServiceBook;
  readonly #nodes = new Map<string, NodeFact>();
  readonly #nodeOwners = new Map<string, NodeOwner>();
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #listed = new Set<Change>();
  #localIps: readonly string[] = [];
  #ranges: Ranges | undefined;
  #rangeCache = new Map<string, boolean>();

  constructor(options: IndexOptions) {
    this.node = options.node;
    this.#now = options.now ?? Date.now;
    this.#addresses = new AddressBook(options.maxEnded);
    this.#pods = new PodBook(this.#addresses);
    this.#services = new ServiceBook(this.#addresses, this.#pods, options.node);
  }

  ownerOf(ip: string, timeMs: number): Owner | undefined {
    const entry = this.#addresses.find(ip);
    if (!entry) return undefined;
    const node = entry.node && holderAt(entry.node, timeMs);
    if (node) return node;
    const pod = entry.pod && holderAt(entry.pod, timeMs);
    if (pod) return ownerAt(pod, timeMs);
    return entry.service && holderAt(entry.service, timeMs);
  }

  servicePort(ip: string, port: number, proto: string, timeMs: number): ServicePort | undefined {
    const key = portKey(port, proto);
    return key === undefined ? undefined : this.#addresses.servicePort(ip, key, timeMs);
  }

  isClusterAddress(ip: string): boolean {
    let is = this.#rangeCache.get(ip);
    if (is === undefined) {
      this.#ranges ??= new Ranges([...this.#nodes.values()].flatMap((node) => node.podCidrs));
      is = this.#ranges.has(ip);
      if (this.#rangeCache.size >= MAX_RANGE_CACHE) this.#rangeCache.clear();
      this.#rangeCache.set(ip, is);
    }
    return is;
  }

  /** Calls the listener after every change; a burst of changes calls it often. Returns what ends it. */
  onChange(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  putPod(fact: PodFact): void {
    this.#pods.upsert(fact, this.#tick());
    this.#tell('pods');
  }

  dropPod(uid: string): void {
    if (this.#pods.remove(uid, this.#tick())) this.#tell('pods');
  }

  replacePods(facts: PodFact[]): void {
    const now = this.#tick();
    const uids = new Set(facts.map((fact) => fact.uid));
    for (const pod of [...this.#pods.own()]) {
      const { uid } = pod.version.owner.pod;
      if (!uids.has(uid)) this.#pods.remove(uid, now);
    }
    for (const fact of facts) this.#pods.upsert(fact, now);
    this.#tell('pods');
  }

  putService(fact: ServiceFact): void {
    if (this.#services.upsertService(fact, this.#tick())) this.#tell('services');
  }

  dropService(namespace: string, name: string): void {
    if (this.#services.removeService(`${namespace}/${name}`, this.#tick())) this.#tell('services');
  }

  replaceServices(facts: ServiceFact[]): void {
    const now = this.#tick();
    const keys = new Set(facts.map((fact) => `${fact.namespace}/${fact.name}`));
    for (const key of this.#services.serviceKeys) if (!keys.has(key)) this.#services.removeService(key, now);
    for (const fact of facts) this.#services.upsertService(fact, now);
    this.#tell('services');
  }

  putSlice(fact: SliceFact): void {
    if (this.#services.upsertSlice(fact, false, this.#tick())) this.#tell('endpoints');
  }

  dropSlice(namespace: string, name: string): void {
    if (this.#services.removeSlice(`${namespace}/${name}`, this.#tick())) this.#tell('endpoints');
  }

  replaceSlices(facts: SliceFact[]): void {
    const now = this.#tick();
    const isFirstList = !this.#listed.has('endpoints');
    this.#listed.add('endpoints');
    for (const fact of facts) this.#services.upsertSlice(fact, isFirstList, now);
    const keys = new Set(facts.map((fact) => `${fact.namespace}/${fact.name}`));
    for (const key of this.#services.sliceKeys) if (!keys.has(key)) this.#services.removeSlice(key, now);
    this.#tell('endpoints');
  }

  putNode(fact: NodeFact): void {
    if (this.#setNode(fact, this.#nodes.get(fact.name), this.#tick())) this.#tell('nodes');
  }

  dropNode(name: string): void {
    const known = this.#nodes.get(name);
    if (!known) return;
    this.#dropNode(known, this.#tick());
    this.#tell('nodes');
  }

  replaceNodes(facts: NodeFact[]): void {
    const now = this.#tick();
    const names = new Set(facts.map((fact) => fact.name));
    for (const node of [...this.#nodes.values()]) if (!names.has(node.name)) this.#dropNode(node, now);
    for (const fact of facts) this.#setNode(fact, this.#nodes.get(fact.name), now);
    this.#tell('nodes');
  }

  /** All addresses of this node's own interfaces (its bridge and tunnels among them), which the API server does not know. */
  setLocalAddresses(ips: readonly string[]): void {
    const now = this.#tick();
    const known = this.#nodes.get(this.node);
    const told = known ? [...known.ips, ...known.networkIps] : [];
    const owner = this.#ownNode(this.node);
    for (const ip of this.#localIps) if (!ips.includes(ip) && !told.includes(ip)) this.#addresses.releaseNode(ip, owner, now);
    for (const ip of ips) this.#addresses.claimNode(ip, owner, 0);
    this.#localIps = [...ips];
    this.#tell('nodes');
  }

  /** This node's pods. */
  ownPods(): Iterable<PodRecord> {
    return this.#pods.own();
  }

  service(namespace: string, name: string): ServiceRecord | undefined {
    return this.#services.find(namespace, name);
  }

  /** All Services with their EndpointSlices. */
  servicesWithSlices(): Iterable<ServiceWithSlices> {
    return this.#services.withSlices();
  }

  endpoints(namespace: string, name: string): Iterable<EndpointRecord> {
    return this.#services.endpoints(namespace, name);
  }

  /** Where a Service's port (by its name) is answered. */
  endpointAddresses({ namespace, name, port }: ServiceRef): Iterable<{ ip: string; port: number }> {
    return this.#services.endpointAddresses(namespace, name, port);
  }

  /** Services that have one of these addresses as an endpoint. */
  servicesBehind(ips: ReadonlySet<string>): ServiceRecord[] {
    return this.#services
      .servicesOf(ips)
      .map((key) => this.#services.byKey(key))
      .filter((one) => one !== undefined);
  }

  isNodeAddress(ip: string): boolean {
    return this.#addresses.isNode(ip);
  }

  isServiceAddress(ip: string): boolean {
    return this.#addresses.isService(ip);
  }

  /** Another node is told to have it, too. */
  isOfOtherNode(ip: string, than: string): boolean {
    for (const { name, ips, networkIps } of this.#nodes.values())
      if (name !== than && (ips.includes(ip) || networkIps.includes(ip))) return true;
    return false;
  }

  nodes(): Iterable<NodeFact> {
    return this.#nodes.values();
  }

  findNode(name: string): NodeFact | undefined {
    return this.#nodes.get(name);
  }

  /** This node's interface addresses as they were told by {@link setLocalAddresses}. */
  get localAddresses(): readonly string[] {
    return this.#localIps;
  }

  /** How much the index holds, for metrics. `forgottenEarly` counts what was ended and forgotten before its 15 minutes. */
  sizes(): { pods: number; services: number; endpoints: number; nodes: number; ended: number; forgottenEarly: number } {
    return {
      pods: this.#pods.size,
      services: this.#services.serviceCount,
      endpoints: this.#services.endpointCount,
      nodes: this.#nodes.size,
      ended: this.#addresses.endedCount,
      forgottenEarly: this.#addresses.forgottenEarly,
    };
  }

  /** Forgets what ended more than 15 minutes ago; also done with every change. */
  sweep(): void {
    this.#tick();
  }

  #setNode(fact: NodeFact, known: NodeFact | undefined, nowMs: number): boolean {
    if (known && JSON.stringify(known) === JSON.stringify(fact)) return false;
    this.#nodes.set(fact.name, fact);
    const owner = this.#ownNode(fact.name);
    const ips = new Set([...fact.ips, ...fact.networkIps]);
    for (const ip of known ? [...known.ips, ...known.networkIps] : []) {
      if (!ips.has(ip)) this.#addresses.releaseNode(ip, owner, nowMs);
    }
    for (const ip of ips) this.#addresses.claimNode(ip, owner, known ? nowMs : 0);
    this.#rangesChanged();
    return true;
  }

  #dropNode(node: NodeFact, nowMs: number): void {
    const owner = this.#ownNode(node.name);
    this.#nodes.delete(node.name);
    for (const ip of [...node.ips, ...node.networkIps]) this.#addresses.releaseNode(ip, owner, nowMs);
    this.#addresses.remember(nowMs, () => {
      if (!this.#nodes.has(node.name) && node.name !== this.node) this.#nodeOwners.delete(node.name);
    });
    this.#rangesChanged();
  }

  #rangesChanged(): void {
    this.#ranges = undefined;
    this.#rangeCache = new Map();
  }

  /** One object for a node, so that its claims can be told by identity. */
  #ownNode(name: string): NodeOwner {
    const owner = this.#nodeOwners.get(name) ?? { kind: 'node', node: name };
    this.#nodeOwners.set(name, owner);
    return owner;
  }

  #tick(): number {
    const now = this.#now();
    this.#addresses.sweep(now);
    return now;
  }

  #tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/** How many addresses are remembered as being of the pod network or not. */
const MAX_RANGE_CACHE = 10_000;
