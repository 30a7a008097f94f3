import type { Endpoint, Hop, PacketEvent } from '../../event/types.ts';

/** What one node tells of a packet. Times are nanoseconds on the follow's timeline, clocks' offsets taken out. */
export interface Part {
  node: string;
  event: PacketEvent;
  firstNs: number;
  lastNs: number;
  /** What was taken from the node's own clock to come onto the timeline. */
  offsetNs: number;
  /** What the clock's offset may still be wrong by. */
  uncertaintyNs: number;
  /** How the packet came to this node, and how it left: equal on both ends of a wire. */
  entryKey: string;
  exitKey: string;
  /** May another node's part come before, or after? */
  hasEntry: boolean;
  hasExit: boolean;
}

/** Reads a node's record as a part; `timeNs` is on the follow's timeline. */
export function partOf(event: PacketEvent, node: string, timeNs: number, offsetNs: number, uncertaintyNs: number): Part {
  const first = event.hops[0];
  const last = event.hops.at(-1);
  const exit = exitTuple(event);
  return {
    node,
    event,
    firstNs: timeNs + (first?.atNs ?? 0),
    lastNs: timeNs + (last?.atNs ?? 0),
    offsetNs,
    uncertaintyNs,
    entryKey: wireKey(event, event.src, event.dst),
    exitKey: wireKey(event, exit.src, exit.dst),
    hasEntry: first?.dir === 'in' && (first.tunnel !== undefined || event.src.pod?.node !== node),
    hasExit: last?.dir === 'out' && (event.verdict === 'forwarded' || event.verdict === 'unknown'),
  };
}

/** Source and destination as the packet leaves the node: its own, after everything this node translated. */
export function exitTuple(event: Pick<PacketEvent, 'src' | 'dst' | 'dir' | 'nat'>): { src: Endpoint; dst: Endpoint } {
  let { src, dst } = event;
  for (const { kind, after } of event.nat ?? []) {
    // A reply's source is what the request's destination was rewritten to, on its way back.
    if ((kind === 'dnat') === (event.dir === 'request')) dst = after;
    else src = after;
  }
  return { src, dst };
}

/** A hop's other end of the tunnel: where the packet went, or came from. */
export function tunnelPeer(hop: Hop): string | undefined {
  return hop.dir === 'out' ? hop.tunnel?.dst : hop.tunnel?.src;
}

function wireKey(event: PacketEvent, src: Endpoint, dst: Endpoint): string {
  return `${event.fingerprint} ${event.proto} ${src.ip} ${src.port ?? ''} ${dst.ip} ${dst.port ?? ''}`;
}
