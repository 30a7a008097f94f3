import { type AddressBook, portKey, type ServiceOwner } from './address-book.ts';
import { nobody } from './claims.ts';
import { type EndpointFact, exact, type ServiceFact, type SliceFact } from './facts.ts';
import type { PodBook } from './pod-book.ts';
import { type EndpointRecord, SliceRecord } from './slice-record.ts';
import type { L4, ServicePort } from './types.ts';

/** A Service as it is now. */
export interface ServiceRecord {
  fact: ServiceFact;
  /** Owner of its addresses, without a port. */
  owner: ServiceOwner;
  held: { ip: string; key: number; port: ServicePort }[];
  heldNodePorts: { key: number; port: ServicePort }[];
}

/** A Service with its EndpointSlices. */
export interface ServiceWithSlices {
  fact: ServiceFact;
  slices: readonly SliceRecord[];
}

/** What a change of an EndpointSlice changes: which Services' endpoints, and the addresses of those that were added, removed, or belong to another pod. */
export interface SliceChange {
  services: readonly string[];
  ips: readonly string[];
}

/** Services with their addresses and ports, and their EndpointSlices. */
export class ServiceBook {
  readonly #services = new Map<string, ServiceRecord>();
  readonly #slices = new Map<string, SliceRecord>();
  /** By their Service's key; nearly always one. */
  readonly #slicesOf = new Map<string, SliceRecord | Set<SliceRecord>>();
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

