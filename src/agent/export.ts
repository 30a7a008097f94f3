import { hostname } from 'node:os';
import { Exporter } from '../export/exporter.ts';
import { OwnTraffic } from '../export/own-traffic.ts';
import { createSender } from '../export/send.ts';
import { shownUrl } from '../export/settings.ts';
import type { NamesIndex } from '../kube/index/names-index.ts';
import type { Counter } from '../util/counter.ts';
import type { Logger } from '../util/log.ts';
import type { ExportConfig } from './export-config.ts';
import type { Feed } from './pipeline/feed.ts';

export interface ExportOptions {
  config: ExportConfig;
  feed: Feed;
  /** Tells what stands behind the collector's Service. */
  index: NamesIndex;
  version: string;
  log: Logger;
}

/** An exporter that follows the feed. */
export interface RunningExport {
  counters(): Counter[];
  /** Follows no more and sends what waits; within seconds, whatever the collector does. */
  close(): Promise<void>;
}

/** Follows what the administrator has configured, and exports it. Nobody's tokens are asked: it is the administrator's own. */
export function startExport({ config, feed, index, version, log }: ExportOptions): RunningExport {
  const { otlp, events, targets } = config;
  const port = Number(otlp.url.port) || (otlp.url.protocol === 'https:' ? 443 : 80);
  const ownTraffic = new OwnTraffic(({ ip, port: at }) => {
    const service = index.servicePort(ip, at, 'tcp', Date.now())?.service;
    return service === undefined ? [] : [...index.endpointAddresses(service)];
  });
  const exporter = new Exporter({
    source: { node: feed.node, hostName: hostname(), instance: feed.instance, version, attributes: otlp.attributes },
    events,
    sender: createSender(otlp, version, (ip) => ownTraffic.add({ ip, port })),
    ownTraffic,
    log,
    nowNs: () => feed.nowNs(),
  });
  const follower = feed.follow(
    { targets, addresses: [], units: 'flows' },
    { event: (event) => exporter.event(event), resolved: () => undefined },
    'all',
  );
  log.info({ endpoint: shownUrl(otlp.url), targets, events: [...events] }, 'exporting log records');
  return {
    counters: () => exportCounters(exporter),
    async close() {
      follower.close();
      await exporter.close();
      const { in: taken, exported, lost } = exporter.counts;
      log.info({ taken, exported, lost }, 'exporting has ended');
    },
  };
}

/** `ktrace_export_records_in_total` = exported + all lost + waiting. */
function exportCounters({ counts, waiting }: Exporter): Counter[] {
  const byLabel = (label: string, values: Record<string, number>): Counter['values'] =>
    Object.entries(values).map(([key, value]) => ({ labels: { [label]: key }, value }));
  const single = (value: number): Counter['values'] => [{ labels: {}, value }];
  return [
    {
      name: 'ktrace_export_records_in_total',
      help: 'Log records to export; their sum is exported, lost and waiting.',
      type: 'counter',
      values: single(counts.in),
    },
    {
      name: 'ktrace_export_records_exported_total',
      help: 'Log records that the collector has taken.',
      type: 'counter',
      values: single(counts.exported),
    },
    {
      name: 'ktrace_export_records_lost_total',
      help: 'Log records that did not reach the collector, by reason.',
      type: 'counter',
      values: byLabel('reason', counts.lost),
    },
    {
      name: 'ktrace_export_own_traffic_total',
      help: 'Flows and drops not exported because they are the traffic of exporting.',
      type: 'counter',
      values: single(counts.ownTraffic),
    },
    {
      name: 'ktrace_export_requests_total',
      help: 'Requests to the collector, by what became of them.',
      type: 'counter',
      values: byLabel('outcome', counts.requests),
    },
    {
      name: 'ktrace_export_records_waiting',
      help: 'Log records queued or on their way.',
      type: 'gauge',
      values: single(waiting.records),
    },
    { name: 'ktrace_export_queue_bytes', help: 'JSON of the queued log records.', type: 'gauge', values: single(waiting.bytes) },
  ];
}
