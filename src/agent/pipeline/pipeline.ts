import { randomBytes } from 'node:crypto';
import type { Scope } from '../../access/scope.ts';
import { distinctBytes } from '../../event/captured.ts';
import { decodeBatch } from '../../event/decode.ts';
import type { HookReport, NodeReport } from '../../event/node-report.ts';
import type { Sighting } from '../../event/sighting.ts';
import type { Subscription } from '../../event/target.ts';
import type { FlowEvent, Hop, KtraceEvent, LostEvent, NoticeEvent, PacketEvent, PodRef } from '../../event/types.ts';
import { AnswerTracker } from '../../flow/answers.ts';
import { Assembler } from '../../flow/assemble.ts';
import { type EndPods, type FlowCounting, FlowTracker, type TrackedFlow } from '../../flow/flows.ts';
import type { AssembledPacket, NodeView } from '../../flow/open-packet.ts';
import { translatedTuple } from '../../flow/translation.ts';
import type { PodBehind } from '../../kube/index/types.ts';
import type { NativeModule, RingReader } from '../../native/types.ts';
import type { Counter } from '../../util/counter.ts';
import { KtraceError, messageOf } from '../../util/errors.ts';
import { Guard } from '../../util/guard.ts';
import type { Logger } from '../../util/log.ts';
import { formatUnixNs } from '../../util/time.ts';
import type { Interfaces } from '../kernel/interfaces.ts';
import type { KernelSymbols } from '../kernel/probes/kernel-symbols.ts';
import type { Tracer } from '../kernel/tracer.ts';
import { pipelineCounters } from './counters.ts';
import { brokenNode, diagnose } from './doctor.ts';
import type { Feed, Follower, Sink } from './feed.ts';
import { type FollowSetOptions, isWanted } from './follow-set.ts';
import { Followers, type Following, type TargetChange } from './followers.ts';
import { withData } from './hop-data.ts';
import { KernelFilter } from './kernel-filter.ts';
import { Loading } from './loading.ts';
import { Losses } from './losses/losses.ts';
import { type Notice, Notices } from './notices/notices.ts';
import { TracingNotices } from './notices/tracing-notices.ts';
import { ReadingPace } from './reading-pace.ts';

/** Read in one turn of the loop: some hundred sightings, which take a few milliseconds. */
const RING_BATCH_BYTES = 256 * 1024;
/** Of one core. An agent that told all of a flood would take the core from who sends it, and from the node's other pods. */
const RING_MOST_BUSY = 1 / 3;
/** What the stack does with a packet after its last hop, such as a drop, it does within this time; what comes later amends what was told. */
const SETTLED_NS = 2_000_000n;
const COUNT_INTERVAL_MS = 2000;
const CLOCK_INTERVAL_MS = 5000;

/** What the pipeline needs to know of Kubernetes: names for packets, pods for targets. */
export interface Naming extends Pick<FollowSetOptions, 'resolve' | 'placeOf'> {
  namePacket(packet: PacketEvent, timeMs: number, podOfHop: (hop: Hop) => PodBehind | undefined): void;
  /** @param pods known by their interfaces; they take precedence over the addresses */
  nameFlow(flow: FlowEvent, timeMs: number, pods?: TrackedFlow['pods']): void;
  /** The pod that owned one of these addresses then. */
  podOf(addresses: readonly string[], timeMs: number): PodRef | undefined;
  notReady(): string | undefined;
}

export interface PipelineOptions {
  node: string;
  native: NativeModule;
  tracer: Tracer;
  interfaces: Interfaces;
  naming: Naming;
  symbols: Pick<KernelSymbols, 'at'>;
  log: Logger;
  version?: string;
  /** See {@link LoadingOptions}. */
  unloadAfterMs?: number;
  /** Added to the time of every event: for tests of nodes whose clocks disagree. */
  clockSkewMs?: number;
  /** Entries of the kernel's tables of targets, in place of as many as they have. */
  targetRoom?: number;
  /** A monotonic clock in milliseconds, by which the cost of resolving is measured; `performance.now` when absent. */
  nowMs?: () => number;
}

