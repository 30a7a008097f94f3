import { endsOf } from '../../event/ends.ts';
import type { FlowEvent, PacketEvent } from '../../event/types.ts';

/** By which losses that are charged to no pod are found: they are of all. */
export const LOST_KEY = 'lost';

/** By which a block is found: addresses, pods' uids, pods and Services by name. */
export function keysOf(event: PacketEvent | FlowEvent): string[] {
  const keys = servicesOf(event).map((name) => `svc ${name}`);
  for (const { ip, pod } of endsOf(event)) {
    keys.push(ip);
    if (pod !== undefined) keys.push(pod.uid, `pod ${pod.namespace}/${pod.name}`);
  }
  return keys;
}

/** The Services that a record names, as `namespace/name`; some of them more than once. */
export function servicesOf(event: PacketEvent | FlowEvent): string[] {
  const names: string[] = [];
  for (const { service } of endsOf(event)) if (service !== undefined) names.push(`${service.namespace}/${service.name}`);
  for (const { service } of event.nat ?? []) if (service !== undefined) names.push(service.split(':')[0] ?? '');
  return names;
}
