import { type AddressBook, portKey, type ServiceOwner } from './address-book.ts';
import type { EndpointFact, ServiceFact, SliceFact } from './facts.ts';
import type { PodBook, PodRecord } from './pod-book.ts';
import type { L4, ServicePort } from './types.ts';

/** A Service as it is now. */
export interface ServiceRecord {
  fact: ServiceFact;
  /** Owner of its addresses, without a port. */
  owner: ServiceOwner;
  held: { ip: string; key: number; port: ServicePort }[];
  heldNodePorts: { key: number; port: ServicePort }[];
}

/** An endpoint as it is kept: 20,000 of them are usual. `pod` only for pods of other nodes. */
export interface EndpointRecord {
  ip: string;
  node: string | undefined;
  pod: PodRecord | undefined;
}

export interface SliceRecord {
  ports: { name: string; port: number; proto: L4 }[];
  endpoints: EndpointRecord[];
}

/** Services with their addresses and ports, and their EndpointSlices. */
export class ServiceBook {
  readonly #services = new Map<string, ServiceRecord>();
  readonly #slices = new Map<string, Map<string, SliceRecord>>();
  readonly #serviceOfSlice = new Map<string, string>();
  readonly #addresses: AddressBook;
  readonly #pods: PodBook;
  readonly #node: string;

  constructor(addresses: AddressBook, pods: PodBook, node: string) {
    this.#addresses = addresses;
    this.#pods = pods;
    this.#node = node;
  }

  find(namespace: string, name: string): ServiceRecord | undefined {
    return this.#services.get(`${namespace}/${name}`);
  }

  all(): IterableIterator<ServiceRecord> {
    return this.#services.values();
  }

  get serviceCount(): number {
    return this.#services.size;
  }

