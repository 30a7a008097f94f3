import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { endsOf } from '../../event/ends.ts';
import type { RecordedService } from '../../event/service.ts';
import type { FlowEvent, KtraceEvent, LostEvent, LostStage, NoticeEvent, PacketEvent, PodRef } from '../../event/types.ts';
import type { ServiceWithSlices } from '../../kube/index/service-book.ts';
import { type BuiltBlock, PLAIN_VERSION } from '../../store/block.ts';
import { BlockBuilder } from '../../store/block-builder.ts';
import { Dictionaries, twice } from '../../store/dictionaries.ts';
import type { NameLine, Recorded } from '../../store/owners.ts';
import { SegmentStore, type SegmentStoreOptions } from '../../store/segment-store.ts';
import type { ServiceLine } from '../../store/services.ts';
import { Shares } from '../../store/shares.ts';
import type { Logger } from '../../util/log.ts';
import { formatUnixNs } from '../../util/time.ts';
import { Turns } from '../../util/turns.ts';
import { withHeaders } from '../access/headers.ts';
import type { Feed, Follower, Sink } from '../pipeline/feed.ts';
import { compact } from './compact.ts';
import { Incidents, type IncidentsOptions } from './incidents.ts';
import { ExcessLosses } from './losses/excess-losses.ts';
import { LossSums } from './losses/loss-sums.ts';
import { LateNames } from './names/late-names.ts';
import { type OwnPod, PodNames } from './names/pod-names.ts';
import { ServiceNames } from './names/service-names.ts';
import { PlaceSeal } from './place-seal.ts';
import { ReadLimiter } from './read-limiter.ts';
import type { RecordConfig } from './record-config.ts';
import { keysOf, servicesOf } from './record-keys.ts';
import { eventOf, RecordedLosses } from './recorded-losses.ts';
import { ownersIn, type RecordLane, servicesIn } from './recording.ts';
import type { RememberedReading } from './remembered-reading.ts';

export interface RecorderOptions {
  config: RecordConfig;
  feed: Pick<Feed, 'node' | 'instance' | 'follow' | 'nowNs'>;
  ownPods(): Iterable<OwnPod>;
  isPodAddress(ip: string): boolean;
  /** Fills in, in place, whom a record's ends belonged to. */
  name(event: PacketEvent | FlowEvent): void;
  /** All Services of the cluster; undefined: Services are not recorded. */
  services?: () => Iterable<ServiceWithSlices>;
  notice(notice: Pick<NoticeEvent, 'code' | 'text' | 'level'>): void;
  withdraw(code: NoticeEvent['code'], by?: Pick<NoticeEvent, 'code' | 'text' | 'level'>): void;
  lost(event: LostEvent): void;
  log: Logger;
  /** For tests: shorter times around an incident. */
  incidents?: Pick<IncidentsOptions, 'beforeMs' | 'afterMs'>;
  /** For tests: a disk that is slow or fails. */
  write?: NonNullable<SegmentStoreOptions['write']>;
}

/** Parts of the budget: records within pods' shares, records over them, names of pods, Services with their endpoints. */
const PARTS: Readonly<Record<RecordLane, number>> = { share: 0.7, excess: 0.12, names: 0.04, services: 0.04 };
/** What it reports itself: it has written that already. */
const OWN_STAGES: ReadonlySet<LostStage> = new Set(['recorder', 'recorder-share']);
const INCIDENTS_PART = 0.1;
/** How many segments a part has. Those of Services are larger, because each begins with all Services. */
const SEGMENTS = { share: 16, excess: 16, names: 16, services: 8 } as const;
/** What a Service or an endpoint takes at the beginning of a segment. All of them may take half of it. */
const SERVICE_BYTES = 64;
const MAX_SEGMENT_BYTES = 16 * 1024 * 1024;
/** What came is handed to the disk so long after the first of it: with the time that the ring is read late by, a second after it happened. */
const SYNC_MS = 800;
/** What is old goes this often. */
const KEEP_MS = 2000;
const TICK_MS = 1000;
const QUEUE_BYTES = 2 * 1024 * 1024;
/** A disk that hangs holds a thread for each request, and all files of the process are read and written by four, if nothing else is set. */
const MOST_WRITES = 2;
const EXCESS_PER_SECOND = 200;
/** Closing does not wait longer than this for the disk. */
const CLOSE_MS = 2000;

