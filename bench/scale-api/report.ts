import type { ScaleResult, Span } from './measure.ts';

/** The figures as text for people. */
export function scaleApiText(results: readonly ScaleResult[]): string {
  return `${results.map(resultText).join('\n\n')}\n`;
}

function resultText({ size, ownPods, start, startRequests, spans }: ScaleResult): string {
  const { pods, services, endpoints, nodes } = size;
  const requests = Object.entries(startRequests).map(([what, count]) => `${count} ${what}`);
  return [
    `${pods} pods (${ownPods} of the agent's node), ${services} Services, ${endpoints} endpoints, ${nodes} nodes`,
    `  start: ready after ${(start.readyAfterMs / 1000).toFixed(1)} s, ${start.cpuSeconds.toFixed(1)} s of CPU, ${megabytes(start.bytesRead)} read, ${megabytes(start.peakResidentBytes)} resident at most`,
    `  requests counted by the server meanwhile: ${requests.join(', ')}`,
    ...spans.map(spanText),
  ].join('\n');
}

function spanText(span: Span): string {
  const events = Object.entries(span.eventsPerS).map(([kind, rate]) => `${rate.toFixed(2)} ${kind}`);
  const watches = Object.entries(span.watches).map(([kind, count]) => `${count} ${kind}`);
  const changed = span.changed ? ` (${span.changed.pods.toFixed(0)} reached, ${span.changed.nodes.toFixed(1)} heartbeats/s)` : '';
  return [
    `  ${span.what}${changed}: ${megabytes(span.residentBytes)} resident, ${megabytes(span.ownBytes)} of it its own; ${(span.cpu * 100).toFixed(1)} % of a core`,
    `    ${(span.bytesReadPerS / 1000).toFixed(1)} kB/s read, ${span.requestsPerMinute.toFixed(2)} requests/min; events/s: ${events.join(', ')}; watches: ${watches.join(', ')}`,
  ].join('\n');
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
