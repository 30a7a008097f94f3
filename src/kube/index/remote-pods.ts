import { randomInt } from 'node:crypto';
import type { EndpointFact } from './facts.ts';
import { addressOf, hashOf, packAddress, packUid, sameWords, uidOf, type Words } from './packed.ts';
import type { NamedPod } from './pod-records.ts';

/** A pod of another node at one of its addresses, as EndpointSlices name it: the number of its row. The same for all slices that name it. */
export type RemotePod = number;

export type RemotePodFact = Omit<EndpointFact, 'isReady'> & { pod: NonNullable<EndpointFact['pod']> };

/** Rows there is room for at first. */
const ROOM = 64;
/** Words of a row: its address, and its pod's uid. */
const ROW = 8;
const UID_AT = 4;
/** The table by address is full to three quarters at most. */
const SLOTS = 4 / 3;

/**
 * Pods of other nodes, nearly all of a cluster's: a row of columns each, which takes a third of what objects and maps of them take. The table has room
 * for the most there ever were. One that somebody asks for, or whose address changes hands, is kept in full beside its row from then on, and no longer
 * found by its address here.
 */
export class RemotePods {
  /** Of addresses: what endpoints say that are no row here, or one that is kept in full. */
  readonly otherServices = new EndpointServices();
  #words: Words = new Uint32Array(ROOM * ROW);
  #fromMs = new Float64Array(ROOM);
  /** How many endpoints it stands for; 0: the row is free. */
  #endpoints = new Uint32Array(ROOM);
  readonly #namespaces: string[] = [];
  readonly #names: string[] = [];
  readonly #nodes: (string | undefined)[] = [];
  /** Of which Services those endpoints are, while it is found by its address. */
  readonly #services: ServiceCounts[] = [];
  /** Of rows whose uid is no UUID. */
  readonly #otherUids = new Map<RemotePod, string>();
  /** Those that are kept in full. */
  readonly #records = new Map<RemotePod, NamedPod>();
  readonly #free: RemotePod[] = [];
  /** By address, with linear probing: a row's number and one, 0 in a free slot. */
  #slots = new Uint32Array(slotsFor(ROOM));
  readonly #seed = randomInt(2 ** 32);
  readonly #asked: Words = new Uint32Array(4);

  /** Those that are not kept in full. */
  get size(): number {
    return this.#names.length - this.#free.length - this.#records.size;
  }