/** Records the packets and flows of all pods of the node into segments on disk. A follower of the feed that delays no other. */
export class Recorder implements Sink {
  readonly wantsBytes = true;
  readonly isPatient = true;
  readonly stores: Record<RecordLane, SegmentStore>;
  readonly limiter: ReadLimiter;
  readonly seal: PlaceSeal;
  /** What is recorded of names, and of Services, as a whole. */
  readonly recordedOwners: RememberedReading<Recorded>;
  readonly recordedServices: RememberedReading<RecordedService[]>;
  /** What went wrong with the node's pods. */
  readonly incidents: Incidents;
  readonly services: ServiceNames;
  readonly counts = { records: 0, tooLong: 0, cut: 0 };
  readonly #options: RecorderOptions;
  readonly #dictionaries = new Dictionaries();
  readonly #builders = { share: new BlockBuilder('records', this.#dictionaries), excess: new BlockBuilder('records') };
  readonly #shares: Shares;
  /** To be told. */
  readonly #losses = new LossSums();
  /** To be recorded. */
  readonly #recordedLosses: RecordedLosses;
  readonly #excess = new ExcessLosses();
  readonly #late: LateNames;
  readonly #podNames: PodNames;
  readonly #lastRunMs: number | undefined;
  readonly #beganMs: number;
  readonly #follower: Follower;
  readonly #keeping: NodeJS.Timeout;
  #syncing: NodeJS.Timeout | undefined;
  #ticking: NodeJS.Timeout | undefined;
  readonly #writing: Turns;
  #isMarking = false;
  #isClosed = false;
  /** Of the parts that cannot be written, why. */
  readonly #troubles = new Map<RecordLane, string>();

  static async start(options: RecorderOptions): Promise<Recorder> {
    const { directory, budgetBytes, ageMs } = options.config;
    let recorder: Recorder | undefined;
    const writing = new Turns(MOST_WRITES);
    const open = (lane: RecordLane): Promise<SegmentStore> => {
      const part = budgetBytes * PARTS[lane];
      return SegmentStore.open({
        directory: join(directory, lane),
        budgetBytes: part,
        ageMs,
        segmentBytes: segmentBytesOf(lane, budgetBytes),
        queueBytes: QUEUE_BYTES,
        turns: writing,
        ...(lane === 'names' || lane === 'services' ? { version: PLAIN_VERSION } : {}),
        ...(options.write === undefined ? {} : { write: options.write }),
        opening: () => recorder?.opening(lane) ?? [],
        ...(lane === 'excess' ? { onRotated: (segment) => recorder?.rotated(segment) } : {}),
        onLost: (count) => recorder?.wasLost(count),
        onTrouble: (why) => recorder?.trouble(lane, why),
      });
    };
    const [share, excess, names, services] = await Promise.all([open('share'), open('excess'), open('names'), open('services')]);
    const stores = { share, excess, names, services };
    const limiter = new ReadLimiter();
    const incidents = await Incidents.open({
      directory: join(directory, 'incidents'),
      budgetBytes: budgetBytes * INCIDENTS_PART,
      recorder: { stores, limiter },
      writing,
      settled: () => recorder?.settled(),
      nowMs: () => Number(options.feed.nowNs() / 1_000_000n),
      log: options.log,
      ...options.incidents,
    });
    const seal = await writing.take(() => PlaceSeal.open(join(directory, 'places.key')));
    recorder = new Recorder(options, { stores, limiter, incidents, seal, writing });
    return recorder;
  }

