import { endsOf } from '../../event/ends.ts';
import type { FlowEvent, PacketEvent } from '../../event/types.ts';

/** By which losses that are charged to no pod are found: they are of all. */
export const LOST_KEY = 'lost';

/** By which a block is found: addresses, pods' uids, pods and Services by name. */
export function* keysOf(event: PacketEvent | FlowEvent): Generator<string> {
  for (const { ip, pod, service } of endsOf(event)) {
    yield ip;
    if (pod !== undefined) {
      yield pod.uid;
      yield `pod ${pod.namespace}/${pod.name}`;
    }
    if (service !== undefined) yield `svc ${service.namespace}/${service.name}`;
  }
  for (const { service } of event.nat ?? []) if (service !== undefined) yield `svc ${service.split(':')[0]}`;
}

/** The Services that a record names, as `namespace/name`; some of them more than once. */
export function* servicesOf(event: PacketEvent | FlowEvent): Generator<string> {
  for (const { service } of endsOf(event)) if (service !== undefined) yield `${service.namespace}/${service.name}`;
  for (const { service } of event.nat ?? []) if (service !== undefined) yield service.split(':')[0] ?? '';
}