  /** Who holds an address and is not kept in full. */
  at(ip: string): RemotePod | undefined {
    packAddress(ip, this.#asked);
    for (let slot = this.#homeOf(this.#asked, 0); ; slot = this.#after(slot)) {
      const row = (this.#slots[slot] as number) - 1;
      if (row < 0) return undefined;
      if (sameWords(this.#asked, 0, this.#words, row * ROW)) return row;
    }
  }

  /** Whose address nobody has here. It stands for one endpoint of a Service. */
  add(fact: RemotePodFact, fromMs: number, service: string): RemotePod {
    const row = this.#take(fact, fromMs);
    this.#services[row] = service;
    this.#insert(row);
    return row;
  }

  /** One that is kept in full from the beginning. */
  addInFull(fact: RemotePodFact, fromMs: number, service: string, record: NamedPod): RemotePod {
    const row = this.#take(fact, fromMs);
    this.#records.set(row, record);
    this.otherServices.add(fact.ip, service);
    return row;
  }

  /** @param make gives its record; nobody has its address here any more when it is called */
  keepInFull(row: RemotePod, make: () => NamedPod): NamedPod {
    this.#remove(row);
    this.otherServices.addAll(this.ip(row), this.#services[row]);
    this.#services[row] = undefined;
    const record = make();
    this.#records.set(row, record);
    return record;
  }

  /** It stands for one endpoint of a Service more. */
  hold(row: RemotePod, service: string): void {
    this.#endpoints[row] = this.endpoints(row) + 1;
    this.#services[row] = withService(this.#services[row], service);
  }

  /** It stands for one endpoint of a Service less; with the last one its row is free. */
  release(row: RemotePod, service: string): void {
    const left = this.endpoints(row) - 1;
    const isInFull = this.#records.has(row);
    this.#endpoints[row] = left;
    if (isInFull) this.otherServices.remove(this.ip(row), service);
    else this.#services[row] = withoutService(this.#services[row], service);
    if (left > 0) return;
    if (!isInFull) this.#remove(row);
    this.#records.delete(row);
    this.#otherUids.delete(row);
    this.#namespaces[row] = '';
    this.#names[row] = '';
    this.#nodes[row] = undefined;
    this.#free.push(row);
  }

  /** How many endpoints it stands for. */
  endpoints(row: RemotePod): number {
    return this.#endpoints[row] as number;
  }

  ip(row: RemotePod): string {
    return addressOf(this.#words, row * ROW);
  }

  node(row: RemotePod): string | undefined {
    return this.#nodes[row];
  }

  pod(row: RemotePod): { namespace: string; name: string; uid: string } {
    const uid = this.#otherUids.get(row) ?? uidOf(this.#words, row * ROW + UID_AT);
    return { namespace: this.#namespaces[row] as string, name: this.#names[row] as string, uid };
  }

  /** Since when it has its address, Unix milliseconds. */
  fromMs(row: RemotePod): number {
    return this.#fromMs[row] as number;
  }

  /** Where it is kept in full. */
  record(row: RemotePod): NamedPod | undefined {
    return this.#records.get(row);
  }

  /** Whether it is this pod: a uid alone is whatever a slice says. */
  isPod(row: RemotePod, { namespace, uid }: { namespace: string; uid: string }): boolean {
    if (this.#namespaces[row] !== namespace) return false;
    const other = this.#otherUids.get(row);
    if (other !== undefined || !packUid(uid, this.#asked)) return other === uid;
    return sameWords(this.#asked, 0, this.#words, row * ROW + UID_AT);
  }

  isAt(row: RemotePod, ip: string): boolean {
    packAddress(ip, this.#asked);
    return sameWords(this.#asked, 0, this.#words, row * ROW);
  }

  /** Adds the Services that have an address as an endpoint to a set. */
  addServices(found: Set<string>, ip: string): void {
    const row = this.at(ip);
    if (row !== undefined) addNames(found, this.#services[row]);
    this.otherServices.addTo(found, ip);
  }

  #take({ ip, node, pod }: RemotePodFact, fromMs: number): RemotePod {
    const row = this.#free.pop() ?? this.#names.length;
    if (row >= this.#endpoints.length) this.#grow();
    packAddress(ip, this.#words, row * ROW);
    if (!packUid(pod.uid, this.#words, row * ROW + UID_AT)) this.#otherUids.set(row, pod.uid);
    this.#fromMs[row] = fromMs;
    this.#endpoints[row] = 1;
    this.#namespaces[row] = pod.namespace;
    this.#names[row] = pod.name;
    this.#nodes[row] = node;
    this.#services[row] = undefined;
    return row;
  }

  #homeOf(words: Words, at: number): number {
    return hashOf(words, at, this.#seed) & (this.#slots.length - 1);
  }

  #after(slot: number): number {
    return (slot + 1) & (this.#slots.length - 1);
  }

  #insert(row: RemotePod): void {
    let slot = this.#homeOf(this.#words, row * ROW);
    while (this.#slots[slot] !== 0) slot = this.#after(slot);
    this.#slots[slot] = row + 1;
  }

  #remove(row: RemotePod): void {
    let hole = this.#homeOf(this.#words, row * ROW);
    while (this.#slots[hole] !== row + 1) hole = this.#after(hole);
    this.#slots[hole] = 0;
    // Those behind that would not be found past the hole move into it.
    for (let slot = this.#after(hole); this.#slots[slot] !== 0; slot = this.#after(slot)) {
      const home = this.#homeOf(this.#words, ((this.#slots[slot] as number) - 1) * ROW);
      const isBetween = hole <= slot ? hole < home && home <= slot : hole < home || home <= slot;
      if (isBetween) continue;
      this.#slots[hole] = this.#slots[slot] as number;
      this.#slots[slot] = 0;
      hole = slot;
    }
  }

  #grow(): void {
    const room = this.#endpoints.length + Math.ceil(this.#endpoints.length / 2);
    const [words, fromMs, endpoints] = [this.#words, this.#fromMs, this.#endpoints];
    this.#words = new Uint32Array(room * ROW);
    this.#words.set(words);
    this.#fromMs = new Float64Array(room);
    this.#fromMs.set(fromMs);
    this.#endpoints = new Uint32Array(room);
    this.#endpoints.set(endpoints);
    this.#slots = new Uint32Array(slotsFor(room));
    for (let row = 0; row < endpoints.length; row += 1) if (endpoints[row] !== 0 && !this.#records.has(row)) this.#insert(row);
  }
}

/** Which Services have an address as an endpoint. */
class EndpointServices {
  readonly #byIp = new Map<string, ServiceCounts>();

  /** Adds the Services of an address to a set. */
  addTo(found: Set<string>, ip: string): void {
    addNames(found, this.#byIp.get(ip));
  }

  add(ip: string, service: string): void {
    this.#set(ip, withService(this.#byIp.get(ip), service));
  }

  /** All of another account of the address. */
  addAll(ip: string, others: ServiceCounts): void {
    let services = this.#byIp.get(ip);
    if (typeof others === 'string') services = withService(services, others);
    else for (const [service, times] of others ?? []) services = withService(services, service, times);
    this.#set(ip, services);
  }

  remove(ip: string, service: string): void {
    this.#set(ip, withoutService(this.#byIp.get(ip), service));
  }

  #set(ip: string, services: ServiceCounts): void {
    if (services === undefined) this.#byIp.delete(ip);
    else this.#byIp.set(ip, services);
  }
}

/**
 * Of which Services something is an endpoint. Counted, because several slices, and one slice several times, may have it. Nearly all of 150,000 endpoints
 * are in one Service and counted once: for those only the name is kept. Undefined: of none.
 */
export type ServiceCounts = string | Map<string, number> | undefined;

export function withService(known: ServiceCounts, service: string, times = 1): ServiceCounts {
  if (known === undefined && times === 1) return service;
  const counts = typeof known === 'object' ? known : new Map(known === undefined ? [] : [[known, 1]]);
  return counts.set(service, (counts.get(service) ?? 0) + times);
}

export function withoutService(known: ServiceCounts, service: string): ServiceCounts {
  if (typeof known !== 'object') return known === service ? undefined : known;
  const count = (known.get(service) ?? 0) - 1;
  if (count > 0) known.set(service, count);
  else known.delete(service);
  // A slice that changes counts its endpoints twice for a moment: they would stay maps.
  for (const [only, times] of known) return known.size === 1 && times === 1 ? only : known;
  return undefined;
}

/** Adds their names to a set. */
function addNames(found: Set<string>, known: ServiceCounts): void {
  if (typeof known === 'string') found.add(known);
  else for (const service of known?.keys() ?? []) found.add(service);
}

/** A power of two, so that a hash is cut to a slot by its bits. */
function slotsFor(rows: number): number {
  return 2 ** Math.ceil(Math.log2(rows * SLOTS));
}
