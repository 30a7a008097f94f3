import { setTimeout as delay } from 'node:timers/promises';
import type { KtraceEvent } from '../event/types.ts';
import { type ComplaintLog, Complaints } from './complaints.ts';
import { EXPORT_LIMITS, type ExportLimits } from './limits.ts';
import { logRecordJson } from './log-record.ts';
import { LossReport } from './loss-report.ts';
import type { OwnTraffic } from './own-traffic.ts';
import { ExportQueue } from './queue.ts';
import { type ExportSource, requestFrame } from './resource.ts';
import { type ExportEvent, isSelected } from './selection.ts';
import type { Outcome, Sender } from './send.ts';

/** Why a record did not reach the collector. */
export type LossReason = 'queue_full' | 'rejected' | 'gave_up' | 'shutdown';

/** `in = exported + all of lost + those that wait`. */
export interface ExportCounts {
  in: number;
  exported: number;
  lost: Record<LossReason, number>;
  /** Not exported because it was the traffic of exporting. */
  ownTraffic: number;
  /** Requests by what became of them. */
  requests: Record<Outcome['kind'], number>;
}

export interface ExporterOptions {
  source: ExportSource;
  events: ReadonlySet<ExportEvent>;
  sender: Sender;
  ownTraffic: OwnTraffic;
  log: ComplaintLog;
  /** Unix nanoseconds. */
  nowNs(): bigint;
  /** Monotonic, ms. */
  nowMs?: () => number;
  /** From 0 up to 1. */
  random?: () => number;
  limits?: Partial<ExportLimits>;
}

/** Events → log records → batches → the collector, one request at a time. Whoever tells it events never waits. */
export class Exporter {
  readonly counts: ExportCounts = {
    in: 0,
    exported: 0,
    lost: { queue_full: 0, rejected: 0, gave_up: 0, shutdown: 0 },
    ownTraffic: 0,
    requests: { accepted: 0, refused: 0, failed: 0 },
  };
  readonly #options: ExporterOptions;
  readonly #limits: ExportLimits;
  readonly #queue: ExportQueue;
  readonly #frame: { head: string; tail: string };
  readonly #report: LossReport;
  readonly #complaints: Complaints;
  readonly #nowMs: () => number;
  /** Ends the pauses between attempts. */
  readonly #closing = new AbortController();
  /** Ends the request under way. */
  readonly #ending = new AbortController();
  readonly #done: Promise<void>;
  #serial = 0;
  #inFlight = 0;
  #failures = 0;
  #wake: () => void = () => undefined;

