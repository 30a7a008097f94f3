import type { Scope } from '../access/scope.ts';
import type { HookReport, NodeReport } from '../event/node-report.ts';
import type { Resolved, Subscription } from '../event/target.ts';
import type { KtraceEvent } from '../event/types.ts';

/**
 * Where a subscription's events go. Called on the main loop; must not block or throw. An event goes to all that follow it before
 * the next one does, and is not changed once told.
 */
export interface Sink {
  /** It takes packets' bytes, filter or not. */
  readonly wantsBytes?: boolean;
  /** With a packet come its distinct captured bytes, where somebody filters or wants them. */
  event(event: KtraceEvent, captured?: readonly Uint8Array[]): void;
  resolved(resolved: Resolved): void;
}

export interface Follower {
  /** Takes effect at once; nothing is attached anew and nothing in between is lost. */
  update(subscription: Subscription, allowed: Scope): void;
  close(): void;
}

/** State of one kernel hook, for `hello` and doctor. */
export type HookState = HookReport;

/** What the pipeline offers to the server. */
export interface Feed {
  readonly node: string;
  /** Changes at every start of the agent. */
  readonly instance: string;
  hooks(): HookState[];
  /** For `ktrace doctor`. */
  report(): NodeReport;
  /** Unix nanoseconds of this node's clock, as its events' times are made. */
  nowNs(): bigint;
  /** UDP port of the node's VXLAN devices; undefined when there is none, or several. */
  vxlanPort(): number | undefined;
  /** `allowed`: what the follower may see. What is known to be somebody else's is not followed for it. */
  follow(subscription: Subscription, sink: Sink, allowed: Scope): Follower;
  /** Undefined when ready, else why not. */
  notReady(): string | undefined;
  /** Counters of every stage for the metrics, flat: name → label set → value. */
  counters(): Counter[];
}

export interface Counter {
  /** Prometheus name, e.g. `ktrace_sightings_total`. */
  name: string;
  help: string;
  type: 'counter' | 'gauge';
  values: { labels: Record<string, string>; value: number }[];
}
