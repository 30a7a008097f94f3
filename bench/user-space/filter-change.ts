import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { KtraceEvent } from '../../src/event/types.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { follow } from '../cases.ts';
import { SOURCE, TARGET } from '../load.ts';
import { quantile } from '../stats.ts';
import { lastHopMs } from './delivery.ts';

/** From the write of a filter's file to the first packet in the kernel that the new filter decides, in milliseconds; pings come every 10 ms. */
export interface FilterChange {
  changes: number;
  p50Ms: number;
  maxMs: number;
}

/** What takes a ping, and what leaves it out (not udp: a tunnel's outer packet is that): each change can be seen. */
const FILTERS = ['icmp', 'tcp'] as const;
/** Longer than any change takes, so that none is measured together with the next. */
const BETWEEN_MS = 1000;

/** A follow whose filter is changed by its file, from all pings to none and back, while pings go on. */
export async function measureFilterChange(lab: Lab, options: { changes: number }): Promise<FilterChange> {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-bench-'));
  const file = join(folder, 'filter');
  /** When each ping that was told was at its last hop. */
  const pingsMs: number[] = [];
  writeFileSync(file, FILTERS[1]);
  const watching = await follow(lab, [`pod/${SOURCE}`, '-F', file], (line) => {
    const event = JSON.parse(line) as KtraceEvent;
    if (event.kind === 'packet' && event.amends !== true && event.icmp?.name === 'echo-request') pingsMs.push(lastHopMs(event));
  });
  const pings = Math.ceil(((options.changes + 2) * BETWEEN_MS) / 10);
  const pinging = lab.exec(`pod/${SOURCE}`, ['ping', '-n', '-q', '-i', '0.01', '-c', String(pings), lab.pod(TARGET).ip]);
  const written: { filter: string; atMs: number }[] = [];
  try {
    await delay(BETWEEN_MS);
    for (let change = 0; change < options.changes; change++) {
      const filter = FILTERS[change % 2] ?? '';
      written.push({ filter, atMs: performance.timeOrigin + performance.now() });
      writeFileSync(file, filter);
      await delay(BETWEEN_MS);
    }
    await pinging;
  } finally {
    await watching.stop();
    rmSync(folder, { recursive: true });
  }
  const tookMs = written.map(({ filter, atMs }) => {
    const told = pingsMs.filter((ms) => ms >= atMs && ms < atMs + BETWEEN_MS).map((ms) => ms - atMs);
    // The first ping that is told, or the last one that still is.
    const took = filter === FILTERS[0] ? Math.min(...told) : Math.max(0, ...told);
    if (!Number.isFinite(took)) throw new Error('No ping was told after a change of the filter that takes them');
    return took;
  });
  return { changes: tookMs.length, p50Ms: quantile(tookMs, 0.5), maxMs: Math.max(...tookMs) };
}
