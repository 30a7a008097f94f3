import type { Resolved, Subscription } from '../event/target.ts';
import type { KtraceEvent } from '../event/types.ts';

/**
 * Where a subscription's events go. Called on the main loop; must not block or throw. An event goes to all that follow it before
 * the next one does, and is not changed once told.
 */
export interface Sink {
  event(event: KtraceEvent): void;
  resolved(resolved: Resolved): void;
}

export interface Follower {
  /** Takes effect at once; nothing is attached anew and nothing in between is lost. */
  update(subscription: Subscription): void;
  close(): void;
}

/** State of one kernel hook, for `hello` and doctor. */
export interface HookState {
  name: string;
  backend: 'tcx' | 'clsact' | 'tracepoint' | 'kprobe' | 'fentry' | 'none';
  state: 'on' | 'idle' | 'unavailable';
  reason?: string;
}

/** What the pipeline offers to the server. */
export interface Feed {
  readonly node: string;
  /** Changes at every start of the agent. */
  readonly instance: string;
  hooks(): HookState[];
  /** Unix nanoseconds of this node's clock, as its events' times are made. */
  nowNs(): bigint;
  follow(subscription: Subscription, sink: Sink): Follower;
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