  private constructor(
    options: RecorderOptions,
    parts: Pick<Recorder, 'stores' | 'limiter' | 'incidents' | 'seal'> & { writing: Turns },
  ) {
    this.#options = options;
    const { stores } = parts;
    this.stores = stores;
    this.limiter = parts.limiter;
    this.#writing = parts.writing;
    this.incidents = parts.incidents;
    this.seal = parts.seal;
    this.recordedOwners = ownersIn(parts);
    this.recordedServices = servicesIn(parts);
    const { budgetBytes, ageMs } = options.config;
    this.#shares = new Shares({ budgetBytes: budgetBytes * PARTS.share, ageMs, excessPerSecond: EXCESS_PER_SECOND });
    this.#beganMs = this.#nowMs();
    this.#recordedLosses = new RecordedLosses(options.feed.node, this.#dictionaries);
    const { isPodAddress, name } = options;
    this.#late = new LateNames({ isPodAddress, name, write: (event) => this.#write(event), nowMs: () => this.#nowMs() });
    const before = Object.values(stores).map(({ lastWrittenMs }) => lastWrittenMs ?? 0);
    this.#lastRunMs = Math.max(...before) || undefined;
    const { node, instance: run } = options.feed;
    this.#podNames = new PodNames({ run, ownPods: options.ownPods, beganMs: this.#beganMs });
    const most = Math.floor(segmentBytesOf('services', budgetBytes) / 2 / 2 / SERVICE_BYTES);
    this.services = new ServiceNames({ node, run, services: options.services ?? (() => []), most });
    this.#note('names', [this.#runLine()]);
    this.podsChanged();
    this.#follower = options.feed.follow({ targets: [{ kind: 'all' }], addresses: [], units: 'flows' }, this, 'all');
    this.#keeping = setInterval(() => this.#keep(), KEEP_MS);
    this.#syncSoon();
  }

  /** What became of records that waited for a pod's name. */
  get lateNames(): Readonly<LateNames['counts']> {
    return this.#late.counts;
  }

  get node(): string {
    return this.#options.feed.node;
  }

  event(event: KtraceEvent, captured?: readonly Uint8Array[]): void {
    if (event.kind === 'notice' || (event.kind === 'lost' && OWN_STAGES.has(event.stage))) return;
    if (event.kind === 'lost') this.#recordedLosses.add(event);
    else {
      const whole = withHeaders(event, captured);
      if (!this.#late.take(whole)) this.#write(whole);
    }
    this.#syncSoon();
  }

  resolved(): void {
    // Which pods there are is known from `ownPods`.
  }

  /** Records which pods came and went. */
  podsChanged(): void {
    this.#note('names', this.#podNames.take(this.#nowMs()));
    this.#late.release();
    this.#syncSoon();
  }

  /** Services or their endpoints may have changed. */
  servicesChanged(): void {
    this.services.changed();
    this.#syncSoon();
  }

  /** What a segment begins with, so that it can be read when those before it are deleted. */
  opening(lane: RecordLane): BuiltBlock[] {
    if (lane === 'names') return this.#namesBlocks([this.#runLine(), ...this.#podNames.all()]);
    if (lane === 'services') return this.#namesBlocks([this.#runLine(), ...this.services.all()]);
    return lane === 'share' ? this.#dictionaries.opening() : [];
  }

  wasLost(count: number): void {
    this.#lost('recorder', undefined, count);
  }

  /** Records over pods' shares were deleted: what is recorded says so. Nobody who follows has missed anything. */
  rotated(segment: string): void {
    for (const loss of this.#excess.deleted(segment)) this.#recordedLosses.add(loss);
    this.#syncSoon();
  }

  /** A part of the recording cannot be written, with why; undefined: it can be again. The whole is recorded again when every part is. */
  trouble(lane: RecordLane, why: string | undefined): void {
    const { notice, withdraw, log } = this.#options;
    const [before] = this.#troubles.values();
    if (why === undefined) this.#troubles.delete(lane);
    else this.#troubles.set(lane, why);
    const [now] = this.#troubles.values();
    this.#tickSoon();
    this.#syncSoon();
    if (now === before) return;
    if (now !== undefined) {
      const text = `what happens on this node is not recorded: ${now}`;
      log.warn({ why: now }, 'the recorder cannot write');
      notice({ code: 'KTRACE_N_RECORDER', level: 'warn', text });
    } else {
      log.info('the recorder writes again');
      withdraw('KTRACE_N_RECORDER', {
        code: 'KTRACE_N_RECORDER',
        level: 'info',
        text: 'what happens on this node is recorded again',
      });
    }
  }

  /** Hands all records to the disk. */
  flush(): void {
    // Before records take what room there is. Where nothing can be written it would wait in the queue, and what is lost meanwhile would need another.
    const losses = this.#troubles.has('share') ? undefined : this.#recordedLosses.take(this.#nowMs());
    if (losses !== undefined) this.stores.share.append(losses);
    for (const lane of ['share', 'excess'] as const) this.#flushLane(lane);
  }

  /** Resolves when all records so far are on disk, or the disk has failed. */
  async settled(): Promise<void> {
    this.#late.release();
    this.flush();
    await Promise.all([this.stores.share.settled(), this.stores.excess.settled()]);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#keeping);
    clearTimeout(this.#syncing);
    clearTimeout(this.#ticking);
    this.#follower.close();
    this.#late.release(true);
    this.flush();
    const closed = Promise.all([this.incidents.close(), ...Object.values(this.stores).map((store) => store.close())]);
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, CLOSE_MS).unref())]);
  }

