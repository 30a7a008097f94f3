import type { Scope } from '../../access/scope.ts';
import type { NodeReport } from '../../event/node-report.ts';
import type { Resolved, Subscription } from '../../event/target.ts';
import type { KtraceEvent } from '../../event/types.ts';
import type { Counter } from '../../util/counter.ts';

/**
 * Takes a subscription's events. Called on the main loop: must not block or throw. All followers get an event before any of them gets the next one; nobody
 * may change it.
 */
export interface Sink {
  /** It wants captured bytes also where it has no filter. */
  readonly wantsBytes?: boolean;
  /** Nobody waits for what it gets: it may come some tenths of a second later. Where all are so, the agent wakes less often. */
  readonly isPatient?: boolean;
  /** Whose it is: of what is scarce all followers of one have one share. Empty: nobody asks whose. */
  readonly identity?: string;
  /** `captured`: of a packet its captured bytes, each variant once, where a follower has a filter or wants them. */
  event(event: KtraceEvent, captured?: readonly Uint8Array[]): void;
  resolved(resolved: Resolved): void;
}

export interface Follower {
  /** Takes effect at once. Nothing is attached again, and no event is lost. */
  update(subscription: Subscription, allowed: Scope): void;
  close(): void;
}

/** What the pipeline offers to the server. */
export interface Feed {
  readonly node: string;
  /** Changes at every start of the agent. */
  readonly instance: string;
  /** For `ktrace doctor`. */
  report(): NodeReport;
  /** Unix nanoseconds of the clock that events' times are from. */
  nowNs(): bigint;
  /** UDP port of the node's VXLAN devices; undefined when there is none, or several. */
  vxlanPort(): number | undefined;
  /** `allowed`: what the follower may see. Addresses that are known to be outside of it are not followed. */
  follow(subscription: Subscription, sink: Sink, allowed: Scope): Follower;
  /** Why it is not ready; undefined: it is. */
  notReady(): string | undefined;
  /** The counters of all stages, for the metrics. */
  counters(): Counter[];
}
