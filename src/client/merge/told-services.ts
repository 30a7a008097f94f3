import type { EndpointPorts, EndpointState, RecordedService, ServiceState } from '../../event/service.ts';
import { KtraceError } from '../../util/errors.ts';

/** UTC; without `to` it lasted still. */
interface Told {
  from: string;
  to?: string;
}

/** A Service as `--services` tells it in JSON, and as a dump's file holds it; out of what all nodes recorded. */
export interface ToldService {
  v: 1;
  kind: 'service';
  namespace: string;
  name: string;
  /** Which recordings know of it. */
  nodes: string[];
  states: (ServiceState & Told)[];
  endpoints: (EndpointState & { ports: EndpointPorts } & Told)[];
}

export interface NodeServices {
  node: string;
  services: readonly RecordedService[];
}

type Interval<T> = T & { fromMs: number; toMs?: number };

/** Nodes learn of a change within so long of each other. */
const APART_MS = 5000;

/** What several nodes recorded of the same Services as one, by name. */
export function toldServices(nodes: readonly NodeServices[]): ToldService[] {
  const byName = new Map<string, { nodes: Set<string>; all: RecordedService[] }>();
  for (const { node, services } of nodes) {
    for (const service of services) {
      const name = `${service.namespace}/${service.name}`;
      const known = byName.get(name) ?? { nodes: new Set<string>(), all: [] };
      byName.set(name, known);
      known.nodes.add(node);
      known.all.push(service);
    }
  }
  const told = [...byName.values()].flatMap(({ nodes: names, all }): ToldService[] => {
    const [first] = all;
    if (first === undefined) return [];
    const { namespace, name } = first;
    const states = joined(all.flatMap((one) => one.states)).map(withTimes);
    const endpoints = joined(all.flatMap((one) => one.endpoints)).map(withTimes);
    return [{ v: 1, kind: 'service', namespace, name, nodes: [...names].sort(), states, endpoints }];
  });
  return told.sort((a, b) => `${a.namespace}/${a.name}`.localeCompare(`${b.namespace}/${b.name}`));
}

/** In order of time; what is the same and was at the same time is one. */
export function joined<T extends object>(all: readonly Interval<T>[]): Interval<T>[] {
  const last = new Map<string, Interval<T>>();
  const kept: Interval<T>[] = [];
  for (const one of [...all].sort((a, b) => a.fromMs - b.fromMs)) {
    const { fromMs, toMs, ...content } = one;
    const key = JSON.stringify(content);
    const before = last.get(key);
    if (before !== undefined && (before.toMs === undefined || fromMs <= before.toMs + APART_MS)) {
      if (toMs === undefined) delete before.toMs;
      else if (before.toMs !== undefined) before.toMs = Math.max(before.toMs, toMs);
      continue;
    }
    const copy = { ...one };
    last.set(key, copy);
    kept.push(copy);
  }
  return kept;
}

function withTimes<T extends object>({ fromMs, toMs, ...content }: Interval<T>): Omit<Interval<T>, 'fromMs' | 'toMs'> & Told {
  return { ...content, from: utc(fromMs), ...(toMs === undefined ? {} : { to: utc(toMs) }) };
}

function utc(ms: number): string {
  return new Date(ms).toISOString();
}

/** Checks what printing walks into. Throws KTRACE_E_PROTOCOL. */
export function checkService(value: unknown): asserts value is ToldService {
  const service = value as ToldService;
  const isOne =
    areTexts(service?.namespace, service?.name) &&
    areAll(service.nodes, (node) => areTexts(node)) &&
    areAll(service.states, (one) => areTexts(one?.from) && areAll(one.ips, (ip) => areTexts(ip)) && arePorts(one.ports)) &&
    areAll(service.endpoints, (one) => areTexts(one?.ip, one?.from) && isMissingOrPod(one.pod) && arePorts(one.ports));
  if (isOne) return;
  throw new KtraceError(
    'KTRACE_E_PROTOCOL',
    `Expected a Service with all its fields, got ${JSON.stringify(value).slice(0, 120)}`,
  );
}

function areAll<T>(list: readonly T[], check: (item: T) => boolean): boolean {
  return Array.isArray(list) && list.every(check);
}

function arePorts(ports: EndpointPorts): boolean {
  return areAll(ports, (port) => areTexts(port?.name, port?.proto) && typeof port.port === 'number');
}

function isMissingOrPod(pod: EndpointState['pod']): boolean {
  return pod === undefined || areTexts(pod?.namespace, pod?.name);
}

function areTexts(...values: unknown[]): boolean {
  return values.every((value) => typeof value === 'string');
}
