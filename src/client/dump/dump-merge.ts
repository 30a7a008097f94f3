import type { KtraceEvent } from '../../event/types.ts';
import { Merge, type MergeCounts, type MergeOptions } from '../merge/merge.ts';
import type { ClockEstimate } from '../wire/clock.ts';

/** Records of one node, in nearly the order of time. */
export interface RecordSource {
  node: string;
  next(): Promise<KtraceEvent | undefined>;
  clock(): ClockEstimate;
  /** Records that were left out, because this version cannot read them. */
  readonly unreadable: { readonly count: number };
}

/**
 * Recordings have their records in the order in which they were told: a packet is told late by at most so much (one that waits for its pod's name
 * longest), a flow's end likewise.
 */
const HOLD_MS = 5000;
const RETAIN_MS = 20_000;
const MAX_PACKETS = 20_000;

/**
 * Merges the recordings of several nodes into one stream in order of time, parts joined, as a follow would have told it: the time that passes is
 * that of the records. `wantsBytes`: up to where the filter reads the undecided ones.
 */
export async function mergeRecordings(
  sources: readonly RecordSource[],
  options: Pick<MergeOptions, 'epochMs' | 'decide' | 'isFollowed'> & {
    /** Called with each record of a node, before it is merged; may change it. False: it is none of those that were asked for. */
    came?(event: KtraceEvent, node: string): boolean;
    tell(event: KtraceEvent): Promise<void> | void;
    isInterrupted(): boolean;
  },
): Promise<{ counts: MergeCounts; wantsBytes: number }> {
  const { came, tell, isInterrupted, ...rest } = options;
  let told: KtraceEvent[] = [];
  const merge = new Merge({
    ...rest,
    holdMs: HOLD_MS,
    mostHoldMs: HOLD_MS,
    joinMs: HOLD_MS,
    retainMs: RETAIN_MS,
    maxPackets: MAX_PACKETS,
    tell: (event) => told.push(event),
    crossed: () => undefined,
    consumed: () => undefined,
  });
  const drain = async (): Promise<void> => {
    const ready = told;
    told = [];
    for (const event of ready) await tell(event);
  };
  const heads = new Map<RecordSource, { event: KtraceEvent; timeMs: number }>();
  const pull = async (source: RecordSource): Promise<void> => {
    let event = await source.next();
    while (event !== undefined && came?.(event, source.node) === false) event = await source.next();
    if (event === undefined) {
      heads.delete(source);
      return;
    }
    heads.set(source, { event, timeMs: timeOf(event) });
  };
  await Promise.all(sources.map(pull));
  let nowMs = 0;
  let shownMs = 0;
  while (heads.size > 0 && !isInterrupted()) {
    const [source, head] = earliest(heads);
    nowMs = Math.max(nowMs, head.timeMs);
    merge.add(source.node, head.event, source.clock(), nowMs);
    if (nowMs > shownMs) {
      merge.release(nowMs);
      shownMs = nowMs;
    }
    if (told.length > 0) await drain();
    await pull(source);
  }
  merge.release(nowMs, true);
  await drain();
  for (const { unreadable } of sources) merge.unreadable(unreadable.count);
  return { counts: { ...merge.counts }, wantsBytes: merge.wantsBytes };
}

function earliest<S>(heads: Map<S, { event: KtraceEvent; timeMs: number }>): [S, { event: KtraceEvent; timeMs: number }] {
  let found: [S, { event: KtraceEvent; timeMs: number }] | undefined;
  for (const entry of heads) if (found === undefined || entry[1].timeMs < found[1].timeMs) found = entry;
  if (found === undefined) throw new RangeError('Expected at least one record');
  return found;
}

/** Unix milliseconds; a record without a time of its own comes at once. */
function timeOf(event: KtraceEvent): number {
  const text =
    event.kind === 'packet' ? event.time : event.kind === 'flow' ? event.endTime : event.kind === 'lost' ? event.to : '';
  return Date.parse(text) || 0;
}