/** Turns sightings into packets and flows, and delivers them to the followers. Traces only while somebody follows. */
export class Pipeline implements Feed {
  readonly node: string;
  readonly instance = randomBytes(6).toString('hex');
  /** Events delivered to followers, by kind. */
  readonly told = { packet: 0, flow: 0, lost: 0, notice: 0 };
  malformed = 0;
  readonly guard: Guard;
  readonly assembler: Assembler;
  readonly flows: FlowTracker;
  readonly answers: AnswerTracker;
  readonly #options: PipelineOptions;
  readonly #followers: Followers;
  readonly #notices: Notices;
  readonly #tracing: TracingNotices;
  #ring: RingReader | undefined;
  #timers: NodeJS.Timeout[] = [];
  #offsetNs: bigint;
  readonly #losses: Losses;
  readonly #loading: Loading;
  readonly #kernelFilter: KernelFilter;
  readonly #pace: ReadingPace;
  /** What happened before this has been read (CLOCK_MONOTONIC). */
  #readToNs = 0n;
  /** When what came last was read, or looked at: of `performance.now`, which costs more than most that is asked with it. */
  #nowMs = 0;
  /** Takes a sighting in. One that fails does not stop those after it in the batch. */
  readonly #add: (sighting: Sighting) => void;
  /** A follower has a filter, or wants the packets' bytes. */
  #isFiltered = false;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.guard = new Guard(options.log);
    this.node = options.node;
    this.#notices = new Notices(options.node, (notice) => this.#tellAll(notice));
    this.#tracing = new TracingNotices(this.#notices, { ...options, guard: this.guard });
    this.#followers = new Followers({
      ...options,
      notices: this.#notices,
      guard: this.guard,
      tell: (following, notice) => this.#deliver(following, notice),
      changed: () => this.#apply(),
    });
    this.#offsetNs = this.#readOffset();
    this.#losses = this.#countLosses();
    this.#loading = new Loading({ ...options, isFollowed: () => this.#followers.size > 0 });
    this.#kernelFilter = new KernelFilter(options.tracer, options.log);
    this.#pace = new ReadingPace({
      look: (lateMs, isRead) => this.#look(lateMs, isRead),
      isOpen: () => this.assembler.openPackets > 0,
      isWaiting: () => this.assembler.held + this.answers.pings > 0,
      paced: () => this.#ring?.pace(this.#pace.intervalMs),
    });
    const idPrefix = `${this.instance}-`;
    this.assembler = new Assembler({
      view: this.#nodeView(),
      idPrefix,
      onPacket: (packet) => this.#onPacket(packet),
    });
    this.#add = this.guard.wrap('sightings', (sighting) => this.assembler.add(sighting, this.#nowMs));
    this.answers = new AnswerTracker({
      onUnanswered: (packet) => this.#tellPacket(packet),
      repliesTo: (packet) => this.flows.repliesTo(packet),
    });
    this.flows = new FlowTracker({
      node: options.node,
      idPrefix,
      onFlow: (flow) => this.#onFlow(flow),
      isAddressOf: (ifindex, ip) => options.interfaces.podAddresses(ifindex, performance.now()).includes(ip),
    });
    this.#tracing.atStart();
  }

  hooks(): HookReport[] {
    return this.#options.tracer.hooks();
  }

  report(): NodeReport {
    const { version = '', native, tracer, interfaces } = this.#options;
    try {
      this.#loading.use();
    } catch (error) {
      return brokenNode(this.node, version, native.btf.available(), error);
    }
    // While nobody follows nothing else looks for modules.
    this.guard.run('probes', () => this.#refreshProbes());
    return diagnose(this.node, version, { tracer, interfaces });
  }

  nowNs(): bigint {
    return process.hrtime.bigint() + this.#offsetNs;
  }

  vxlanPort(): number | undefined {
    const [port, other] = this.#options.interfaces.vxlanPorts();
    return other === undefined ? port : undefined;
  }

  notReady(): string | undefined {
    return this.#options.naming.notReady();
  }

  counters(): Counter[] {
    return pipelineCounters(this, this.#options.tracer, this.#options.interfaces);
  }

  /** The part of the followers' filters that the kernel evaluates; undefined when there is none. */
  get kernelFilter(): string | undefined {
    return this.#kernelFilter.text;
  }

  get followers(): number {
    return this.#followers.size;
  }

  /**
   * @throws KtraceError what {@link Tracer.load} throws when the programs cannot be loaded again; KTRACE_E_TRACING when tracing cannot be started: the
   * follower is removed again then
   */
  follow(subscription: Subscription, sink: Sink, allowed: Scope): Follower {
    this.#load();
    if (this.#ring === undefined) this.guard.run('reload', () => this.#reloadIfOutdated());
    this.guard.run('probes', () => this.#refreshProbes());
    // What could not be told the last time may be told now: the follower reads what holds.
    if (this.#ring === undefined) this.#tracing.lacks();
    const following = this.#followers.add(subscription, sink, allowed);
    try {
      this.#followers.tellResolved(following);
      for (const notice of this.#notices.all()) this.#deliver(following, notice);
      this.#apply();
    } catch (error) {
      this.#options.log.error({ err: error }, 'tracing could not be started');
      this.#leave(following);
      throw notTracing(error);
    }
    return {
      update: (changed, nowAllowed) => {
        this.#followers.update(following, changed, nowAllowed);
        try {
          this.#apply();
        } catch (error) {
          throw notTracing(error);
        }
      },
      close: () => {
        if (sink.isPatient === true) this.#tellWhatCame();
        this.#leave(following);
      },
    };
  }

  /** Before one leaves who is told late: what has come is that one's still. */
  #tellWhatCame(): void {
    this.guard.run('what came', () => this.#ring?.drain());
    this.guard.run('what came', () => this.assembler.flush());
  }

  #leave(following: Following): void {
    if (this.#followers.remove(following)) this.guard.run('leave', () => this.#apply());
  }

  /** See {@link Followers.resolveAgain}. */
  resolveAgain(change: TargetChange): void {
    this.#followers.resolveAgain(change);
  }

  /** Delivers a notice to all followers, and to those who come until it is withdrawn. */
  notice(notice: Notice): void {
    this.#notices.put(notice);
  }

  /** Withdraws a notice. `by`, when given, is delivered once to those who follow now, if there was one. */
  withdraw(code: NoticeEvent['code'], by?: Notice): void {
    this.#notices.withdraw(code, by);
  }

  /** Delivers to all followers what was lost before it was any follower's. */
  lost(event: LostEvent): void {
    this.#tellAll(event);
  }

  close(): void {
    this.#followers.clear();
    this.#stop();
    this.#loading.close();
  }

  #nodeView(): NodeView {
    const { tracer, interfaces, naming, node, symbols } = this.#options;
    return {
      node,
      interfaceName: (ifindex) => interfaces.nameOf(ifindex),
      interfaceKind: (ifindex) => interfaces.kindOf(ifindex),
      podBehind: (ifindex, timeMs) => {
        if (!interfaces.isOfPod(ifindex)) return undefined;
        const pod = naming.podOf(interfaces.podAddresses(ifindex, this.#nowMs), timeMs);
        return pod === undefined ? '' : `${pod.namespace}/${pod.name}`;
      },
      netnsOf: (ifindex) => interfaces.netnsOf(ifindex),
      isOwnAddress: (ip) => interfaces.ownAddresses.has(ip),
      interfaceOfAddress: (ip) => interfaces.interfaceOfAddress(ip),
      realtimeOffsetNs: () => this.#offsetNs,
      dropReasons: tracer.dropReasons,
      knowsReceivers: tracer.knowsReceivers,
      symbol: (address) => symbols.at(address),
    };
  }

  #readOffset(): bigint {
    return this.#options.native.realtimeOffsetNs() + BigInt(this.#options.clockSkewMs ?? 0) * 1_000_000n;
  }

  /** Brings the kernel side up to date with the followers. Nothing is attached while nobody follows. */
  #apply(): void {
    if (this.#followers.size === 0) {
      this.#stop();
      return;
    }
    this.#isFiltered = [...this.#followers].some(
      ({ subscription: { filter, data, headers }, sink }) =>
        filter !== undefined || data === true || headers === true || sink.wantsBytes === true,
    );
    const snapBytes = [...this.#followers].map(({ subscription }) => subscription.snapBytes ?? 0);
    this.#options.tracer.setSnapBytes(Math.max(0, ...snapBytes));
    // Everything is attached before anything matches: else the first packets would be emitted with half of their hops.
    this.#start();
    this.#pace.isPatient = [...this.#followers].every(({ sink }) => sink.isPatient === true);
    this.#ring?.pace(this.#pace.intervalMs);
    this.#tracing.lacks();
    this.#tracing.interfaces();
    // The filter before the targets: the packets of new targets have to pass the new filter.
    this.#filterInKernel();
    this.#followers.give();
  }

  #filterInKernel(): void {
    const subscriptions = [...this.#followers].map(({ subscription }) => subscription);
    const { interfaces } = this.#options;
    this.#kernelFilter.update(subscriptions, [...interfaces.vxlanPorts(), ...interfaces.genevePorts()]);
  }

  #start(): void {
    if (this.#ring !== undefined) return;
    const { native, tracer, interfaces } = this.#options;
    this.#offsetNs = this.#readOffset();
    this.#losses.start();
    const ring = native.readRing(
      tracer.object,
      'sightings',
      { intervalMs: this.#pace.intervalMs, batchBytes: RING_BATCH_BYTES, mostBusy: RING_MOST_BUSY, restsIn: 'reader_rests' },
      this.guard.wrap('batch', (batch: Buffer) => this.#onBatch(batch)),
    );
    try {
      interfaces.setActive(true);
    } catch (error) {
      this.guard.run('stop', () => interfaces.setActive(false));
      this.guard.run('stop', () => ring.close());
      throw error;
    }
    this.#ring = ring;
    this.#timers = [
      setInterval(() => this.#count(), COUNT_INTERVAL_MS),
      setInterval(
        this.guard.wrap('clock', () => {
          this.#offsetNs = this.#readOffset();
        }),
        CLOCK_INTERVAL_MS,
      ),
    ];
  }

  #stop(): void {
    const ring = this.#ring;
    if (ring === undefined) return;
    this.#ring = undefined;
    for (const timer of this.#timers) clearInterval(timer);
    this.#pace.stop();
    const { tracer, interfaces } = this.#options;
    // Each step on its own: one that fails must not keep the others from being done.
    const steps: (() => void)[] = [
      () => interfaces.setActive(false),
      // What is left in the ring belongs to followers who are gone. The next one must not get it.
      () => ring.drain(),
      () => ring.close(),
      () => this.#followers.takeBack(),
      () => this.#kernelFilter.update([], []),
      () => tracer.setSnapBytes(0),
      () => this.assembler.flush(),
      () => this.answers.clear(),
      () => this.flows.closeAll(this.#counting()),
      // When the table cannot be read: what is left in it is found as new the next time.
      () => this.flows.closeAll(),
      () => tracer.flowTable.clear(),
      () => this.#tracing.flowTable(false),
    ];
    for (const step of steps) this.guard.run('stop', step);
  }

  #onBatch(batch: Uint8Array): void {
    this.#nowMs = performance.now();
    // Of a full batch the rest waits in the ring.
    this.#readToNs = batch.length > RING_BATCH_BYTES / 2 ? 0n : process.hrtime.bigint() - SETTLED_NS;
    const { malformed } = decodeBatch(batch, this.#add, this.#isFiltered);
    this.malformed += malformed;
    // What is drained at the end is of nobody any more.
    if (this.#ring !== undefined) this.#pace.read(batch.length, this.#nowMs);
  }

  #look(lateMs: number, isRead: boolean): void {
    if (!isRead) this.#nowMs = performance.now();
    this.guard.run('packets', () => this.assembler.tick(this.#nowMs, this.#readToNs));
    this.guard.run('answers', () => this.answers.tick(this.#nowMs - lateMs));
  }

  /** Each step on its own: one that fails must not keep the others from being done. */
  #count(): void {
    const { guard } = this;
    guard.run('reload', () => this.#reloadIfOutdated());
    if (this.#ring === undefined) return;
    // The ports of the tunnels may have changed.
    guard.run('kernel filter', () => this.#filterInKernel());
    guard.run('probes', () => this.#refreshProbes());
    guard.run('interfaces', () => {
      this.#options.interfaces.retryFailed();
      this.#tracing.interfaces();
    });
    guard.run('reattach', () => this.#tracing.reattached(this.#options.interfaces.reattach()));
    guard.run('ticks', () => this.#options.tracer.readTicks());
    guard.run('flow table', () => this.#countFlows());
    guard.run('answers', () => this.answers.count(performance.now()));
    guard.run('losses', () => {
      for (const lost of this.#losses.take()) this.#tellAll(lost);
      this.#tracing.flowTable(this.#losses.isTableFull);
    });
    guard.run('faults', () => this.#tracing.faults());
  }

  /** When conntrack's module was loaded after the programs, replaces them by programs that read it, and starts tracing again. */
  #reloadIfOutdated(): void {
    const { tracer, log } = this.#options;
    if (!tracer.isOutdated()) return;
    const wasTold = this.#tracing.lacksConntrack;
    let isExchanged = false;
    try {
      tracer.reload(() => this.#stop());
      isExchanged = true;
      log.info({ hooks: tracer.hooks() }, 'conntrack was loaded: the programs are exchanged for such as read it');
    } finally {
      if (this.#ring === undefined) this.#restart(() => isExchanged && wasTold && this.#tracing.conntrackLoaded());
    }
  }

  /** Tracing was running for the followers: it is tried again until it does. */
  #restart(begun: () => void): void {
    const restart = () => {
      if (this.#followers.size > 0) this.#loading.use();
      this.#apply();
    };
    if (this.guard.run('restart', restart)) {
      begun();
      return;
    }
    this.#tracing.faults();
    setTimeout(() => this.#restart(begun), COUNT_INTERVAL_MS);
  }

  #load(): void {
    try {
      this.#loading.use();
    } catch (error) {
      this.#options.log.error({ err: error }, 'the programs could not be loaded');
      throw notTracing(error);
    }
  }

  #refreshProbes(): void {
    const { tracer, log } = this.#options;
    if (!tracer.probes.refresh()) return;
    log.info({ hooks: tracer.probes.hooks() }, 'the kernel’s modules have changed, and with them what can be told');
    if (this.#ring !== undefined) this.#tracing.lacks();
  }

  #countFlows(): void {
    this.flows.count(this.#counting());
    this.#options.tracer.settleFlowShares();
  }

  #counting(): FlowCounting {
    const { flowTable: table } = this.#options.tracer;
    return { table, monotonicNs: process.hrtime.bigint(), realtimeOffsetNs: this.#offsetNs, nowMs: performance.now() };
  }

  #countLosses(): Losses {
    const { tracer, interfaces, naming } = this.#options;
    return new Losses({
      node: this.node,
      tracer,
      podOf: ({ ifindex, ip }) => {
        const addresses = ifindex === undefined ? [ip ?? ''] : interfaces.podAddresses(ifindex, performance.now());
        return naming.podOf(addresses, Date.now());
      },
      now: () => formatUnixNs(this.nowNs()),
    });
  }

  #onPacket(packet: AssembledPacket): void {
    this.flows.note(packet, this.#nowMs, this.#podsOf(packet));
    const podOfHop = (hop: Hop) => this.#podBehind(packet.hopIfindexes[packet.event.hops.indexOf(hop)], packet.timeMs);
    this.#options.naming.namePacket(packet.event, packet.timeMs, podOfHop);
    this.answers.note(packet, this.#nowMs);
    this.#tellPacket(packet);
  }

  #podBehind(ifindex: number | undefined, timeMs: number): PodBehind | undefined {
    if (ifindex === undefined) return undefined;
    const { interfaces, naming } = this.#options;
    const ips = interfaces.podAddresses(ifindex, this.#nowMs);
    const pod = naming.podOf(ips, timeMs);
    return pod === undefined ? undefined : { pod, ips };
  }

  #podsOf({ event, hopIfindexes, timeMs }: AssembledPacket): EndPods {
    const podAt = (ifindex: number | undefined, ip: string) => {
      const behind = this.#podBehind(ifindex, timeMs);
      return behind?.ips.includes(ip) ? behind.pod : undefined;
    };
    const isIn = event.hops[0]?.dir === 'in';
    const isOut = event.hops.at(-1)?.dir === 'out';
    return {
      from: isIn ? podAt(hopIfindexes[0], event.src.ip) : undefined,
      to: isOut ? podAt(hopIfindexes.at(-1), translatedTuple(event).dst) : undefined,
    };
  }

  /** A packet's bytes may have been captured for a follower who asked for more: each gets them cut to its own snap length. */
  #tellPacket(packet: AssembledPacket): void {
    const captured = new Map<number, readonly Uint8Array[]>();
    for (const following of this.#followers) {
      const { set, subscription } = following;
      if ((packet.nothingNew && !set.wantsEveryPacket) || !isWanted(set, packet.event)) continue;
      const snapBytes = subscription.snapBytes ?? 0;
      const seen = captured.get(snapBytes) ?? distinctBytes(packet.captured, snapBytes);
      captured.set(snapBytes, seen);
      this.#deliver(following, subscription.data ? withData(packet, snapBytes) : packet.event, seen);
    }
  }

  #onFlow({ event, timeMs, pods }: TrackedFlow): void {
    this.#options.naming.nameFlow(event, timeMs, pods);
    for (const following of this.#followers) if (isWanted(following.set, event)) this.#deliver(following, event);
  }

  #tellAll(event: KtraceEvent): void {
    for (const following of this.#followers) this.#deliver(following, event);
  }

  #deliver(following: Following, event: KtraceEvent, captured?: readonly Uint8Array[]): void {
    this.told[event.kind] += 1;
    following.sink.event(event, captured);
  }
}

function notTracing(error: unknown): unknown {
  if (error instanceof KtraceError) return error;
  return new KtraceError('KTRACE_E_TRACING', `Tracing could not be started on this node: ${messageOf(error)}`, {
    cause: error,
    hint: "Follow again; where that does not help, ktrace doctor and the agent's log have more.",
  });
}
