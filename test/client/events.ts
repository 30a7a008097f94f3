import type { Endpoint, FlowEvent, Hop, PacketEvent } from '../../src/event/types.ts';

/** Unix milliseconds that the tests' times are counted from. */
export const EPOCH_MS = Date.UTC(2026, 10, 22, 8, 45, 0);

export function pod(name: string, ip: string, node: string, port?: number, labels?: Record<string, string>): Endpoint {
  return {
    ip,
    ...(port === undefined ? {} : { port }),
    pod: { namespace: 'default', name, uid: `uid-${name}`, node, ...(labels === undefined ? {} : { labels }) },
  };
}

export function hop(node: string, name: string, dir: 'in' | 'out', atNs: number, tunnel?: Hop['tunnel']): Hop {
  return { node, if: name, dir, atNs, ...(tunnel === undefined ? {} : { tunnel }) };
}

export function packet(fields: Partial<PacketEvent> & Pick<PacketEvent, 'id' | 'src' | 'dst' | 'hops'>): PacketEvent {
  return {
    v: 1,
    kind: 'packet',
    time: '2026-11-22T08:45:00.000000000Z',
    nodes: [...new Set(fields.hops.map(({ node }) => node))],
    proto: 'tcp',
    len: 60,
    dir: 'request',
    verdict: 'forwarded',
    fingerprint: 'f1',
    ...fields,
  };
}

export function flow(fields: Partial<FlowEvent> & Pick<FlowEvent, 'id' | 'node' | 'src' | 'dst'>): FlowEvent {
  return {
    v: 1,
    kind: 'flow',
    state: 'update',
    proto: 'tcp',
    packets: { request: 10, reply: 9 },
    bytes: { request: 1200, reply: 34_000 },
    startTime: '2026-11-22T08:45:00.000000000Z',
    endTime: '2026-11-22T08:45:10.200000000Z',
    ...fields,
  };
}
