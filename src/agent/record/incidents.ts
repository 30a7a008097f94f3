import { randomBytes } from 'node:crypto';
import type { Incident, PodTrouble } from '../../event/incident.ts';
import { type IncidentEntry, IncidentStore } from '../../store/incident-store.ts';
import { messageOf } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import type { Turns } from '../../util/turns.ts';
import { incidentRecords } from './incident-records.ts';
import type { Damage, Places } from './record-places.ts';
import { placesOf, textOf } from './record-places.ts';
import type { RecordBlock, RecordedParts } from './recording.ts';

export interface IncidentsOptions {
  directory: string;
  /** All incidents together. */
  budgetBytes: number;
  recorder: RecordedParts;
  /** Who shares the threads that files are written by. */
  writing: Turns;
  /** When the events until now are in the recording. */
  settled(): Promise<void> | undefined;
  nowMs(): number;
  log: Logger;
  /** Of which time before and after a trouble records are kept, ms. */
  beforeMs?: number;
  afterMs?: number;
}

const BEFORE_MS = 5 * 60_000;
const AFTER_MS = 60_000;
/** The events of a minute are in the recording this much later. */
const LATE_MS = 2500;
/** The end of what was may take so much of an incident's room, and the time after it the rest. */
const BEFORE_PART = 0.75;
/** Most troubles that wait to be processed, and most causes of one incident. */
const MOST_WAITING = 20;
const MOST_CAUSES = 8;

/**
 * Keeps the minutes around what goes wrong with a pod safe from rotation: copies its records out of the recording, at once those before, and those after when
 * they are there. One at a time; what goes wrong with a pod while its minute still runs belongs to the same incident.
 */
export class Incidents {
  readonly counts = { kept: 0, failed: 0, dropped: 0 };
  readonly #options: IncidentsOptions;
  readonly #store: IncidentStore;
  /** Those whose minute runs, by pod. */
  readonly #open = new Map<string, { incident: Incident; timer: NodeJS.Timeout | undefined }>();
  #waiting = 0;
  #working: Promise<void> = Promise.resolve();
  #isClosed = false;

  static async open(options: IncidentsOptions): Promise<Incidents> {
    const incidents = new Incidents(options, await openStore(options));
    incidents.#goOn();
    return incidents;
  }

  private constructor(options: IncidentsOptions, store: IncidentStore) {
    this.#options = options;
    this.#store = store;
  }

  /** Oldest first. */
  list(): Incident[] {
    return this.#store.list().map(({ incident }) => incident);
  }

  find(id: string): Incident | undefined {
    return this.#store.find(id);
  }

  get totalBytes(): number {
    return this.#store.totalBytes;
  }

  get damaged(): readonly Damage[] {
    return this.#store.damaged;
  }

  /** Something went wrong with a pod. */
  report(trouble: PodTrouble): void {
    if (this.#isClosed) return;
    const open = this.#open.get(trouble.pod.uid);
    if (open !== undefined) {
      open.incident.causes.push(...trouble.causes.slice(0, Math.max(0, MOST_CAUSES - open.incident.causes.length)));
      return;
    }
    if (this.#waiting >= MOST_WAITING || this.#open.size >= MOST_WAITING) {
      this.counts.dropped += 1;
      this.#options.log.warn({ pod: trouble.pod.name }, 'an incident is not kept: too many at once');
      return;
    }
    const { beforeMs = BEFORE_MS, afterMs = AFTER_MS } = this.#options;
    const { pod, atMs, causes } = trouble;
    const incident: Incident = {
      id: randomBytes(4).toString('hex'),
      pod,
      atMs,
      causes: causes.slice(0, MOST_CAUSES),
      fromMs: atMs - beforeMs,
      toMs: atMs + afterMs,
      records: 0,
      cut: 0,
      isWhole: false,
    };
    this.#open.set(pod.uid, { incident, timer: undefined });
    this.#options.log.info({ incident: incident.id, pod: `${pod.namespace}/${pod.name}`, causes }, 'an incident');
    this.#work(incident, () => this.#begin(incident));
  }

  /** The blocks of an incident's records, with where a transfer that breaks goes on. */
  async *read(id: string, after: Places | undefined, onDamage: (damage: Damage) => void): AsyncGenerator<RecordBlock> {
    for await (const { raw, endsAt } of this.#store.read(id, after?.share.byte || undefined, onDamage)) {
      await this.#options.recorder.limiter.read(raw.length);
      yield { raw, lane: 'share', places: { share: { segment: id, byte: endsAt }, excess: { segment: '', byte: 0 } } };
    }
  }

  /** Ends what is under way; a minute that still runs goes on after the next start. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { timer } of this.#open.values()) clearTimeout(timer);
    this.#open.clear();
    await this.#working;
  }

  /** Incidents whose minute ran when the agent ended. */
  #goOn(): void {
    for (const { incident } of this.#store.list()) {
      if (incident.isWhole) continue;
      this.#open.set(incident.pod.uid, { incident, timer: undefined });
      this.#wait(incident);
    }
  }