  get serviceKeys(): string[] {
    return [...this.#services.keys()];
  }

  get sliceKeys(): string[] {
    return [...this.#serviceOfSlice.keys()];
  }

  get endpointCount(): number {
    let count = 0;
    for (const slices of this.#slices.values()) for (const slice of slices.values()) count += slice.endpoints.length;
    return count;
  }

  /** All endpoints of a Service. */
  *endpoints(namespace: string, name: string): Generator<EndpointRecord> {
    for (const slice of this.#slices.get(`${namespace}/${name}`)?.values() ?? []) yield* slice.endpoints;
  }

  /** Keys `namespace/name` of the Services that have one of these addresses as an endpoint. */
  servicesOf(ips: ReadonlySet<string>): string[] {
    const found: string[] = [];
    for (const [key, slices] of this.#slices) {
      if ([...slices.values()].some((slice) => slice.endpoints.some((one) => ips.has(one.ip)))) found.push(key);
    }
    return found;
  }

  byKey(key: string): ServiceRecord | undefined {
    return this.#services.get(key);
  }

  upsertService(fact: ServiceFact, nowMs: number): boolean {
    const key = `${fact.namespace}/${fact.name}`;
    const known = this.#services.get(key);
    if (known && sameFact(known.fact, fact)) return false;
    const isSameService = known !== undefined && known.fact.createdMs === fact.createdMs;
    const fromMs = isSameService ? nowMs : Math.min(fact.createdMs ?? nowMs, nowMs);
    const owner = known?.owner ?? { kind: 'service', service: { namespace: fact.namespace, name: fact.name, port: '' } };
    if (known) this.#release(known, nowMs);
    this.#services.set(key, this.#claim(fact, owner, fromMs));
    return true;
  }

  removeService(key: string, nowMs: number): boolean {
    const known = this.#services.get(key);
    if (!known) return false;
    this.#release(known, nowMs);
    this.#services.delete(key);
    return true;
  }

  upsertSlice(fact: SliceFact, isFirstList: boolean, nowMs: number): boolean {
    const key = `${fact.namespace}/${fact.name}`;
    const service = `${fact.namespace}/${fact.service}`;
    const wasOf = this.#serviceOfSlice.get(key);
    const before = wasOf === undefined ? undefined : this.#slices.get(wasOf)?.get(key);
    if (before && wasOf === service && sameSlice(before, fact, this.#node)) return false;
    const endpoints = fact.endpoints.map((one) => this.#endpoint(one, isFirstList, nowMs));
    if (before) this.removeSlice(key, nowMs);
    const slices = this.#slices.get(service) ?? new Map<string, SliceRecord>();
    this.#slices.set(service, slices.set(key, { ports: fact.ports, endpoints }));
    this.#serviceOfSlice.set(key, service);
    return true;
  }

  removeSlice(key: string, nowMs: number): boolean {
    const service = this.#serviceOfSlice.get(key);
    const slices = service === undefined ? undefined : this.#slices.get(service);
    const slice = slices?.get(key);
    if (service === undefined || !slices || !slice) return false;
    slices.delete(key);
    if (slices.size === 0) this.#slices.delete(service);
    this.#serviceOfSlice.delete(key);
    for (const one of slice.endpoints) if (one.pod) this.#pods.dropEndpoint(one.pod, nowMs);
    return true;
  }

  /** Pods of this node are told by themselves, with more; an endpoint says no more about them. */
  #endpoint(fact: EndpointFact, isFirstList: boolean, nowMs: number): EndpointRecord {
    const { pod } = fact;
    const isElsewhere = pod !== undefined && fact.node !== this.#node;
    const record = isElsewhere ? this.#pods.addEndpoint({ ...fact, pod }, isFirstList, nowMs) : undefined;
    return { ip: fact.ip, node: fact.node, pod: record };
  }

  #claim(fact: ServiceFact, owner: ServiceOwner, fromMs: number): ServiceRecord {
    const record: ServiceRecord = { fact, owner, held: [], heldNodePorts: [] };
    const groups = [
      ['cluster-ip', fact.clusterIps],
      ['external-ip', fact.externalIps],
      ['load-balancer-ip', fact.balancerIps],
    ] as const;
    for (const [via, ips] of groups) {
      for (const ip of ips) {
        this.#addresses.claimService(ip, owner, fromMs);
        for (const one of fact.ports) {
          const key = portKey(one.port, one.proto) as number;
          const port = servicePort(fact, one, via);
          this.#addresses.claimPort(ip, key, port, fromMs);
          record.held.push({ ip, key, port });
        }
      }
    }
    for (const one of fact.ports) {
      if (one.nodePort === undefined) continue;
      const key = portKey(one.nodePort, one.proto) as number;
      const port = servicePort(fact, one, 'node-port');
      this.#addresses.claimNodePort(key, port, fromMs);
      record.heldNodePorts.push({ key, port });
    }
    return record;
  }

  #release(record: ServiceRecord, nowMs: number): void {
    for (const { ip, key, port } of record.held) {
      this.#addresses.releaseService(ip, record.owner, nowMs);
      this.#addresses.releasePort(ip, key, port, nowMs);
    }
    for (const { key, port } of record.heldNodePorts) this.#addresses.releaseNodePort(key, port, nowMs);
  }
}

function servicePort(fact: ServiceFact, one: { name: string; proto: L4 }, via: ServicePort['via']): ServicePort {
  const port: ServicePort = { service: { namespace: fact.namespace, name: fact.name, port: one.name }, via, proto: one.proto };
  if (fact.localInside) port.localInside = true;
  if (fact.localOutside) port.localOutside = true;
  if (fact.sourceRanges) port.sourceRanges = true;
  if (fact.affinity) port.affinity = true;
  return port;
}

function sameFact(a: ServiceFact, b: ServiceFact): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function sameSlice(record: SliceRecord, fact: SliceFact, node: string): boolean {
  return (
    record.endpoints.length === fact.endpoints.length &&
    JSON.stringify(record.ports) === JSON.stringify(fact.ports) &&
    fact.endpoints.every((one, i) => {
      const known = record.endpoints[i];
      const uid = one.node === node ? undefined : one.pod?.uid;
      return known?.ip === one.ip && known.node === one.node && known.pod?.version.owner.pod.uid === uid;
    })
  );
}
