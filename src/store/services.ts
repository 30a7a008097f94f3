import type { EndpointPorts, EndpointState, RecordedService, ServiceState } from '../event/service.ts';

/** Lines of `services` blocks. Told again at each segment's beginning; the last one told of what began at a time counts. */
export type ServiceLine =
  /** The recorder began. */
  | { run: string; node: string; atMs: number; afterMs?: number }
  /** A Service is, or was, so. */
  | { service: ServiceState & { namespace: string; name: string }; fromMs: number; toMs?: number; run: string }
  /** `of`, as `namespace/name`, has or had these endpoints. */
  | { of: string; ports: EndpointPorts; endpoints: EndpointState[]; fromMs: number; toMs?: number; run: string };

interface Interval {
  fromMs: number;
  toMs: number;
  run: string;
}

type Told<T> = T & Interval;
type State = Told<{ content: string; value: ServiceState }>;
type Endpoint = Told<{ content: string; value: EndpointState & { ports: EndpointPorts } }>;

/** What was there before a run is in its lists, which are in so long after its beginning. */
const LISTED_MS = 30_000;

/**
 * Puts the lines of all services blocks together. What a run left open (the recorder was killed) ended when the next
 * run began, unless that one found it there again.
 */
export async function recordedServices(lines: Iterable<ServiceLine> | AsyncIterable<ServiceLine>): Promise<RecordedService[]> {
  const runs = new Map<string, number>();
  const found = new Map<
    string,
    { namespace: string; name: string; states: Map<string, State>; endpoints: Map<string, Endpoint> }
  >();
  const serviceOf = (namespace: string, name: string) => {
    const key = `${namespace}/${name}`;
    const service = found.get(key) ?? { namespace, name, states: new Map(), endpoints: new Map() };
    found.set(key, service);
    return service;
  };
  for await (const line of lines) {
    if ('node' in line) {
      runs.set(line.run, line.atMs);
      continue;
    }
    const { fromMs, toMs = Number.POSITIVE_INFINITY, run } = line;
    if ('service' in line) {
      const { namespace, name, ...value } = line.service;
      const content = JSON.stringify(value);
      serviceOf(namespace, name).states.set(`${run} ${fromMs} ${content}`, { content, value, fromMs, toMs, run });
    } else {
      const slash = line.of.indexOf('/');
      const service = serviceOf(line.of.slice(0, slash), line.of.slice(slash + 1));
      for (const endpoint of line.endpoints) {
        const value = { ...endpoint, ports: line.ports };
        const content = JSON.stringify(value);
        service.endpoints.set(`${run} ${fromMs} ${content}`, { content, value, fromMs, toMs, run });
      }
    }
  }
  return [...found.values()].map(({ namespace, name, states, endpoints }) => ({
    namespace,
    name,
    states: settled([...states.values()], runs).map(withInterval),
    endpoints: settled([...endpoints.values()], runs).map(withInterval),
  }));
}

/** In order of time, with ends where nobody saw one, and with what two runs saw of the same as one. */
function settled<T extends State | Endpoint>(all: T[], runs: ReadonlyMap<string, number>): T[] {
  const begins = [...runs.values()].sort((a, b) => a - b);
  const open = new Map<string, T>();
  const kept: T[] = [];
  for (const one of all.sort((a, b) => a.fromMs - b.fromMs)) {
    const atMs = runs.get(one.run) ?? 0;
    const nextRunMs = begins.find((begin) => begin > atMs) ?? Number.POSITIVE_INFINITY;
    const isOpen = one.toMs === Number.POSITIVE_INFINITY;
    const before = open.get(one.content);
    const toMs = Math.max(one.fromMs, Math.min(one.toMs, nextRunMs));
    if (before !== undefined && before.toMs === atMs && one.fromMs <= atMs + LISTED_MS) before.toMs = toMs;
    else kept.push({ ...one, toMs });
    const last = before !== undefined && before.toMs === toMs ? before : kept.at(-1);
    if (isOpen && last !== undefined) open.set(one.content, last);
    else open.delete(one.content);
  }
  return kept;
}

function withInterval<V>({
  value,
  fromMs,
  toMs,
}: {
  value: V;
  fromMs: number;
  toMs: number;
}): V & { fromMs: number; toMs?: number } {
  return { ...value, fromMs, ...(toMs === Number.POSITIVE_INFINITY ? {} : { toMs }) };
}
