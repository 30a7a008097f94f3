import type { RecordedService } from '../../event/service.ts';
import { mayHold } from '../../store/bloom.ts';
import type { NameLine, Recorded } from '../../store/owners.ts';
import { recordedOwners } from '../../store/owners.ts';
import { type Place, readSegments, type SegmentBlock } from '../../store/segment-reader.ts';
import type { SegmentStore } from '../../store/segment-store.ts';
import { recordedServices, type ServiceLine } from '../../store/services.ts';
import type { ReadLimiter } from './read-limiter.ts';
import { LOST_KEY } from './record-keys.ts';
import type { Damage, Places } from './record-places.ts';
import { RememberedReading } from './remembered-reading.ts';

/** A record comes later than what it is about: the end of a conversation after the longest time that it may be quiet. */
const LATE_MS = 150_000;

export interface ReadRecordsOptions {
  sinceMs: number;
  untilMs: number;
  /** A block is read when one of these may be in it; undefined: every one. */
  keys: readonly string[] | undefined;
  /** Where a broken transfer goes on, for both parts of the recording. */
  after: Places | undefined;
  onDamage(damage: Damage): void;
}

/** A block of records, of which part of the recording, and where both parts go on behind it. */
export interface RecordBlock {
  raw: Buffer;
  lane: keyof Places;
  places: Places;
}

/** What is read of a recording. */
export interface RecordedParts {
  stores: Record<RecordLane, SegmentStore>;
  limiter: ReadLimiter;
}

/** Its parts: records within pods' shares, records over them, names of pods, Services with their endpoints. */
export type RecordLane = 'share' | 'excess' | 'names' | 'services';

/** Who owned what on this node, as far back as its recording goes. */
export function ownersIn(recorder: RecordedParts): RememberedReading<Recorded> {
  return wholeOf(recorder, 'names', (lines: AsyncIterable<NameLine>) => recordedOwners(lines));
}

/** What the Services were, and which endpoints they had, as far back as the recording goes. */
export function servicesIn(recorder: RecordedParts): RememberedReading<RecordedService[]> {
  return wholeOf(recorder, 'services', (lines: AsyncIterable<ServiceLine>) => recordedServices(lines));
}

function wholeOf<Line, T>(
  recorder: RecordedParts,
  lane: 'names' | 'services',
  combine: (lines: AsyncIterable<Line>) => Promise<T>,
): RememberedReading<T> {
  return new RememberedReading({
    segments: () => recorder.stores[lane].segments(),
    read: (onDamage) => combine(linesOf<Line>(recorder, lane, onDamage)),
    nowMs: () => performance.now(),
  });
}

/** Line by line: each segment begins with all of them again, which must not all be in memory. */
async function* linesOf<Line>(
  recorder: RecordedParts,
  lane: 'names' | 'services',
  onDamage: (damage: Damage) => void,
): AsyncGenerator<Line> {
  const options = {
    wants: () => true,
    onDamage: inPart(lane, onDamage),
    onRead: (bytes: number) => recorder.limiter.read(bytes),
    turns: recorder.limiter.turns,
  };
  for await (const { raw } of readSegments(recorder.stores[lane].segments(), undefined, options)) {
    for (const line of raw.toString('utf8').split('\n')) if (line !== '') yield JSON.parse(line) as Line;
    // Others on the loop come in between two blocks.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The blocks that may hold what is asked for, of both parts of the recording, in order of time. One block of each is held at a time. */
export async function* readRecords(recorder: RecordedParts, options: ReadRecordsOptions): AsyncGenerator<RecordBlock> {
  const { sinceMs, untilMs, keys, after, onDamage } = options;
  const wanted = keys === undefined ? undefined : [...keys, LOST_KEY];
  // Of a segment that is read at least every header is.
  const isOfTime = ({ fromMs, toMs }: { fromMs: number; toMs: number }): boolean =>
    toMs >= sinceMs && fromMs <= untilMs + LATE_MS;
  const lane = (name: keyof Places): AsyncGenerator<SegmentBlock> =>
    readSegments(recorder.stores[name].segments().filter(isOfTime), after?.[name], {
      wants: ({ fromMs, toMs, bloom }) =>
        isOfTime({ fromMs, toMs }) && (wanted === undefined || wanted.some((key) => mayHold(bloom, key))),
      onDamage: inPart(name, onDamage),
      onRead: (bytes) => recorder.limiter.read(bytes),
      turns: recorder.limiter.turns,
    });
  const lanes = { share: lane('share'), excess: lane('excess') };
  const places: Places = { ...(after ?? BEGINNING) };
  const heads = { share: await next(lanes.share), excess: await next(lanes.excess) };
  for (;;) {
    const { share, excess } = heads;
    if (share === undefined && excess === undefined) return;
    const name =
      excess === undefined || (share !== undefined && share.header.fromMs <= excess.header.fromMs) ? 'share' : 'excess';
    const block = heads[name] as SegmentBlock;
    places[name] = { segment: block.segment, byte: block.endsAt };
    yield { raw: block.raw, lane: name, places: { ...places } };
    heads[name] = await next(lanes[name]);
  }
}

/** Files of all parts have names of one kind. */
function inPart(lane: string, onDamage: (damage: Damage) => void): (damage: Damage) => void {
  return (damage) => onDamage({ ...damage, name: `${lane}/${damage.name}` });
}

const START: Place = { segment: '', byte: 0 };
/** Before the first block. */
export const BEGINNING: Readonly<Places> = { share: START, excess: START };

async function next(blocks: AsyncGenerator<SegmentBlock>): Promise<SegmentBlock | undefined> {
  const result = await blocks.next();
  return result.done === true ? undefined : result.value;
}
