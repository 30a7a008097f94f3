import { redact } from '../../../access/redact.ts';
import type { DumpRequest, RecordedPod } from '../../../event/target.ts';
import type { KtraceEvent, PodRef } from '../../../event/types.ts';
import { MAX_BATCH_BYTES, MAX_BATCH_EVENTS } from '../../../protocol/constants.ts';
import type { AgentMessage, ClientMessage } from '../../../protocol/messages.ts';
import { KtraceError } from '../../../util/errors.ts';
import type { Access } from '../../access/authorizer.ts';
import { Disguise } from '../../access/disguise.ts';
import { withoutAddress } from '../../access/hidden-address.ts';
import { SessionFilter } from '../../pipeline/session-filter.ts';
import { type CompactEvent, restored } from '../../record/compact.ts';
import type { DumpPlace } from '../../record/place-seal.ts';
import type { Damage, Places } from '../../record/record-places.ts';
import type { Recorder } from '../../record/recorder.ts';
import { BEGINNING, type RecordBlock, readRecords } from '../../record/recording.ts';
import { type DumpSelection, dumpSelection } from './dump-selection.ts';
import { answerServices } from './services-answer.ts';

/** What makes no whole message is told after so long. */
const HELD_MS = 250;

/** Most damaged pieces, and most known pods, that are reported. */
const MOST_TOLD = 100;

/** What the node's recording has of these targets, as far as this access goes. */
export async function answerRecorded(
  recorder: Recorder,
  { targets, services }: Omit<Extract<ClientMessage, { type: 'recorded' }>, 'type'>,
  access: Access,
  vxlanPort: number | undefined,
): Promise<Extract<AgentMessage, { type: 'recorded' }>> {
  recorder.flush();
  const damaged: Damage[] = [];
  const owners = await recorder.recordedOwners.read((damage) => damaged.push(damage));
  const selection = dumpSelection(targets, []);
  const nowMs = Date.now();
  const shown = owners.pods.filter(({ pod }) => isAllowed(access, pod));
  const pods = shown.filter(({ pod }) => selection.isPod(pod));
  const uids = new Set(pods.map(({ pod }) => pod.uid));
  const servicesTold =
    services === undefined
      ? {}
      : await answerServices(recorder, { ...services, selection, isTargetsPod: (uid) => uids.has(uid), access }, (damage) =>
          damaged.push(damage),
        );
  return {
    type: 'recorded',
    fromMs: recorder.stores.share.segments()[0]?.beginMs ?? owners.firstRunMs ?? nowMs,
    toMs: nowMs,
    pods: pods.map(({ pod, ips, fromMs, toMs }): RecordedPod => {
      const { namespace, name, uid } = pod;
      return { namespace, name, uid, ips, fromMs, ...(toMs === Infinity ? {} : { toMs }) };
    }),
    known: [...new Set(shown.map(({ pod }) => `${pod.namespace}/${pod.name}`))].slice(-MOST_TOLD),
    gaps: owners.gaps,
    ...(vxlanPort === undefined ? {} : { vxlanPort }),
    deleted: deletedOf(recorder),
    ...servicesTold,
    damaged: [...recorder.incidents.damaged, ...damaged].slice(0, MOST_TOLD),
    incidents: recorder.incidents.list().filter(({ pod }) => isAllowed(access, pod) && selection.isPod(pod)),
  };
}

function deletedOf({ stores: { share, excess } }: Recorder): { share?: number; excess?: number } {
  return {
    ...(share.deletedToMs === undefined ? {} : { share: share.deletedToMs }),
    ...(excess.deletedToMs === undefined ? {} : { excess: excess.deletedToMs }),
  };
}

function isAllowed({ allowed }: Access, { namespace }: PodRef): boolean {
  return allowed === 'all' || allowed.has(namespace);
}

export interface DumpOptions {
  recorder: Recorder;
  request: DumpRequest;
  access: Access;
  vxlanPort(): number | undefined;
  send(message: AgentMessage): void;
  /** Resolves when the connection takes more. */
  roomToSend(): Promise<void>;
  /** Milliseconds of a clock that is never stepped. */
  nowMs(): number;
  /** The client took nothing for so long, though something waits for it. */
  stallMs: number;
  stalled(): void;
  failed(error: unknown): void;
}

