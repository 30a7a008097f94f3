import type { WorkloadKind } from '../event/target.ts';
import type { PodRef } from '../event/types.ts';

const KINDS = { statefulset: 'StatefulSet', daemonset: 'DaemonSet', job: 'Job', deployment: 'Deployment' } as const;
/** What the CronJob controller puts behind its own name to make a Job's: the minute that it is due, since 1970. */
const DUE = /^-\d{8,}$/;

/** Whether a pod is a workload's. Of its owners a pod's record has but one: a Deployment instead of its ReplicaSet, and a Job instead of its CronJob. */
export function isOwnedBy(
  { kind, namespace, name }: { kind: WorkloadKind; namespace: string; name: string },
  pod: Pick<PodRef, 'namespace' | 'owner' | 'labels'>,
): boolean {
  if (pod.namespace !== namespace || pod.owner === undefined) return false;
  const [ownerKind = '', owner = ''] = pod.owner.split('/');
  const hash = pod.labels?.['pod-template-hash'];
  switch (kind) {
    case 'replicaset':
      return ownerKind === 'Deployment'
        ? hash !== undefined && `${owner}-${hash}` === name
        : ownerKind === 'ReplicaSet' && owner === name;
    case 'cronjob':
      return ownerKind === 'Job' && owner.startsWith(name) && DUE.test(owner.slice(name.length));
    default:
      return ownerKind === KINDS[kind] && owner === name;
  }
}
