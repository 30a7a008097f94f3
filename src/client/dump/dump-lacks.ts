import type { RecordedAnswer } from '../wire/node-question.ts';
import type { Asked, Recordings } from './dump-nodes.ts';

/** Something that a node's part of a dump lacks, or may lack. */
export interface Lack {
  level: 'info' | 'warn';
  code: `KTRACE_N_${string}`;
  text: string;
  /** What was asked for is incomplete by it. */
  isGap: boolean;
}

/** What is asked for. */
export interface Wanted {
  sinceMs: number;
  untilMs: number;
  /** An incident that this node keeps: rotation takes none of its records. */
  isKept: boolean;
}

/** What a node's answer says of its recording and this time, before any record is read. */
export function* lacksOf({ answer, error }: Asked, { sinceMs, untilMs, isKept }: Wanted): Generator<Lack> {
  if (error !== undefined) yield missing(`${error.message}; what it recorded is missing`);
  if (answer === undefined) return;
  for (const { fromMs, toMs } of answer.gaps) {
    if (toMs < sinceMs || fromMs > untilMs) continue;
    const text = `nothing was recorded from ${utc(fromMs)} to ${utc(toMs)}`;
    yield { level: 'warn', code: 'KTRACE_N_RECORD_GAP', text, isGap: true };
  }
  if (!isKept) yield* deletedOf(answer, sinceMs, untilMs);
  // Who had which address, and Services: a pod whose name is in there is not found. Those of incidents are of no dump but their own, which tells them.
  for (const damage of answer.damaged) if (!damage.name.endsWith('.kinc')) yield damaged(damage);
}

function* deletedOf({ deleted, fromMs, pods }: RecordedAnswer, sinceMs: number, untilMs: number): Generator<Lack> {
  const { share = 0, excess = 0 } = deleted ?? {};
  const wasThere = pods.some((pod) => pod.fromMs < share && pod.fromMs <= untilMs && (pod.toMs ?? Infinity) >= sinceMs);
  // Before a recording began there was none; what was recorded of a pod and is deleted is missing.
  if (share > sinceMs && wasThere) yield begins('warn', `what was recorded before ${utc(share)} is deleted`);
  else if (fromMs > sinceMs) yield begins('info', `the recording begins at ${utc(fromMs)}`);
  // What the agent knew of it is told as lost, with the pod.
  if (excess > Math.max(sinceMs, share)) {
    yield begins('info', `what was recorded of pods over their shares before ${utc(excess)} is deleted`);
  }
}

function begins(level: 'info' | 'warn', text: string): Lack {
  return { level, code: 'KTRACE_N_RECORD_BEGINS', text, isGap: level === 'warn' };
}

/** Did the node record nothing at some time between these? */
export function isInGap({ asked }: Pick<Recordings, 'asked'>, node: string, fromMs = Infinity, toMs = -Infinity): boolean {
  const answer = asked.find(({ access }) => access.node === node)?.answer;
  return answer?.gaps.some((gap) => gap.fromMs <= toMs && gap.toMs >= fromMs) === true;
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

function utc(ms: number): string {
  return new Date(ms).toISOString();
}