  *withSlices(): Generator<ServiceWithSlices> {
    for (const [key, { fact }] of this.#services) yield { fact, slices: [...this.#of(key)] };
  }

  get serviceCount(): number {
    return this.#services.size;
  }

  get serviceKeys(): string[] {
    return [...this.#services.keys()];
  }

  get sliceKeys(): string[] {
    return [...this.#slices.keys()];
  }

  get endpointCount(): number {
    let count = 0;
    for (const slice of this.#slices.values()) count += slice.size;
    return count;
  }

  /** The addresses of all endpoints of a Service. */
  *endpointIps(namespace: string, name: string): Generator<string> {
    for (const slice of this.#of(`${namespace}/${name}`)) yield* slice.ips();
  }

  /** The endpoints' addresses with what their slice has for a port of this name. */
  *endpointAddresses(namespace: string, name: string, portName: string): Generator<{ ip: string; port: number }> {
    for (const slice of this.#of(`${namespace}/${name}`)) {
      for (const { name: named, port } of slice.ports) {
        if (named === portName) for (const ip of slice.ips()) yield { ip, port };
      }
    }
  }

  /** Keys `namespace/name` of the Services that have one of these addresses as an endpoint. */
  servicesOf(lists: Iterable<string>[]): Set<string> {
    const found = new Set<string>();
    for (const ips of lists) for (const ip of ips) this.#pods.remote.addServices(found, ip);
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
    this.#services.set(key, this.#claim(fact, owner, fromMs));
    // After that, so that a Service that waits does not get what this one keeps.
    if (known) this.#release(known, fact, nowMs);
    return true;
  }

  removeService(key: string, nowMs: number): boolean {
    const known = this.#services.get(key);
    if (!known) return false;
    this.#release(known, undefined, nowMs);
    this.#services.delete(key);
    return true;
  }

  /** Undefined when nothing has changed. */
  upsertSlice(fact: SliceFact, isFirstList: boolean, nowMs: number): SliceChange | undefined {
    const key = `${fact.namespace}/${fact.name}`;
    const service = `${fact.namespace}/${fact.service}`;
    const before = this.#slices.get(key);
    if (before?.service === service && before.isSame(fact)) return undefined;
    const endpoints = fact.endpoints.map((one) => this.#add(one, service, isFirstList, nowMs));
    // What changes most is whether they are ready. Before their rows are free again.
    const was = before?.hasRecords(endpoints) ? undefined : before?.holders();
    const released = this.#removeSlice(key, nowMs)?.released ?? [];
    const slice = new SliceRecord(fact, service, endpoints, this.#pods.remote);
    this.#slices.set(key, slice);
    const others = this.#slicesOf.get(service);
    if (others instanceof Set) others.add(slice);
    else this.#slicesOf.set(service, others === undefined ? slice : new Set([others, slice]));
    if (before !== undefined && before.service !== service)
      return { services: [before.service, service], ips: unique(was?.keys() ?? [], slice.ips(), released) };
    const ips = before === undefined ? slice.ips() : was === undefined ? [] : changed(was, slice.holders());
    return { services: [service], ips: unique(ips, released) };
  }

  /** Undefined when there was none. */
  removeSlice(key: string, nowMs: number): SliceChange | undefined {
    const removed = this.#removeSlice(key, nowMs);
    if (removed === undefined) return undefined;
    const { service, ips, released } = removed;
    return { services: [service], ips: unique(ips, released) };
  }

  *#of(service: string): Generator<SliceRecord> {
    const slices = this.#slicesOf.get(service);
    if (slices instanceof Set) yield* slices;
    else if (slices !== undefined) yield slices;
  }

  /** `ips`: of its endpoints; `released`: those that their pods no longer hold. */
  #removeSlice(key: string, nowMs: number): { service: string; ips: readonly string[]; released: readonly string[] } | undefined {
    const slice = this.#slices.get(key);
    if (slice === undefined) return undefined;
    const { service } = slice;
    this.#slices.delete(key);
    const all = this.#slicesOf.get(service);
    if (all instanceof Set) all.delete(slice);
    if (!(all instanceof Set) || all.size === 0) this.#slicesOf.delete(service);
    const ips = [...slice.ips()];
    const released: string[] = [];
    for (const one of slice.records) {
      if (typeof one === 'number') released.push(...this.#pods.dropEndpoint(one, service, nowMs));
      else this.#pods.remote.otherServices.remove(one.ip, service);
    }
    return { service, ips, released };
  }

  /** Pods of this node are told by themselves, with more; an endpoint says no more about them. */
  #add({ ip, node, pod }: EndpointFact, service: string, isFirstList: boolean, nowMs: number): EndpointRecord {
    if (pod !== undefined && node !== this.#node) return this.#pods.addEndpoint({ ip, node, pod }, service, isFirstList, nowMs);
    this.#pods.remote.otherServices.add(ip, service);
    return { ip, node, pod };
  }

  /** What another Service has already (a load-balancer address that several share) stays with it, and is this one's when that one is gone. */
  #claim(fact: ServiceFact, owner: ServiceOwner, fromMs: number): ServiceRecord {
    const held: ServiceRecord['held'] = [];
    const heldNodePorts: ServiceRecord['heldNodePorts'] = [];
    const groups = [
      ['cluster-ip', fact.clusterIps],
      ['external-ip', fact.externalIps],
      ['load-balancer-ip', fact.balancerIps],
    ] as const;
    for (const [via, ips] of groups) {
      for (const ip of ips) {
        this.#addresses.claim(via === 'cluster-ip' ? 'clusterIp' : 'external', ip, owner, fromMs, nobody);
        for (const one of fact.ports) {
          const key = portKey(one.port, one.proto) as number;
          const port = servicePort(fact, one, via);
          this.#addresses.claimPort(ip, key, port, fromMs, (other) => isOf(other, fact));
          held.push({ ip, key, port });
        }
      }
    }
    for (const one of fact.ports) {
      if (one.nodePort === undefined) continue;
      const key = portKey(one.nodePort, one.proto) as number;
      const port = servicePort(fact, one, 'node-port');
      this.#addresses.claimNodePort(key, port, fromMs);
      heldNodePorts.push({ key, port });
    }
    return { fact, owner, held: exact(held), heldNodePorts: exact(heldNodePorts) };
  }

  /** What a Service had and does not have any more, now that it is another one or gone. */
  #release(record: ServiceRecord, now: ServiceFact | undefined, nowMs: number): void {
    for (const kind of ['clusterIp', 'external'] as const) {
      const kept = new Set(now && ipsOf(now, kind));
      for (const ip of ipsOf(record.fact, kind)) if (!kept.has(ip)) this.#addresses.release(kind, ip, record.owner, nowMs);
    }
    for (const { ip, key, port } of record.held) this.#addresses.releasePort(ip, key, port, nowMs);
    for (const { key, port } of record.heldNodePorts) this.#addresses.releaseNodePort(key, port, nowMs);
  }
}

function ipsOf({ clusterIps, externalIps, balancerIps }: ServiceFact, kind: 'clusterIp' | 'external'): readonly string[] {
  return kind === 'clusterIp' ? clusterIps : [...externalIps, ...balancerIps];
}

function isOf({ service }: ServicePort, { namespace, name }: ServiceFact): boolean {
  return service.namespace === namespace && service.name === name;
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

/** Addresses with other endpoints than before. */
function changed(was: ReadonlyMap<string, string>, is: ReadonlyMap<string, string>): string[] {
  return unique(was.keys(), is.keys()).filter((ip) => was.get(ip) !== is.get(ip));
}

function unique(...lists: Iterable<string>[]): string[] {
  return [...new Set(lists.flatMap((list) => [...list]))];
}
