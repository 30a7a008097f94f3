import { readdirSync } from 'node:fs';
import { Counter, Gauge, Registry } from 'prom-client';
import type { Counter as FeedCounter } from '../../util/counter.ts';
import { Recent } from '../../util/recent.ts';
import type { SessionCounts, Sessions } from './sessions.ts';

/** Content type of the Prometheus text format. */
export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;

/** Reading the counters and rendering them takes a millisecond of the loop that also empties the kernel's ring. */
const MAX_AGE_MS = 1000;

/** The page of `/metrics`, as it was at most a second ago: however often it is asked for, it costs the same. */
export class MetricsPage {
  readonly #page: Recent<string>;

  /** @param nowMs milliseconds of a clock that is never stepped */
  constructor(read: () => readonly FeedCounter[], nowMs: () => number) {
    this.#page = new Recent(async () => renderMetrics(read()), MAX_AGE_MS, nowMs);
  }

  text(): Promise<string> {
    return this.#page.get();
  }
}

/**
 * Everything in the Prometheus text format, with the metrics of this process and of Node. Labels never name a pod or an address. A registry that is kept
 * would take as long to fill.
 */
async function renderMetrics(counters: readonly FeedCounter[]): Promise<string> {
  const registry = new Registry();
  for (const { name, help, type, values } of [...counters, ...processCounters()]) {
    const labelNames = [...new Set(values.flatMap(({ labels }) => Object.keys(labels)))];
    const metric = new (type === 'counter' ? Counter : Gauge)({ name, help, labelNames, registers: [registry] });
    for (const { labels, value } of values) metric.inc(labels, value);
  }
  return registry.metrics();
}

export interface ServerState {
  version: string;
  clients: number;
  /** Websockets so far. */
  accepted: number;
  errors: ReadonlyMap<string, number>;
  counts: Readonly<SessionCounts>;
  totals: ReturnType<Sessions['totals']>;
}

/** The server's own counters; `events_in + events_put_back = events_out + events_dropped + events_queued`, gaps apart. */
export function serverCounters({ version, clients, accepted, errors, counts, totals }: ServerState): FeedCounter[] {
  return [
    gauge('ktrace_build_info', 'Always 1; the label has the version.', [[{ version }, 1]]),
    gauge('ktrace_server_clients', 'Websockets connected.', [[{}, clients]]),
    counter('ktrace_server_connections_total', 'Websockets accepted.', [[{}, accepted]]),
    counter(
      'ktrace_server_errors_total',
      'Requests refused and connections ended by an error, by code.',
      [...errors].map(([code, count]) => [{ code }, count]),
    ),
    gauge('ktrace_server_sessions', 'Sessions with a client, and lingering without one.', [
      [{ state: 'attached' }, totals.attached],
      [{ state: 'lingering' }, totals.lingering],
    ]),
    counter('ktrace_server_sessions_total', 'What became of subscriptions.', [
      [{ event: 'opened' }, counts.opened],
      [{ event: 'resumed' }, counts.resumed],
      [{ event: 'not_resumed' }, counts.notResumed],
      [{ event: 'stalled' }, counts.stalled],
    ]),
    counter('ktrace_server_records_withheld_total', 'Records not shown to a session, no end of them being its to see.', [
      [{}, counts.withheld],
    ]),
    counter('ktrace_server_records_filtered_total', "Records not told because of a session's filter, by reason.", [
      [{ reason: 'no_match' }, counts.filtered - counts.undecided],
      [{ reason: 'bytes_not_captured' }, counts.undecided],
    ]),
    counter('ktrace_server_events_in_total', "Events that came into sessions' queues.", [[{}, counts.in]]),
    counter('ktrace_server_events_out_total', 'Events that left in batches.', [[{}, counts.out]]),
    counter('ktrace_server_events_put_back_total', 'Events queued again because the connection broke.', [[{}, counts.putBack]]),
    counter('ktrace_server_events_dropped_total', 'Events that did not leave, by reason.', [
      [{ reason: 'queue_full' }, counts.cut],
      [{ reason: 'lost_added_up' }, counts.folded],
      [{ reason: 'session_ended' }, counts.discarded],
    ]),
    gauge('ktrace_server_events_queued', 'Events that wait for clients.', [[{}, totals.events]]),
    gauge('ktrace_server_held_bytes', 'JSON kept for clients, queued or not acknowledged.', [[{}, totals.bytes]]),
  ];
}

type Values = [labels: Record<string, string>, value: number][];

function counter(name: string, help: string, values: Values): FeedCounter {
  return { name, help, type: 'counter', values: values.map(([labels, value]) => ({ labels, value })) };
}

function gauge(name: string, help: string, values: Values): FeedCounter {
  return { name, help, type: 'gauge', values: values.map(([labels, value]) => ({ labels, value })) };
}

/**
 * The process's own, by the names that Prometheus's libraries give them. This one's own set of them has also the loop's delay, for whose sake each process
 * would wake a hundred times a second from the first scrape on.
 */
function processCounters(): FeedCounter[] {
  const { user, system } = process.cpuUsage();
  const { rss, heapTotal, heapUsed, external } = process.memoryUsage();
  return [
    counter('process_cpu_user_seconds_total', 'CPU time in user mode.', [[{}, user / 1e6]]),
    counter('process_cpu_system_seconds_total', 'CPU time in the kernel.', [[{}, system / 1e6]]),
    counter('process_cpu_seconds_total', 'CPU time.', [[{}, (user + system) / 1e6]]),
    gauge('process_start_time_seconds', 'When the process began, in seconds since 1970.', [[{}, performance.timeOrigin / 1000]]),
    gauge('process_resident_memory_bytes', 'Memory in use.', [[{}, rss]]),
    gauge('process_open_fds', 'Open file descriptors.', [[{}, readdirSync('/proc/self/fd').length]]),
    gauge('nodejs_heap_size_total_bytes', "Size of V8's heap.", [[{}, heapTotal]]),
    gauge('nodejs_heap_size_used_bytes', "What is in use of V8's heap.", [[{}, heapUsed]]),
    gauge('nodejs_external_memory_bytes', "Memory of objects outside of V8's heap.", [[{}, external]]),
  ];
}