  constructor(options: ExporterOptions) {
    this.#options = options;
    this.#limits = { ...EXPORT_LIMITS, ...options.limits };
    this.#queue = new ExportQueue(this.#limits);
    this.#frame = requestFrame(options.source);
    this.#report = new LossReport(options.source.node, options.nowNs);
    this.#nowMs = options.nowMs ?? (() => performance.now());
    const { log } = options;
    this.#complaints = new Complaints(log, this.#limits.complaintMs, () => ({
      lost: this.counts.lost,
      waiting: this.waiting.records,
    }));
    this.#done = this.#work();
  }

  /** Records that the collector does not have yet, and the JSON of those that wait in the queue. */
  get waiting(): { records: number; bytes: number } {
    return { records: this.#queue.length + this.#inFlight, bytes: this.#queue.bytes };
  }

  event(event: KtraceEvent): void {
    const { events, ownTraffic, nowNs } = this.#options;
    if (this.#closing.signal.aborted || !isSelected(event, events)) return;
    const nowMs = this.#nowMs();
    if ((event.kind === 'flow' || event.kind === 'packet') && ownTraffic.isOwn(event, nowMs)) {
      this.counts.ownTraffic += 1;
      return;
    }
    this.counts.in += 1;
    if (this.#queue.isFull) {
      this.#lose('queue_full', 1);
      this.#complaints.trouble('the queue is full', nowMs);
      return;
    }
    this.#queue.push(logRecordJson(event, this.#nextUid(), nowNs()), nowMs);
    if (this.#queue.length === 1 || this.#queue.hasBatch) this.#wake();
  }

  /** Takes no more events, sends what waits for as long as `flushMs`, and counts the rest as lost. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#wake();
    const timer = setTimeout(() => this.#ending.abort(), this.#limits.flushMs);
    await this.#done;
    clearTimeout(timer);
    this.#options.sender.close();
  }

  async #work(): Promise<void> {
    for (;;) {
      await this.#untilDue();
      const batch = this.#queue.take();
      const [oldest] = batch;
      if (oldest === undefined) return;
      this.#inFlight = batch.length;
      await this.#deliver(
        batch.map(({ json }) => json),
        oldest.sinceMs,
      );
      this.#inFlight = 0;
    }
  }

  /** Until a batch is full or has waited long enough, or the end has come. */
  async #untilDue(): Promise<void> {
    while (!this.#closing.signal.aborted && !this.#queue.hasBatch) {
      const { sinceMs } = this.#queue;
      const leftMs = sinceMs === undefined ? undefined : sinceMs + this.#limits.delayMs - this.#nowMs();
      if (leftMs !== undefined && leftMs <= 0) return;
      await new Promise<void>((resolve) => {
        const timer = leftMs === undefined ? undefined : setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async #deliver(records: readonly string[], sinceMs: number): Promise<void> {
    const { sender } = this.#options;
    const report = this.#report.take(() => this.#nextUid());
    const body = this.#frame.head + [...records, ...(report === undefined ? [] : [report.json])].join(',') + this.#frame.tail;
    for (;;) {
      const outcome = await sender.send(body, this.#ending.signal);
      this.counts.requests[outcome.kind] += 1;
      if (outcome.kind !== 'failed') {
        this.#failures = 0;
        if (this.#settle(records.length, outcome) && report !== undefined) this.#report.told(report.count);
        return;
      }
      this.#failures += 1;
      this.#complaints.trouble(outcome.message, this.#nowMs());
      if (this.#closing.signal.aborted) {
        this.#lose('shutdown', records.length + this.#queue.dropOlderThan(Number.POSITIVE_INFINITY));
        return;
      }
      const { maxAgeMs } = this.#limits;
      const wantedMs = outcome.afterMs ?? this.#backoffMs();
      const pauseMs = Math.min(wantedMs, maxAgeMs);
      const isTooOld = this.#nowMs() + wantedMs - sinceMs > maxAgeMs;
      if (isTooOld) this.#giveUp(records.length, this.#nowMs() + pauseMs - maxAgeMs);
      await delay(pauseMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
      if (isTooOld) return;
    }
  }

  /** Counts what became of records that were answered for; whether all were taken. */
  #settle(count: number, outcome: Exclude<Outcome, { kind: 'failed' }>): boolean {
    const rejected = outcome.kind === 'refused' ? count : Math.min(count, outcome.rejected);
    this.counts.exported += count - rejected;
    if (rejected === 0) {
      this.#complaints.fine();
      return true;
    }
    this.#lose('rejected', rejected);
    this.#complaints.trouble(outcome.message, this.#nowMs());
    return false;
  }

  /** With the batch goes what is as old and still waits: when the collector is back it is not kept busy with the past. */
  #giveUp(count: number, oldestKept: number): void {
    this.#inFlight = 0;
    this.#lose('gave_up', count + this.#queue.dropOlderThan(oldestKept));
  }

  #lose(reason: LossReason, count: number): void {
    this.counts.lost[reason] += count;
    this.#report.add(count);
  }

  #backoffMs(): number {
    const { backoffMs, maxBackoffMs } = this.#limits;
    const fullMs = Math.min(maxBackoffMs, backoffMs * 2 ** Math.min(30, this.#failures - 1));
    return fullMs * (1 - (this.#options.random ?? Math.random)() / 2);
  }

  #nextUid(): string {
    this.#serial += 1;
    return `${this.#options.source.instance}-e${this.#serial.toString(36)}`;
  }
}
