import type { PodRef } from '../event/types.ts';

/** Lines of `names` blocks: who owned which address of the node, and from when to when the recorder ran. */
export type NameLine =
  /** The recorder began. `afterMs`: when the run before it last wrote; absent for the first. */
  | { run: string; node: string; atMs: number; afterMs?: number }
  /** A pod has, or had, these addresses. Told again at each segment's beginning; the last one told of a pod counts. */
  | { pod: PodRef; ips: string[]; fromMs: number; toMs?: number; run: string };

/** A pod that had an address. */
export interface PodInterval {
  pod: PodRef;
  ips: string[];
  fromMs: number;
  /** Infinity while it lasts. */
  toMs: number;
}

/** Who owned what, and when nothing was recorded. */
export interface Recorded {
  pods: PodInterval[];
  gaps: { fromMs: number; toMs: number }[];
  firstRunMs: number | undefined;
}

/**
 * Puts the lines of all names blocks together; what is held is one entry for each pod, however often it was told. A pod whose end nobody saw (the recorder was killed) ended, at the latest, when another one had its
 * address, or when the next run did not find it.
 */
export async function recordedOwners(lines: Iterable<NameLine> | AsyncIterable<NameLine>): Promise<Recorded> {
  const pods = new Map<string, PodInterval & { run: string }>();
  const runs = new Map<string, { atMs: number; afterMs: number | undefined }>();
  for await (const line of lines) {
    if ('pod' in line) {
      const { pod, ips, fromMs, toMs = Infinity, run } = line;
      // A later run found it there already.
      pods.set(pod.uid, { pod, ips, fromMs: Math.min(fromMs, pods.get(pod.uid)?.fromMs ?? fromMs), toMs, run });
    } else runs.set(line.run, { atMs: line.atMs, afterMs: line.afterMs });
  }
  const begins = [...runs.values()].sort((a, b) => a.atMs - b.atMs);
  const all = [...pods.values()].sort((a, b) => a.fromMs - b.fromMs);
  const nextByIp = new Map<string, number>();
  for (const one of all.toReversed()) {
    const runAtMs = runs.get(one.run)?.atMs ?? 0;
    const nextRun = begins.find(({ atMs }) => atMs > runAtMs)?.atMs ?? Infinity;
    const nextOwners = one.ips.map((ip) => nextByIp.get(ip) ?? Infinity);
    one.toMs = Math.max(one.fromMs, Math.min(one.toMs, nextRun, ...nextOwners));
    for (const ip of one.ips) nextByIp.set(ip, one.fromMs);
  }
  return {
    pods: all.map(({ run: _, ...pod }) => pod),
    gaps: begins.flatMap(({ atMs, afterMs }) =>
      afterMs === undefined || afterMs >= atMs ? [] : [{ fromMs: afterMs, toMs: atMs }],
    ),
    firstRunMs: begins[0]?.atMs,
  };
}