  async #begin(incident: Incident): Promise<void> {
    await this.#options.settled();
    const mostBytes = this.#store.mostBytes * BEFORE_PART;
    const found = await this.#copy(incident, undefined, mostBytes, 'oldest');
    incident.records = found.records;
    incident.cut = found.cut;
    await this.#store.put(entryOf(incident, found.places), found.blocks);
    this.counts.kept += 1;
    this.#wait(incident);
  }

  #wait(incident: Incident): void {
    const open = this.#open.get(incident.pod.uid);
    if (open === undefined || this.#isClosed) return;
    const dueMs = Math.max(0, incident.toMs + LATE_MS - this.#options.nowMs());
    open.timer = setTimeout(() => {
      this.#work(incident, () => this.#end(incident));
    }, dueMs);
    open.timer.unref();
  }

  async #end(incident: Incident): Promise<void> {
    const kept = await this.#store.blocksOf(incident.id);
    const mostBytes = this.#store.mostBytes - kept.reduce((sum, { length }) => sum + length, 0);
    const places = this.#store.list().find((one) => one.incident.id === incident.id)?.places;
    const found = await this.#copy(incident, places === undefined ? undefined : placesOf(places), mostBytes, 'newest');
    this.#open.delete(incident.pod.uid);
    const whole = { ...incident, records: incident.records + found.records, cut: incident.cut + found.cut, isWhole: true };
    await this.#store.put(entryOf(whole, found.places), [...kept, ...found.blocks]);
  }

  #copy({ pod, fromMs, toMs }: Incident, after: Places | undefined, mostBytes: number, cut: 'oldest' | 'newest') {
    const onDamage = (damage: Damage): void => {
      this.#options.log.warn({ ...damage }, 'a damaged piece of the recording is not in an incident');
    };
    return incidentRecords(this.#options.recorder, { uid: pod.uid, fromMs, toMs, after, mostBytes, cut, onDamage });
  }

  #work(incident: Incident, what: () => Promise<void>): void {
    this.#waiting += 1;
    this.#working = this.#working.then(async () => {
      this.#waiting -= 1;
      if (this.#isClosed) return;
      try {
        await what();
      } catch (error) {
        this.counts.failed += 1;
        this.#open.delete(incident.pod.uid);
        this.#options.log.warn({ incident: incident.id, err: messageOf(error) }, 'an incident could not be kept');
      }
    });
  }
}

function entryOf(incident: Incident, places: Places | undefined): IncidentEntry {
  return { incident, places: places === undefined ? undefined : textOf(places) };
}

function openStore({ directory, budgetBytes, writing, recorder }: IncidentsOptions): Promise<IncidentStore> {
  return IncidentStore.open(directory, budgetBytes, { writing, reading: recorder.limiter.turns });
}
