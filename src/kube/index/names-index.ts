import { goneSince } from '../../event/gone.ts';
import type { ServiceRef } from '../../event/types.ts';
import { AddressBook, type Holder, type NodeOwner, ownerKey, portKey } from './address-book.ts';
import { Ranges } from './addresses.ts';
import type { Change } from './changes.ts';
import { everybody, nobody } from './claims.ts';
import type { NodeFact, PodFact, ServiceFact, SliceFact } from './facts.ts';
import { ownerAt, PodBook } from './pod-book.ts';
import type { PodOwner, PodRecord } from './pod-records.ts';
import { ServiceBook, type ServiceRecord, type ServiceWithSlices } from './service-book.ts';
import type { Names, Owner, Place, ProxyMode, ServicePort } from './types.ts';

export interface IndexOptions {
  /** The node that this agent is on. */
  node: string;
  /** Unix milliseconds. */
  now?: () => number;
  /** The most ended pods, addresses and ports that are kept. */
  maxEnded?: number;
}

/**
 * Who owned an address or a Service's port at a given time, from the API server's objects. Facts come in through `put…`, `drop…` and `replace…`.
 * A `replace…` takes a whole list at once, so that the index never holds half of an old list and half of a new one.
 */
export class NamesIndex implements Names {
  readonly node: string;
  /** Undefined until kube-proxy has reported it. */
  proxyMode: ProxyMode | undefined;
  readonly #now: () => number;
  readonly #addresses: AddressBook;
  readonly #pods: PodBook;
  readonly #services: ServiceBook;
  readonly #nodes = new Map<string, NodeFact>();
  readonly #nodeOwners = new Map<string, NodeOwner>();
  /** For a pod that is gone: the owner with `gone` set, which {@link ownerOf} returns. */
  readonly #gone = new WeakMap<PodOwner, PodOwner>();
  readonly #listeners = new Set<(change: Change) => void>();
  #areSlicesListed = false;
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
    const claim = this.#addresses.claimAt(ip, timeMs);
    if (!claim) return undefined;
    const owner = ownerOf(claim.holder, timeMs);
    return owner.kind === 'pod' ? this.#asOf(owner, claim.toMs, timeMs) : owner;
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

