import type { Endpoint, FlowEvent, PacketEvent } from '../event/types.ts';
import type { End } from './ends.ts';
import type { Exported, ExportedLost, WithEnds } from './fields.ts';

/** A flow in one line, e.g. `tcp default/web:41512 -> default/redis:6379 => default/redis-0:6379 closed: 12/10 packets, 900/800 bytes`. */
export function flowBody({ event, source, destination }: WithEnds<FlowEvent>): string {
  const { packets, bytes } = event;
  const state = event.state === 'close' ? 'closed' : event.state === 'open' ? 'opened' : 'goes on';
  const counts =
    event.counted === false
      ? 'not counted'
      : `${packets.request}/${packets.reply} packets, ${bytes.request}/${bytes.reply} bytes`;
  return `${event.proto} ${endText(source)} -> ${endText(destination)} ${state}${event.state === 'open' ? '' : `: ${counts}`}`;
}

/** A dropped packet in one line. */
export function dropBody({ event, source, destination }: WithEnds<PacketEvent>): string {
  const { drop, icmp } = event;
  const where = drop?.if === undefined ? '' : ` on ${drop.if}`;
  const kind = icmp === undefined ? event.proto : `${event.proto} ${icmp.name}`;
  return `${kind} ${endText(source)} -> ${endText(destination)} dropped: ${drop?.reason} at ${drop?.at}${where}`;
}

export function lostBody({ stage, count }: ExportedLost): string {
  return `lost ${count} ${stage === 'export' ? 'log records' : 'events'} (${stage})`;
}

/** The end as it was addressed, and what translation makes of it. */
function endText({ wire, translated, service }: End): string {
  const own = addressText(wire, service === undefined || wire.pod ? undefined : `${service.namespace}/${service.name}`);
  return translated === undefined ? own : `${own} => ${addressText(translated, undefined)}`;
}

function addressText(end: Endpoint, service: string | undefined): string {
  const { pod, node, ip, port } = end;
  const name =
    pod !== undefined ? `${pod.namespace}/${pod.name}` : (service ?? (node === undefined ? undefined : `node/${node}`));
  const host = name ?? (port !== undefined && ip.includes(':') ? `[${ip}]` : ip);
  const address = port === undefined ? host : `${host}:${port}`;
  return pod?.gone === undefined ? address : `${address} (gone)`;
}

/** The name of a record's event, e.g. `ktrace.flow`; a packet is exported for its drop. */
export function eventName(event: Exported): string {
  return event.kind === 'packet' ? 'ktrace.drop' : `ktrace.${event.kind}`;
}
