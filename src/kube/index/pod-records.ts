import type { Owner } from './types.ts';

export type PodOwner = Owner & { kind: 'pod' };

/** A pod as it was from one moment on: labels change. Newest first. */
export interface PodVersion {
  owner: PodOwner;
  fromMs: number;
  older: PodVersion | undefined;
}

/** One pod of this node, as it told itself. What EndpointSlices say of it is a {@link NamedPod} of its own, for anybody may write a slice. */
export interface PodRecord {
  version: PodVersion;
  hostNetwork: boolean;
  /** The addresses it holds now. */
  ips: readonly string[];
  /** The addresses that it held last, and since when. */
  held: { ips: readonly string[]; fromMs: number } | undefined;
  /** When its last container ended, if all have. */
  endedMs: number | undefined;
  /** When it was over; Infinity while it lasts. */
  goneMs: number;
}

/** One pod of another node, as EndpointSlices name it. */
export interface NamedPod {
  readonly owner: PodOwner;
  /** The addresses it holds now. */
  ips: readonly string[];
  /** How many endpoints name it. */
  endpoints: number;
  /** When it was over; Infinity while it lasts. */
  goneMs: number;
}
