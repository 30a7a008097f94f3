import type { PodRef } from './types.ts';

/** What went wrong with a pod. */
export interface IncidentCause {
  /** `exited`: with an error. `restarted`: though it had not ended with one. `not-ready`: until it was removed. */
  kind: 'exited' | 'oom-killed' | 'restarted' | 'not-ready';
  /** All but `not-ready`. */
  container?: string;
  exitCode?: number;
  /** For a person. */
  text: string;
}

/** Something went wrong with a pod of a node; times are Unix milliseconds. */
export interface PodTrouble {
  pod: PodRef;
  atMs: number;
  causes: IncidentCause[];
}

/** What a node keeps of the time around a trouble. */
export interface Incident extends PodTrouble {
  /** Names it: `incident/ID`. */
  id: string;
  /** Of which time the pod's records are kept. */
  fromMs: number;
  toMs: number;
  /** Records that are kept, and that found no room. */
  records: number;
  cut: number;
  /** False while the time after it still goes on. */
  isWhole: boolean;
}

/** An incident and the node that keeps it. */
export interface NodeIncident extends Incident {
  node: string;
}
