import type { KtraceEvent } from '../../event/types.ts';
import { BlockBuilder } from '../../store/block-builder.ts';
import type { Damage, Places } from './record-places.ts';
import type { RecordedParts } from './recording.ts';
import { readRecords } from './recording.ts';

/** A pod's records of a time, packed again. */
export interface IncidentRecords {
  blocks: Buffer[];
  records: number;
  /** What found no room. */
  cut: number;
  /** Where the recording goes on behind them. */
  places: Places | undefined;
}

export interface IncidentRecordsOptions {
  uid: string;
  fromMs: number;
  toMs: number;
  /** Where an earlier copy ended. */
  after: Places | undefined;
  mostBytes: number;
  /** Which go where not all have room. */
  cut: 'oldest' | 'newest';
  onDamage(damage: Damage): void;
}

/** Of text. */
const LEAST_BLOCK_BYTES = 4096;

/** How each loss begins, so that not every line has to be parsed. */
const LOSS = '{"v":1,"kind":"lost"';

/** Copies what a recording has of one pod and a time, and the losses of then that are of all pods. One block of each part of the recording is in memory at a time, and what is copied. */
export async function incidentRecords(
  recorder: RecordedParts,
  { uid, fromMs, toMs, after, mostBytes, cut, onDamage }: IncidentRecordsOptions,
): Promise<IncidentRecords> {
  const builder = new BlockBuilder('records');
  const built: { bytes: Buffer; count: number }[] = [];
  const found: IncidentRecords = { blocks: [], records: 0, cut: 0, places: after };
  let bytes = 0;
  // Where not all have room whole blocks go: of small ones more stays.
  const blockBytes = Math.max(LEAST_BLOCK_BYTES, mostBytes / 4);
  let text = 0;
  const take = (): void => {
    text = 0;
    if (builder.isEmpty) return;
    const block = builder.take();
    built.push(block);
    bytes += block.bytes.length;
    while (bytes > mostBytes) {
      const over = cut === 'oldest' ? built.shift() : built.pop();
      if (over === undefined) break;
      bytes -= over.bytes.length;
      found.cut += over.count;
    }
  };
  for await (const { raw, places } of readRecords(recorder, { sinceMs: fromMs, untilMs: toMs, keys: [uid], after, onDamage })) {
    found.places = places;
    for (const line of raw.toString('utf8').split('\n')) {
      // Most lines are of other pods: they are not worth being parsed.
      if (!line.includes(uid) && !line.startsWith(LOSS)) continue;
      const event = JSON.parse(line) as KtraceEvent;
      if (event.kind === 'lost' && event.pod !== undefined && event.pod.uid !== uid) continue;
      const timeMs = timeOf(event);
      const beganMs = event.kind === 'lost' ? Date.parse(event.from) || timeMs : timeMs;
      if (timeMs < fromMs || beganMs > toMs) continue;
      text += builder.add(line, timeMs, [uid]);
      if (builder.isFull || text >= blockBytes) take();
    }
  }
  take();
  found.blocks = built.map((block) => block.bytes);
  found.records = built.reduce((sum, { count }) => sum + count, 0);
  return found;
}

function timeOf(event: KtraceEvent): number {
  const text =
    event.kind === 'packet' ? event.time : event.kind === 'flow' ? event.endTime : event.kind === 'lost' ? event.to : '';
  return Date.parse(text);
}
