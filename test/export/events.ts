import type { FlowEvent, PacketEvent } from '../../src/event/types.ts';

const WEB = { namespace: 'shop', name: 'web-0', uid: 'u-web', owner: 'Deployment/web', node: 'host1' };
const REDIS = { namespace: 'shop', name: 'redis-0', uid: 'u-redis', owner: 'StatefulSet/redis', node: 'host3' };
const SERVICE = { namespace: 'shop', name: 'redis', port: 'redis' };
const CHAINS = ['KUBE-SVC-A', 'KUBE-SEP-B'];

/** A flow of `web-0` through the Service `redis` to `redis-0`. */
export function serviceFlow(changes: Partial<FlowEvent> = {}): FlowEvent {
  return {
    v: 1,
    kind: 'flow',
    id: 'i-f1',
    state: 'close',
    node: 'host1',
    proto: 'tcp',
    src: { ip: '10.244.1.2', port: 41512, pod: WEB },
    dst: { ip: '10.96.0.63', port: 6379, service: SERVICE },
    nat: [
      {
        kind: 'dnat',
        before: { ip: '10.96.0.63', port: 6379, service: SERVICE },
        after: { ip: '10.244.3.2', port: 6380, pod: REDIS },
        service: 'shop/redis:redis',
        chains: CHAINS,
        seenBy: 'conntrack',
      },
    ],
    packets: { request: 6, reply: 5 },
    bytes: { request: 400, reply: 300 },
    startTime: '2026-11-22T08:45:00.000000001Z',
    endTime: '2026-11-22T08:45:01.250000000Z',
    ...changes,
  };
}

/** A reply of `redis-0` to a masqueraded request of `web-0`, dropped on its way. */
export function droppedReply(changes: Partial<PacketEvent> = {}): PacketEvent {
  return {
    v: 1,
    kind: 'packet',
    id: 'i-7',
    time: '2026-11-22T08:45:02.000000003Z',
    nodes: ['host1'],
    proto: 'tcp',
    len: 60,
    dir: 'reply',
    src: { ip: '10.244.3.2', port: 6380, pod: REDIS },
    dst: { ip: '192.168.60.11', port: 1025, node: 'host1' },
    tcp: { flags: 'SA', seq: 1, ack: 2 },
    nat: [
      {
        kind: 'dnat',
        before: { ip: '10.244.3.2', port: 6380, pod: REDIS },
        after: { ip: '10.96.0.63', port: 6379, service: SERVICE },
        service: 'shop/redis:redis',
        chains: CHAINS,
        seenBy: 'conntrack',
      },
      {
        kind: 'snat',
        before: { ip: '192.168.60.11', port: 1025, node: 'host1' },
        after: { ip: '10.244.1.2', port: 41512, pod: WEB },
        seenBy: 'conntrack',
      },
    ],
    hops: [
      { node: 'host1', if: 'eth0', dir: 'in', atNs: 0 },
      { node: 'host1', if: 'cni0', dir: 'out', atNs: 900 },
    ],
    drop: { reason: 'NETFILTER_DROP', at: 'nf_hook_slow', if: 'cni0' },
    verdict: 'dropped',
    fingerprint: 'f',
    ...changes,
  };
}
