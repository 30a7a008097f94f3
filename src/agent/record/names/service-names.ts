import type { EndpointPorts, EndpointState, ServiceState } from '../../../event/service.ts';
import type { ServiceFact } from '../../../kube/index/facts.ts';
import type { ServiceWithSlices } from '../../../kube/index/service-book.ts';
import type { SliceRecord } from '../../../kube/index/slice-record.ts';
import type { ServiceLine } from '../../../store/services.ts';

export interface ServiceNamesOptions {
  node: string;
  /** This start of the recorder. */
  run: string;
  /** As they are now. */
  services(): Iterable<ServiceWithSlices>;
  /** So many Services, and so many endpoints, are kept account of; a segment begins with all of them. */
  most: number;
}

interface Told {
  fact: ServiceFact;
  state: ServiceState;
  fromMs: number;
  /** What its endpoints were made of; undefined while not all of them found room. */
  slices: readonly SliceRecord[] | undefined;
  hasEndpoints: boolean;
  endpoints: Map<string, ToldEndpoint>;
}

interface ToldEndpoint {
  endpoint: EndpointState;
  ports: EndpointPorts;
  fromMs: number;
}

/** A line of so many endpoints is far from what a block takes. */
const ENDPOINTS_OF_A_LINE = 100;

/**
 * Which Services there are, for the recording: all of them by their addresses and ports, and the endpoints of those that this node has to do with: one
 * runs here or on no node, or a record named the Service. All endpoints of a cluster on each of its nodes would say the same a thousand times.
 */
export class ServiceNames {
  /** Services and endpoints without room. */
  leftOut = 0;
  readonly #options: ServiceNamesOptions;
  readonly #told = new Map<string, Told>();
  readonly #used = new Set<string>();
  #endpointCount = 0;
  #hasChanged = true;

  constructor(options: ServiceNamesOptions) {
    this.#options = options;
  }

