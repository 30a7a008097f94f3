import { at, listAt, textAt, timeAt } from './raw.ts';

/** How a pod's containers are, of which troubles are told. Looked at and let go: the index keeps none of it. */
export interface PodHealth {
  containers: ContainerHealth[];
  /** Since when the pod has not been ready, by the API server's word; undefined while it is. */
  notReadySinceMs: number | undefined;
  /** Its removal has begun. */
  isDeleting: boolean;
}

export interface ContainerHealth {
  name: string;
  restarts: number;
  isRunning: boolean;
  /** Its last end. `finishedAt` tells one end from another. */
  ended: { exitCode: number; isOom: boolean; finishedAt: string } | undefined;
}

export function podHealth(raw: unknown): PodHealth {
  const statuses = [...listAt(raw, 'status', 'initContainerStatuses'), ...listAt(raw, 'status', 'containerStatuses')];
  const ready = listAt(raw, 'status', 'conditions').find((one) => at(one, 'type') === 'Ready');
  return {
    containers: statuses.map(containerHealth),
    notReadySinceMs: at(ready, 'status') === 'False' ? timeAt(ready, 'lastTransitionTime') : undefined,
    isDeleting: at(raw, 'metadata', 'deletionTimestamp') !== undefined,
  };
}

function containerHealth(raw: unknown): ContainerHealth {
  const ended = at(raw, 'state', 'terminated') ?? at(raw, 'lastState', 'terminated');
  return {
    name: textAt(raw, 'name') ?? '',
    restarts: numberAt(raw, 'restartCount') ?? 0,
    isRunning: at(raw, 'state', 'running') !== undefined,
    ended:
      ended === undefined
        ? undefined
        : {
            exitCode: numberAt(ended, 'exitCode') ?? 0,
            isOom: at(ended, 'reason') === 'OOMKilled',
            finishedAt: textAt(ended, 'finishedAt') ?? '',
          },
  };
}

function numberAt(raw: unknown, key: string): number | undefined {
  const value = at(raw, key);
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined;
}
