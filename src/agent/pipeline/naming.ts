import type { FlowEvent, PacketEvent } from '../../event/types.ts';
import { enrichFlow, enrichPacket } from '../../kube/enrich.ts';
import type { Kube } from '../../kube/start.ts';
import type { Naming } from './pipeline.ts';

/** The cluster's names as the pipeline asks for them. */
export function kubeNaming(kube: Kube): Naming {
  const { names } = kube;
  return {
    resolve: (targets, extra, allowed) => kube.resolve(targets, extra, allowed),
    placeOf: (ip, namespaces) => kube.placeOf(ip, namespaces),
    namePacket: (packet, timeMs, podOfHop) => enrichPacket(packet, names, timeMs, podOfHop),
    nameFlow: (flow, timeMs, pods) => enrichFlow(flow, names, timeMs, pods),
    podOf(addresses, timeMs) {
      for (const ip of addresses) {
        const owner = names.ownerOf(ip, timeMs);
        if (owner?.kind === 'pod') return owner.pod;
      }
      return undefined;
    },
    notReady() {
      const { isSynced, reason } = kube.state();
      return isSynced ? undefined : `names of pods and Services are not there yet${reason === undefined ? '' : `: ${reason}`}`;
    },
  };
}

/** Names a record once more, in place: more may be known of its time now. */
export function nameAgain(naming: Naming, event: PacketEvent | FlowEvent): void {
  if (event.kind === 'packet') naming.namePacket(event, Date.parse(event.time), () => undefined);
  else naming.nameFlow(event, Date.parse(event.startTime));
}
