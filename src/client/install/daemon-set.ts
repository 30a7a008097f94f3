/** What is read of a DaemonSet; Kubernetes, `apps/v1`. */
export interface DaemonSet {
  metadata: { name: string; namespace?: string; generation?: number };
  status?: {
    observedGeneration?: number;
    desiredNumberScheduled?: number;
    currentNumberScheduled?: number;
    updatedNumberScheduled?: number;
    numberReady?: number;
    numberUnavailable?: number;
  };
}

/** There are fewer pods than there shall be, ready or not. */
export function lacksPods({ desiredNumberScheduled = 0, currentNumberScheduled = 0 }: DaemonSet['status'] = {}): boolean {
  return currentNumberScheduled < desiredNumberScheduled;
}