  #write(event: PacketEvent | FlowEvent): void {
    for (const name of servicesOf(event)) this.services.use(name);
    const forwarder = this.#forwarder(event);
    const owner = forwarder ?? ownerOf(event, this.node);
    const line = JSON.stringify(compact(event));
    const peer = forwarder === undefined && owner !== undefined ? peerOf(event, owner) : undefined;
    const lane = this.#shares.charge(owner?.uid ?? '', line.length * this.#builders.share.ratio, this.#nowMs(), peer);
    if (lane === 'cut') {
      this.counts.cut += 1;
      this.#lost('recorder-share', owner, 1);
      return;
    }
    if (lane === 'excess') this.#excess.add(owner, this.#time());
    this.#add(lane, line, keysOf(event));
  }

  /** The pod through whose interface a packet came that has another source: the pod forwards it, or has forged the source. */
  #forwarder(event: PacketEvent | FlowEvent): PodRef | undefined {
    const entry = event.kind === 'packet' ? event.hops[0] : undefined;
    if (entry?.dir !== 'in' || entry.pod === undefined) return undefined;
    const pod = this.#podNames.byName(entry.pod);
    return pod?.uid === event.src.pod?.uid ? undefined : pod;
  }

  #add(lane: 'share' | 'excess', line: string, keys: Iterable<string>): void {
    const builder = this.#builders[lane];
    if (builder.add(line, this.#nowMs(), keys) === 0) {
      this.counts.tooLong += 1;
      this.wasLost(1);
      return;
    }
    this.counts.records += 1;
    if (builder.isFull) this.#flushLane(lane);
  }

  #flushLane(lane: 'share' | 'excess'): void {
    if (!this.#builders[lane].isEmpty) {
      const block = this.#builders[lane].take();
      this.stores[lane].append(lane === 'excess' ? this.#excess.follow(block) : block);
    }
    const dictionary = lane === 'share' ? this.#dictionaries.due(this.#nowMs()) : undefined;
    if (dictionary !== undefined && this.stores.share.append(twice(dictionary))) this.#dictionaries.use(dictionary);
  }

  /** An agent of a quiet node sleeps: what runs there pays for each time that it wakes. */
  #syncSoon(): void {
    if (this.#isClosed) return;
    this.#syncing ??= setTimeout(() => this.#sync(), SYNC_MS);
  }

  #sync(): void {
    const { lost } = this.#options;
    this.#syncing = undefined;
    this.#late.release();
    for (const loss of this.#losses.take()) {
      this.#recordedLosses.add(loss);
      lost(eventOf(this.node, loss));
    }
    this.#note('services', this.services.take(this.#nowMs()));
    this.flush();
    if (this.#late.isWaiting || !this.#recordedLosses.isEmpty) this.#syncSoon();
  }

  #keep(): void {
    this.#shares.forget(this.#nowMs());
    this.#markAlive();
    this.#tickStores();
  }

  #tickStores(): void {
    const stores = Object.values(this.stores);
    if (stores.some(({ isBusy }) => isBusy)) this.#tickSoon();
    for (const store of stores) store.tick();
  }

  /** A disk that fails, or has not taken all, is looked at each second. */
  #tickSoon(): void {
    if (this.#isClosed) return;
    this.#ticking ??= setTimeout(() => {
      this.#ticking = undefined;
      if (this.#troubles.size > 0) this.#tickSoon();
      this.#tickStores();
    }, TICK_MS);
  }

  /** Notes on disk that it runs, when nothing was written that says so. */
  #markAlive(): void {
    const newest = this.stores.names.segments().at(-1);
    const isSaid = Object.values(this.stores).some(({ lastWrittenMs = 0 }) => lastWrittenMs > Date.now() - SYNC_MS);
    // A disk that does not answer is asked no more: each question would hold one of the threads that all files are read by.
    if (isSaid || newest === undefined || this.#troubles.size > 0 || this.#isMarking) return;
    this.#isMarking = true;
    const now = new Date(this.#nowMs());
    this.#writing
      .take(() => utimes(newest.path, now, now))
      .catch(() => undefined)
      .finally(() => {
        this.#isMarking = false;
      });
  }

  #lost(stage: LostStage, pod: PodRef | undefined, count: number): void {
    const now = this.#time();
    this.#losses.add({ stage, ...(pod && { pod }), count, from: now, to: now });
    this.#syncSoon();
  }

  #note(lane: 'names' | 'services', lines: readonly (NameLine | ServiceLine)[]): void {
    if (lines.length === 0) return;
    for (const block of this.#namesBlocks(lines)) this.stores[lane].append(block);
  }

  /** As many blocks as needed: without its name a pod could not be dumped. */
  #namesBlocks(lines: readonly (NameLine | ServiceLine)[]): BuiltBlock[] {
    const builder = new BlockBuilder('names');
    const blocks: BuiltBlock[] = [];
    const take = () => blocks.push({ ...builder.take(), count: 0 });
    for (const line of lines) {
      if (builder.isFull) take();
      if (builder.add(JSON.stringify(line), this.#nowMs(), []) > 0) continue;
      this.counts.tooLong += 1;
      this.wasLost(1);
    }
    if (!builder.isEmpty) take();
    return blocks;
  }

  #runLine(): NameLine {
    const afterMs = this.#lastRunMs;
    const { node, instance: run } = this.#options.feed;
    return { run, node, atMs: this.#beganMs, ...(afterMs === undefined ? {} : { afterMs }) };
  }

  #nowMs(): number {
    return Number(this.#options.feed.nowNs() / 1_000_000n);
  }

  #time(): string {
    return formatUnixNs(this.#options.feed.nowNs());
  }
}

function segmentBytesOf(lane: RecordLane, budgetBytes: number): number {
  return Math.min(MAX_SEGMENT_BYTES, Math.floor((budgetBytes * PARTS[lane]) / SEGMENTS[lane]));
}

/** The pod that a record is charged to: the node's own pod at one of its ends, the initiator before the responder. */
function ownerOf(event: PacketEvent | FlowEvent, node: string): PodRef | undefined {
  const isRequest = event.kind === 'flow' || event.dir === 'request';
  const ends = endsOf(event);
  if (!isRequest) ends.reverse();
  return ends.find(({ pod }) => pod?.node === node)?.pod;
}

/** Who began what is charged to the pod that answers: a pod of another node; '' for all who are no pods, whose addresses may be forged. */
function peerOf(event: PacketEvent | FlowEvent, { uid }: PodRef): string | undefined {
  const isRequest = event.kind === 'flow' || event.dir === 'request';
  const isAsked = isRequest ? event.src.pod?.uid !== uid : event.src.pod?.uid === uid;
  if (!isAsked) return undefined;
  return (isRequest ? event.src : event.dst).pod?.uid ?? '';
}