  /** A record names this Service. */
  use(name: string): void {
    if (this.#used.has(name)) return;
    this.#used.add(name);
    this.#hasChanged = true;
  }

  /** There may be others now. */
  changed(): void {
    this.#hasChanged = true;
  }

  /** What has changed since the last time. */
  take(nowMs: number): ServiceLine[] {
    if (!this.#hasChanged) return [];
    this.#hasChanged = false;
    this.leftOut = 0;
    const lines: ServiceLine[] = [];
    const here = new Set<string>();
    for (const { fact, slices } of this.#options.services()) {
      const name = `${fact.namespace}/${fact.name}`;
      here.add(name);
      const told = this.#state(name, fact, nowMs, lines);
      if (told === undefined) this.leftOut += 1;
      else this.#endpoints(name, told, slices, nowMs, lines);
    }
    for (const [name, told] of this.#told) if (!here.has(name)) this.#end(name, told, nowMs, lines);
    for (const name of this.#used) if (!here.has(name)) this.#used.delete(name);
    return lines;
  }

  /** All that there is, for a segment that explains itself. */
  *all(): Generator<ServiceLine> {
    for (const [name, told] of this.#told) {
      yield this.#stateLine(told);
      yield* this.#endpointLines(name, [...told.endpoints.values()]);
    }
  }

  #state(name: string, fact: ServiceFact, nowMs: number, lines: ServiceLine[]): Told | undefined {
    const known = this.#told.get(name);
    if (known?.fact === fact) return known;
    const state = stateOf(fact);
    if (known !== undefined && JSON.stringify(known.state) === JSON.stringify(state)) {
      known.fact = fact;
      return known;
    }
    if (known === undefined && this.#told.size >= this.#options.most) return undefined;
    if (known !== undefined) lines.push(this.#stateLine(known, nowMs));
    const rest = known ?? { slices: undefined, hasEndpoints: false, endpoints: new Map() };
    const told = { ...rest, fact, state, fromMs: nowMs };
    this.#told.set(name, told);
    lines.push(this.#stateLine(told));
    return told;
  }

  #endpoints(name: string, told: Told, slices: readonly SliceRecord[], nowMs: number, lines: ServiceLine[]): void {
    const wasTold = told.hasEndpoints;
    // Once it had to do with this node it stays so: who left a moment ago is what is asked about.
    told.hasEndpoints ||= this.#used.has(name) || slices.some((slice) => slice.isNear(this.#options.node));
    if (!told.hasEndpoints || (wasTold && isSame(told.slices, slices))) return;
    const now = endpointsOf(slices, nowMs);
    const ended: ToldEndpoint[] = [];
    const begun: ToldEndpoint[] = [];
    for (const [key, one] of told.endpoints) {
      if (now.has(key)) continue;
      told.endpoints.delete(key);
      ended.push(one);
    }
    this.#endpointCount -= ended.length;
    for (const [key, one] of now) {
      if (told.endpoints.has(key)) continue;
      if (this.#endpointCount >= this.#options.most) {
        this.leftOut += 1;
        continue;
      }
      this.#endpointCount += 1;
      told.endpoints.set(key, one);
      begun.push(one);
    }
    told.slices = told.endpoints.size === now.size ? slices : undefined;
    lines.push(...this.#endpointLines(name, ended, nowMs), ...this.#endpointLines(name, begun));
  }

  #end(name: string, told: Told, nowMs: number, lines: ServiceLine[]): void {
    lines.push(this.#stateLine(told, nowMs), ...this.#endpointLines(name, [...told.endpoints.values()], nowMs));
    this.#endpointCount -= told.endpoints.size;
    this.#told.delete(name);
  }

  #stateLine({ fact: { namespace, name }, state, fromMs }: Told, toMs?: number): ServiceLine {
    const end = toMs === undefined ? {} : { toMs };
    return { service: { namespace, name, ...state }, fromMs, ...end, run: this.#options.run };
  }

  /** Those that began at one time and answer at the same ports share a line. */
  *#endpointLines(of: string, all: readonly ToldEndpoint[], toMs?: number): Generator<ServiceLine> {
    const groups = new Map<string, ToldEndpoint[]>();
    for (const one of all) {
      const key = `${one.fromMs} ${portsKey(one.ports)}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [one]);
      else group.push(one);
    }
    const end = toMs === undefined ? {} : { toMs };
    for (const group of groups.values()) {
      for (let at = 0; at < group.length; at += ENDPOINTS_OF_A_LINE) {
        const { ports, fromMs } = group[at] as ToldEndpoint;
        const endpoints = group.slice(at, at + ENDPOINTS_OF_A_LINE).map(({ endpoint }) => endpoint);
        yield { of, ports, endpoints, fromMs, ...end, run: this.#options.run };
      }
    }
  }
}

function stateOf({ uid, type, clusterIps, externalIps, balancerIps, ports }: ServiceFact): ServiceState {
  return {
    ...(uid === undefined ? {} : { uid }),
    ...(type === undefined ? {} : { type }),
    ips: clusterIps,
    ...(externalIps.length === 0 ? {} : { externalIps }),
    ...(balancerIps.length === 0 ? {} : { balancerIps }),
    ports: ports.map(({ name, proto, port, nodePort }) => ({
      name,
      proto,
      port,
      ...(nodePort === undefined ? {} : { nodePort }),
    })),
  };
}

/** By what distinguishes them: an endpoint that becomes ready, or a pod that gets an address, is another one. */
function endpointsOf(slices: readonly SliceRecord[], fromMs: number): Map<string, ToldEndpoint> {
  const found = new Map<string, ToldEndpoint>();
  for (const slice of slices) {
    const { ports } = slice;
    const unready = new Set(slice.unready);
    const key = portsKey(ports);
    let place = 0;
    for (const { ip, node, pod } of slice.endpoints()) {
      const isReady = !unready.has(place);
      place += 1;
      const endpoint: EndpointState = {
        ip,
        ...(node === undefined ? {} : { node }),
        ...(pod === undefined ? {} : { pod: { namespace: pod.namespace, name: pod.name, uid: pod.uid } }),
        ...(isReady ? {} : { ready: false }),
      };
      found.set(`${ip} ${pod?.uid ?? ''} ${isReady} ${key}`, { endpoint, ports, fromMs });
    }
  }
  return found;
}

function portsKey(ports: EndpointPorts): string {
  return ports.map(({ name, proto, port }) => `${name}:${proto}:${port}`).join();
}

/** A slice is another object when something of it has changed. */
function isSame(before: readonly SliceRecord[] | undefined, now: readonly SliceRecord[]): boolean {
  return before?.length === now.length && now.every((slice, place) => slice === before[place]);
}