/** A record to be told, and where a transfer goes on behind it. */
interface Held {
  event: KtraceEvent;
  /** Of its JSON. */
  bytes: number;
  place: DumpPlace;
}

/** One answer to `dump`: reads no faster than its client gives credits for. */
export class Dump {
  readonly #options: DumpOptions;
  readonly #selection: DumpSelection;
  readonly #filter: SessionFilter | undefined;
  readonly #disguise = new Disguise();
  readonly #counts = { told: 0, filtered: 0, undecided: 0, wantsBytes: 0 };
  readonly #damaged: Damage[] = [];
  readonly #held: Held[] = [];
  #toldAtMs: number;
  #access: Access;
  #credits = 0;
  #wake: (() => void) | undefined;
  #isClosed = false;

  /** Throws KTRACE_E_FILTER, KTRACE_E_SELECTOR, KTRACE_E_PROTOCOL. */
  constructor(options: DumpOptions) {
    const { request, recorder, vxlanPort } = options;
    this.#options = options;
    this.#access = options.access;
    this.#toldAtMs = options.nowMs();
    this.#selection = dumpSelection(request.targets, request.owners);
    this.#filter =
      request.filter === undefined ? undefined : new SessionFilter(request.filter, { node: recorder.node, vxlanPort });
    const after = request.after === undefined ? undefined : recorder.seal.unseal(request.after);
    this.#run(after).catch((error: unknown) => {
      if (!this.#isClosed) options.failed(error);
    });
  }

  credit(events: number): void {
    this.#credits += events;
    this.#wake?.();
  }

  allow(access: Access): void {
    this.#access = access;
  }

  close(): void {
    this.#isClosed = true;
    this.#wake?.();
  }

  async #run(after: DumpPlace | undefined): Promise<void> {
    let before: Places = after?.before ?? BEGINNING;
    const blocks = this.#blocks(after?.before);
    try {
      for (;;) {
        const next = await this.#next(blocks);
        if (this.#isClosed) return;
        if (next.done === true) break;
        const { raw, lane, places } = next.value;
        const block = `${lane}:${places[lane].segment}:${places[lane].byte}`;
        for (const { event, lines } of this.#eventsOf(raw, block === after?.block ? after.lines : 0)) {
          this.#held.push({ event, bytes: JSON.stringify(event).length, place: { before, block, lines } });
        }
        before = places;
        await this.#tell();
        // Others on the loop come in between two blocks.
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      await blocks.return(undefined);
    }
    await this.#tell(true);
    if (!this.#isClosed) this.#options.send({ type: 'dumped', ...this.#counts, damaged: this.#damaged });
  }

  /** The next block. What is held is told meanwhile, if that takes long: most of a recording may be of no interest here. */
  async #next(blocks: AsyncGenerator<RecordBlock>): Promise<IteratorResult<RecordBlock>> {
    const next = blocks.next();
    // It may fail meanwhile; that is told when it is waited for.
    const there = next.then(
      () => true,
      () => true,
    );
    while (this.#held.length > 0 && !this.#isClosed && !(await within(there, HELD_MS))) await this.#tell();
    return next;
  }

  #blocks(after: Places | undefined): AsyncGenerator<RecordBlock> {
    const { recorder, request } = this.#options;
    const { sinceMs, untilMs, incident } = request;
    const onDamage = (damage: Damage): void => {
      if (this.#damaged.length < MOST_TOLD) this.#damaged.push(damage);
    };
    if (incident !== undefined) {
      const found = recorder.incidents.find(incident);
      // One that may not be seen is none.
      if (found === undefined || !isAllowed(this.#access, found.pod)) throw unknownIncident(recorder.node, incident);
      return recorder.incidents.read(incident, after, onDamage);
    }
    recorder.flush();
    return readRecords(recorder, { sinceMs, untilMs, keys: this.#selection.keys, after, onDamage });
  }

  /** What is told of a block behind so many of its lines, each with how many lines it and those before it are. */
  *#eventsOf(raw: Buffer, behind: number): Generator<{ event: KtraceEvent; lines: number }> {
    let lines = 0;
    for (const line of raw.toString('utf8').split('\n')) {
      if (line === '' || ++lines <= behind || !this.#selection.mayBeIn(line)) continue;
      const event = this.#seen(withoutAddress(restored(JSON.parse(line) as CompactEvent)));
      if (event !== undefined) yield { event, lines };
    }
  }

  /** Chosen, redacted, then filtered: a filter sees what its asker may see, as live. */
  #seen(event: KtraceEvent): KtraceEvent | undefined {
    const { request } = this.#options;
    const timeMs = timeOf(event);
    // A loss has a time of its own length: a disk that failed for an hour has lost some of each minute.
    const beganMs = event.kind === 'lost' ? Date.parse(event.from) || timeMs : timeMs;
    if (timeMs < request.sinceMs || beganMs > request.untilMs) return undefined;
    if (event.kind === 'lost') {
      if (event.pod !== undefined && !this.#selection.isPod(event.pod)) return undefined;
      return redact(event, this.#access.allowed);
    }
    if (event.kind === 'notice' || !this.#selection.isOf(event, timeMs)) return undefined;
    const redacted = redact(event, this.#access.allowed);
    if (redacted === undefined) return undefined;
    const shown = redacted === event || !('id' in redacted) ? redacted : { ...redacted, id: this.#disguise.of(redacted.id) };
    if (this.#filter === undefined) return shown;
    const captured = event.kind === 'packet' ? (event.headers ?? []).map((text) => Buffer.from(text, 'base64')) : [];
    const { passed, wantsBytes } = this.#filter.pass(shown, event, captured);
    if (passed !== undefined) return passed;
    this.#counts.filtered += 1;
    if (wantsBytes === undefined) return undefined;
    this.#counts.undecided += 1;
    this.#counts.wantsBytes = Math.max(this.#counts.wantsBytes, wantsBytes);
    return undefined;
  }

  /** Whole messages, over the bounds of blocks: where a block ends tells how much else is in it. What makes no whole one waits for more, but not for long. */
  async #tell(isEnd = false): Promise<void> {
    const { seal } = this.#options.recorder;
    for (;;) {
      const isDue = isEnd || this.#options.nowMs() - this.#toldAtMs >= HELD_MS;
      const length = batchLength(this.#held);
      if (this.#held.length === 0 || (length === this.#held.length && length < MAX_BATCH_EVENTS && !isDue)) return;
      await this.#room();
      if (this.#isClosed) return;
      const batch = this.#held.splice(0, Math.min(length, this.#credits));
      this.#credits -= batch.length;
      this.#counts.told += batch.length;
      this.#toldAtMs = this.#options.nowMs();
      const events = batch.map(({ event }) => event);
      this.#options.send({ type: 'records', after: seal.seal((batch.at(-1) as Held).place), events });
    }
  }

  async #room(): Promise<void> {
    const { stallMs, stalled } = this.#options;
    const timer = this.#credits === 0 ? setTimeout(stalled, stallMs).unref() : undefined;
    while (this.#credits === 0 && !this.#isClosed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    clearTimeout(timer);
    await this.#options.roomToSend();
  }
}

/** Whether it resolves within this time, in milliseconds. */
async function within(there: Promise<boolean>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  return Promise.race([there, late]).finally(() => clearTimeout(timer));
}

/** How many of these are one message. */
function batchLength(held: readonly Held[]): number {
  let length = 0;
  for (let bytes = 0; length < Math.min(held.length, MAX_BATCH_EVENTS) && bytes < MAX_BATCH_BYTES; length++) {
    bytes += (held[length] as Held).bytes;
  }
  return length;
}

function timeOf(event: KtraceEvent): number {
  const time =
    event.kind === 'packet' ? event.time : event.kind === 'flow' ? event.endTime : event.kind === 'lost' ? event.to : '';
  return Date.parse(time);
}

function unknownIncident(node: string, id: string): KtraceError {
  return new KtraceError('KTRACE_E_INCIDENT_UNKNOWN', `Node ${node} keeps no incident ${id}`, {
    hint: 'ktrace dump --incidents lists those that are kept.',
  });
}
