import type { Endpoint, FlowEvent, PacketEvent } from '../event/types.ts';

/** One end of a record as it is exported. */
export interface End {
  /** As the record's own packet or flow carried it, before translation. */
  wire: Endpoint;
  /** What translation makes of it. */
  translated: Endpoint | undefined;
  /** Whose end it is: behind a Service, the endpoint. */
  owner: Endpoint;
  /** The Service that it was addressed as. */
  service: { namespace: string; name: string } | undefined;
}

/** Both ends of a record. The source of a reply is the responder: a packet's ends are exported as the packet has them. */
export function endsOf(event: PacketEvent | FlowEvent): { source: End; destination: End } {
  const isReply = event.kind === 'packet' && event.dir === 'reply';
  const dnat = event.nat?.findLast(({ kind }) => kind === 'dnat');
  const snat = event.nat?.findLast(({ kind }) => kind === 'snat');
  const service = serviceOf(dnat?.service);
  if (isReply) {
    return {
      source: { wire: event.src, translated: dnat?.after, owner: event.src, service: event.src.service ?? service },
      destination: { wire: event.dst, translated: snat?.after, owner: snat?.after ?? event.dst, service: event.dst.service },
    };
  }
  return {
    source: { wire: event.src, translated: snat?.after, owner: event.src, service: event.src.service },
    destination: {
      wire: event.dst,
      translated: dnat?.after,
      owner: dnat?.after ?? event.dst,
      service: event.dst.service ?? service,
    },
  };
}

/** @param text `namespace/name` or `namespace/name:port` */
function serviceOf(text: string | undefined): End['service'] {
  const [, namespace, name] = /^([^/]+)\/([^:]+)/.exec(text ?? '') ?? [];
  return namespace === undefined || name === undefined ? undefined : { namespace, name };
}
