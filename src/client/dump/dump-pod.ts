import { endsOf } from '../../event/ends.ts';
import type { AddressOwner } from '../../event/target.ts';
import type { KtraceEvent } from '../../event/types.ts';

/** Is a record of this very pod, whatever others have had its name? By its uid, or, of an end that nobody could name, by who had the address then. */
export function isOfPod(event: KtraceEvent, uid: string, owners: readonly AddressOwner[]): boolean {
  if (event.kind === 'lost') return event.pod === undefined || event.pod.uid === uid;
  if (event.kind === 'notice') return true;
  const timeMs = Date.parse(event.kind === 'packet' ? event.time : event.endTime);
  return endsOf(event).some(({ ip, pod }) => (pod === undefined ? hadAddress(owners, uid, ip, timeMs) : pod.uid === uid));
}

function hadAddress(owners: readonly AddressOwner[], uid: string, ip: string, timeMs: number): boolean {
  return owners.some(
    (owner) => owner.uid === uid && owner.ip === ip && timeMs >= owner.fromMs && timeMs <= (owner.toMs ?? Infinity),
  );
}