  /** Calls the listener after every change, and not for an object that is sent again unchanged. Returns a function that ends it. */
  onChange(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  putPod(fact: PodFact): void {
    const change = this.#pods.upsert(fact, this.#tick());
    if (change) this.#tell({ kind: 'pod', ...change });
  }

  dropPod(uid: string): void {
    const change = this.#pods.remove(uid, this.#tick());
    if (change) this.#tell({ kind: 'pod', ...change });
  }

  replacePods(facts: PodFact[]): void {
    const now = this.#tick();
    const uids = new Set(facts.map((fact) => fact.uid));
    for (const pod of [...this.#pods.own()]) {
      const { uid } = pod.version.owner.pod;
      if (!uids.has(uid)) this.#pods.remove(uid, now);
    }
    for (const fact of facts) this.#pods.upsert(fact, now);
    this.#tell({ kind: 'list' });
  }

  putService(fact: ServiceFact): void {
    const service = `${fact.namespace}/${fact.name}`;
    const before = this.#services.byKey(service)?.fact;
    if (!this.#services.upsertService(fact, this.#tick())) return;
    this.#tell({ kind: 'service', service, ips: [...new Set([...(before ? serviceIps(before) : []), ...serviceIps(fact)])] });
  }

  dropService(namespace: string, name: string): void {
    const service = `${namespace}/${name}`;
    const before = this.#services.byKey(service)?.fact;
    if (!before) return;
    this.#services.removeService(service, this.#tick());
    this.#tell({ kind: 'service', service, ips: serviceIps(before) });
  }

  replaceServices(facts: ServiceFact[]): void {
    const now = this.#tick();
    const keys = new Set(facts.map((fact) => `${fact.namespace}/${fact.name}`));
    for (const key of this.#services.serviceKeys) if (!keys.has(key)) this.#services.removeService(key, now);
    for (const fact of facts.toSorted(byAge)) this.#services.upsertService(fact, now);
    this.#tell({ kind: 'list' });
  }

  putSlice(fact: SliceFact): void {
    const change = this.#services.upsertSlice(fact, false, this.#tick());
    if (change) this.#tell({ kind: 'endpoints', ...change });
  }

  dropSlice(namespace: string, name: string): void {
    const change = this.#services.removeSlice(`${namespace}/${name}`, this.#tick());
    if (change) this.#tell({ kind: 'endpoints', ...change });
  }

  replaceSlices(facts: SliceFact[]): void {
    const now = this.#tick();
    const isFirstList = !this.#areSlicesListed;
    this.#areSlicesListed = true;
    for (const fact of facts.toSorted(byAge)) this.#services.upsertSlice(fact, isFirstList, now);
    const keys = new Set(facts.map((fact) => `${fact.namespace}/${fact.name}`));
    for (const key of this.#services.sliceKeys) if (!keys.has(key)) this.#services.removeSlice(key, now);
    this.#tell({ kind: 'list' });
  }

  putNode(fact: NodeFact): void {
    const before = this.#nodes.get(fact.name);
    if (!this.#setNode(fact, before, this.#tick())) return;
    this.#tell({ kind: 'node', node: fact.name, ips: [...new Set([...(before ? nodeIps(before) : []), ...nodeIps(fact)])] });
  }

  dropNode(name: string): void {
    const known = this.#nodes.get(name);
    if (!known) return;
    this.#dropNode(known, this.#tick());
    this.#tell({ kind: 'node', node: name, ips: nodeIps(known) });
  }

  replaceNodes(facts: NodeFact[]): void {
    const now = this.#tick();
    const names = new Set(facts.map((fact) => fact.name));
    for (const node of [...this.#nodes.values()]) if (!names.has(node.name)) this.#dropNode(node, now);
    for (const fact of facts) this.#setNode(fact, this.#nodes.get(fact.name), now);
    this.#tell({ kind: 'list' });
  }

  /** All addresses of this node's interfaces. The API server does not know them all: those of bridges and tunnels are missing there. */
  setLocalAddresses(ips: readonly string[]): void {
    const [was, is] = [new Set(this.#localIps), new Set(ips)];
    const changed = [...[...was].filter((ip) => !is.has(ip)), ...[...is].filter((ip) => !was.has(ip))];
    const before = this.#ipsOf(this.node);
    this.#localIps = [...ips];
    this.#claimNode(this.node, before, 0, this.#tick());
    if (changed.length > 0) this.#tell({ kind: 'own-addresses', ips: changed });
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

  /** The addresses of a Service's endpoints. */
  endpointIps(namespace: string, name: string): Iterable<string> {
    return this.#services.endpointIps(namespace, name);
  }

  /** Addresses and ports of the endpoints behind a Service's port, which is given by its name. */
  endpointAddresses({ namespace, name, port }: ServiceRef): Iterable<{ ip: string; port: number }> {
    return this.#services.endpointAddresses(namespace, name, port);
  }

  /** `namespace/name` of Services that have one of these addresses as an endpoint; also where only their EndpointSlices are known. */
  servicesBehind(...ips: Iterable<string>[]): Set<string> {
    return this.#services.servicesOf(ips);
  }

  serviceByKey(key: string): ServiceRecord | undefined {
    return this.#services.byKey(key);
  }

  /** Whether a node holds the address now, and no pod or Service with a stronger claim. */
  isNodeAddress(ip: string): boolean {
    return this.#addresses.isNode(ip);
  }

  /**
   * Whose an address is, decided only by what no tenant can write: the status of this node's pods, the API server's allocation of ClusterIPs, the
   * nodes' own addresses. With EndpointSlices and external addresses a tenant could claim an address of another one.
   */
  placeOf(ip: string, namespaces: ReadonlySet<string>): Place {
    const holder = this.#addresses.certainHolder(ip);
    if (holder === undefined) return 'unknown';
    const namespace = namespaceOf(ownerOf(holder, this.#now()));
    return namespace !== undefined && namespaces.has(namespace) ? 'inside' : 'outside';
  }

  isServiceAddress(ip: string): boolean {
    return this.#addresses.isService(ip);
  }

  /** Whether another node is listed with the address, too. An annotation of that node does not count against a node that is listed with it otherwise. */
  isOfOtherNode(ip: string, than: string): boolean {
    const isAnnotated = this.#nodes.get(than)?.annotatedIps.includes(ip);
    for (const { name, ips, networkIps, annotatedIps } of this.#nodes.values()) {
      if (name === than) continue;
      if (ips.includes(ip) || networkIps.includes(ip) || (isAnnotated && annotatedIps.includes(ip))) return true;
    }
    return false;
  }

  nodes(): Iterable<NodeFact> {
    return this.#nodes.values();
  }

  findNode(name: string): NodeFact | undefined {
    return this.#nodes.get(name);
  }

  /** This node's interface addresses, from {@link setLocalAddresses}. */
  get localAddresses(): readonly string[] {
    return this.#localIps;
  }

  /** How much the index holds, for metrics. `forgottenEarly` counts ended entries that were removed before their 15 minutes. */
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

  /** Removes what ended more than 15 minutes ago. Every change does this, too. */
  sweep(): void {
    this.#tick();
  }

  #setNode(fact: NodeFact, known: NodeFact | undefined, nowMs: number): boolean {
    if (known && JSON.stringify(known) === JSON.stringify(fact)) return false;
    const before = this.#ipsOf(fact.name);
    this.#nodes.set(fact.name, fact);
    this.#claimNode(fact.name, before, known ? nowMs : 0, nowMs);
    this.#rangesChanged();
    return true;
  }

  #dropNode(node: NodeFact, nowMs: number): void {
    const before = this.#ipsOf(node.name);
    this.#nodes.delete(node.name);
    this.#claimNode(node.name, before, nowMs, nowMs);
    this.#addresses.remember(ownerKey('node', this.#ownNode(node.name)), nowMs, () => {
      if (!this.#nodes.has(node.name) && node.name !== this.node) this.#nodeOwners.delete(node.name);
    });
    this.#rangesChanged();
  }

  #ipsOf(name: string): { node: Set<string>; annotated: Set<string> } {
    const { ips = [], networkIps = [], annotatedIps = [] } = this.#nodes.get(name) ?? {};
    return {
      node: new Set([...ips, ...networkIps, ...(name === this.node ? this.#localIps : [])]),
      annotated: new Set(annotatedIps),
    };
  }

  /** Releases the addresses that a node had `before` and lost, and claims those that it has now. */
  #claimNode(name: string, before: Record<'node' | 'annotated', Set<string>>, fromMs: number, nowMs: number): void {
    const owner = this.#ownNode(name);
    const now = this.#ipsOf(name);
    // An address of this node's interfaces is this node's, even when another node is listed with it.
    const displaces = name === this.node ? everybody : nobody;
    for (const kind of ['node', 'annotated'] as const) {
      for (const ip of before[kind]) if (!now[kind].has(ip)) this.#addresses.release(kind, ip, owner, nowMs);
      for (const ip of now[kind]) if (!before[kind].has(ip)) this.#addresses.claim(kind, ip, owner, fromMs, displaces);
    }
  }

  /** A pod as it is reported for a time: with `gone`, when its claim on the address had ended. The same object as long as nothing changes. */
  #asOf(owner: PodOwner, endMs: number, timeMs: number): PodOwner {
    const gone = goneSince(endMs, timeMs);
    if (gone === undefined) return owner;
    const known = this.#gone.get(owner);
    if (known?.pod.gone === gone) return known;
    const told: PodOwner = { kind: 'pod', pod: { ...owner.pod, gone } };
    this.#gone.set(owner, told);
    return told;
  }

  #rangesChanged(): void {
    this.#ranges = undefined;
    this.#rangeCache = new Map();
  }

  /** One object for each node, so that its claims can be compared by identity. */
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

/** All addresses that the API server lists for a node. */
export function nodeIps({ ips, networkIps, annotatedIps }: NodeFact): string[] {
  return [...ips, ...networkIps, ...annotatedIps];
}

function serviceIps({ clusterIps, externalIps, balancerIps }: ServiceFact): string[] {
  return [...clusterIps, ...externalIps, ...balancerIps];
}

function ownerOf(holder: Holder, timeMs: number): Owner {
  if ('version' in holder) return ownerAt(holder, timeMs);
  return 'owner' in holder ? holder.owner : holder;
}

function namespaceOf(owner: Owner): string | undefined {
  if (owner.kind === 'node') return undefined;
  return owner.kind === 'pod' ? owner.pod.namespace : owner.service.namespace;
}

/** The oldest object keeps an address that several claim. Lists come in the order of names, which anybody could choose to come first. */
function byAge(a: { createdMs: number | undefined }, b: { createdMs: number | undefined }): number {
  return (a.createdMs ?? Number.MAX_VALUE) - (b.createdMs ?? Number.MAX_VALUE);
}

/** Addresses for which it is cached whether they are in the pod network. */
const MAX_RANGE_CACHE = 10_000;
