import type { Asked } from './dump-nodes.ts';

/** Something that a node's part of a dump lacks, or may lack. */
export interface Lack {
  level: 'info' | 'warn';
  code: `KTRACE_N_${string}`;
  text: string;
  /** What was asked for is incomplete by it. */
  isGap: boolean;
}

/** What a node's answer says of its recording and this time, before any record is read. */
export function* lacksOf({ answer, error }: Asked, { sinceMs, untilMs }: { sinceMs: number; untilMs: number }): Generator<Lack> {
  if (error !== undefined) yield missing(`${error.message}; what it recorded is missing`);
  if (answer === undefined) return;
  for (const { fromMs, toMs } of answer.gaps) {
    if (toMs < sinceMs || fromMs > untilMs) continue;
    const text = `nothing was recorded from ${utc(fromMs)} to ${utc(toMs)}`;
    yield { level: 'warn', code: 'KTRACE_N_RECORD_GAP', text, isGap: true };
  }
  // Who had which address, and Services: a pod whose name is in there is not found. Those of incidents are of no dump but their own, which tells them.
  for (const damage of answer.damaged) if (!damage.name.endsWith('.kinc')) yield damaged(damage);
}

/** A node that told nothing, or not all. */
export function missing(text: string): Lack {
  return { level: 'warn', code: 'KTRACE_N_AGENT_DOWN', text, isGap: false };
}

/** A piece of a node's files that could not be read. */
export function damaged({ name, at, bytes }: { name: string; at: number; bytes: number }): Lack {
  const text = `${bytes} bytes of ${name} at ${at} are damaged and were passed over`;
  return { level: 'warn', code: 'KTRACE_N_RECORD_DAMAGED', text, isGap: true };
}

export function utc(ms: number): string {
  return new Date(ms).toISOString();
}
