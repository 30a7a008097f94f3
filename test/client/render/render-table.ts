import type { Endpoint, KtraceEvent, PodRef, Translation } from '../../../src/event/types.ts';
import { flow, hop, packet, pod } from '../events.ts';

const frontend = pod('frontend-88237173-jdfgg', '10.244.1.2', 'host1', 41512, { app: 'guestbook' });
const master = pod('redis-master-343230949-2qrp7', '10.244.3.2', 'host3', 6379);
const service: Endpoint = { ip: '10.96.0.10', port: 6379, service: { namespace: 'default', name: 'redis-master', port: '' } };
const dns: Endpoint = { ip: '10.96.0.10', port: 53, service: { namespace: 'kube-system', name: 'kube-dns', port: 'dns' } };
const coredns: Endpoint = {
  ...{ ip: '10.244.1.9', port: 53 },
  pod: { namespace: 'kube-system', name: 'coredns-5d78c9869d-7xk2p', uid: 'u7', labels: {}, node: 'host1' },
};
const web: Endpoint = { ip: '10.96.0.20', port: 80, service: { namespace: 'default', name: 'web', port: '' } };
const bare = ({ port: _, ...endpoint }: Endpoint): Endpoint => endpoint;
const dnat: Translation = {
  kind: 'dnat',
  before: service,
  after: master,
  service: 'default/redis-master',
  chains: ['KUBE-SVC-GGJXVPNFZDFEEY5C', 'KUBE-SEP-ABCDEFGHIJKLMNOP'],
  seenBy: 'conntrack',
};
const vxlan = { kind: 'vxlan', vni: 1, src: '172.18.0.1', dst: '172.18.0.3' } as const;
const across = [
  hop('host1', 'veth1a2b', 'in', 0),
  hop('host1', 'cni0', 'in', 9100),
  hop('host1', 'flannel.1', 'out', 30_200, vxlan),
  hop('host3', 'flannel.1', 'in', 120_000, vxlan),
  hop('host3', 'cni0', 'out', 125_000),
  hop('host3', 'veth9', 'out', 131_000),
];
const back = [
  hop('host3', 'veth9', 'in', 0),
  hop('host3', 'flannel.1', 'out', 22_000),
  hop('host1', 'flannel.1', 'in', 90_000),
  hop('host1', 'veth1a2b', 'out', 99_000),
];
const echo = { type: 8, code: 0, name: 'echo-request', id: 7, seq: 1 };
const time = '2026-11-22T08:45:00.123456789Z';
const NOISY = { namespace: 'default', name: 'noisy', uid: 'u9' };

/** Every kind of event once: text, wide and JSON are checked against the same. */
export const RENDER_TABLE: [string, KtraceEvent][] = [
  [
    'a SYN to a Service, translated, across two nodes',
    packet({
      id: '1',
      time,
      src: frontend,
      dst: service,
      nat: [dnat],
      hops: across,
      tcp: { flags: 'S', seq: 1, ack: 0 },
      verdict: 'delivered',
    }),
  ],
  [
    'its reply, translated back',
    packet({
      id: '2',
      time,
      dir: 'reply',
      src: master,
      dst: frontend,
      nat: [{ ...dnat, before: master, after: service }],
      hops: back,
      tcp: { flags: 'SA', seq: 1, ack: 2 },
      verdict: 'delivered',
    }),
  ],
  [
    'a masqueraded request to the world',
    packet({
      id: '3',
      time,
      proto: 'udp',
      len: 61,
      src: frontend,
      dst: { ip: '192.0.2.53', port: 53, world: true },
      nat: [{ kind: 'snat', before: frontend, after: { ip: '172.18.0.1', port: 33211, node: 'host1' }, seenBy: 'conntrack' }],
      hops: [hop('host1', 'veth1a2b', 'in', 0), hop('host1', 'eth0', 'out', 15_000)],
    }),
  ],
  [
    'the reply to it',
    packet({
      id: '4',
      time,
      proto: 'udp',
      len: 77,
      dir: 'reply',
      src: { ip: '192.0.2.53', port: 53, world: true },
      dst: { ip: '172.18.0.1', port: 33211, node: 'host1' },
      nat: [{ kind: 'snat', before: { ip: '172.18.0.1', port: 33211, node: 'host1' }, after: frontend, seenBy: 'conntrack' }],
      hops: [hop('host1', 'eth0', 'in', 0), hop('host1', 'veth1a2b', 'out', 15_000)],
      verdict: 'delivered',
    }),
  ],
  [
    'a ping',
    packet({
      id: '5',
      time,
      proto: 'icmp',
      len: 84,
      src: bare(frontend),
      dst: bare(master),
      icmp: echo,
      hops: across,
      verdict: 'delivered',
    }),
  ],
  [
    'its answer, with the round trip',
    packet({
      id: '6',
      time,
      proto: 'icmp',
      len: 84,
      dir: 'reply',
      src: bare(master),
      dst: bare(frontend),
      icmp: { ...echo, type: 0, name: 'echo-reply', rttUs: 433 },
      hops: back,
      verdict: 'answered',
    }),
  ],
  [
    'a ping to a ClusterIP that nobody answers',
    packet({
      id: '7',
      time,
      amends: true,
      proto: 'icmp',
      len: 84,
      src: bare(frontend),
      dst: bare(service),
      icmp: echo,
      unanswered: { ms: 1000 },
      hops: [hop('host1', 'veth1a2b', 'in', 0), hop('host1', 'eth0', 'out', 11_000)],
    }),
  ],
  [
    'a SYN that nobody answers, sent again once',
    packet({
      id: '7s',
      time,
      amends: true,
      src: frontend,
      dst: { ip: '192.0.2.80', port: 443, world: true },
      tcp: { flags: 'S', seq: 1, ack: 0 },
      unanswered: { ms: 1000, retransmissions: 1 },
      hops: [hop('host1', 'veth1a2b', 'in', 0), hop('host1', 'eth0', 'out', 11_000)],
    }),
  ],
  [
    'a DNS query that nobody answers, though it arrived',
    packet({
      id: '7q',
      time,
      amends: true,
      proto: 'udp',
      len: 61,
      src: frontend,
      dst: service,
      nat: [dnat],
      unanswered: { ms: 5000 },
      hops: across,
      verdict: 'delivered',
    }),
  ],
  [
    'a SYN to a pod that is gone for ten seconds',
    packet({
      id: '7g',
      time,
      src: frontend,
      dst: { ...master, pod: { ...master.pod, gone: '2026-11-22T08:44:50.123Z' } as PodRef },
      tcp: { flags: 'S', seq: 1, ack: 0 },
      hops: [hop('host1', 'veth1a2b', 'in', 0), hop('host1', 'flannel.1', 'out', 11_000)],
    }),
  ],
  [
    'a tagged frame',
    packet({
      ...{ id: '7v', time, proto: 'udp', len: 61, vlan: { id: 100 }, src: frontend, dst: master },
      hops: [hop('host1', 'veth1a2b', 'in', 0)],
      verdict: 'unknown',
    }),
  ],
  [
    'an ICMP error with the flow it is about',
    packet({
      id: '8',
      time,
      proto: 'icmp',
      len: 88,
      src: { ip: '10.244.3.1', node: 'host3' },
      dst: bare(frontend),
      icmp: { type: 3, code: 4, name: 'fragmentation-needed', mtu: 1450, about: { proto: 'tcp', src: frontend, dst: master } },
      hops: back,
      verdict: 'delivered',
    }),
  ],
  [
    'a drop with its reason',
    packet({
      id: '9',
      time,
      src: frontend,
      dst: master,
      tcp: { flags: 'S', seq: 1, ack: 0 },
      hops: [hop('host1', 'veth1a2b', 'in', 0)],
      drop: { reason: 'NETFILTER_DROP', at: 'nf_hook_slow', if: 'veth1a2b' },
      verdict: 'dropped',
    }),
  ],
  [
    'one to a port nobody listens on',
    packet({
      ...{ id: '9n', time, src: frontend, dst: { ...master, port: 6390 }, hops: across, verdict: 'dropped' },
      tcp: { flags: 'S', seq: 1, ack: 0 },
      drop: { reason: 'NO_SOCKET', at: 'tcp_v4_rcv' },
    }),
  ],
  [
    'the reset that says so',
    packet({
      ...{ id: '9r', time, dir: 'reply', src: { ...master, port: 6390 }, dst: frontend, hops: back, verdict: 'delivered' },
      tcp: { flags: 'RA', seq: 0, ack: 2 },
    }),
  ],
  [
    'a lookup through a Service of another namespace, on one node',
    packet({
      ...{ id: '9d', time, proto: 'udp', len: 84, src: frontend, dst: dns, verdict: 'delivered' },
      nat: [{ kind: 'dnat', before: dns, after: coredns, service: 'kube-system/kube-dns:dns', seenBy: 'conntrack' }],
      hops: [hop('host1', 'veth1a2b', 'in', 0), hop('host1', 'veth5', 'out', 15_000)],
    }),
  ],
  [
    'a connection to a Service, whose endpoint has another port and whose client is masqueraded',
    packet({
      ...{ id: '9m', time, src: frontend, dst: web, tcp: { flags: 'S', seq: 1, ack: 0 }, hops: across, verdict: 'delivered' },
      nat: [
        {
          kind: 'dnat',
          before: web,
          after: { ...master, port: 8080 },
          service: 'default/web',
          seenBy: 'kprobe',
          hook: 'prerouting',
        },
        { kind: 'snat', before: frontend, after: { ip: '10.244.1.0', port: 41512, node: 'host1' }, seenBy: 'kprobe' },
      ],
    }),
  ],
  [
    'its reply',
    packet({
      ...{ id: '9w', time, dir: 'reply', src: { ...master, port: 8080 }, dst: frontend, hops: back, verdict: 'delivered' },
      tcp: { flags: 'SA', seq: 1, ack: 2 },
      nat: [
        { kind: 'snat', before: { ip: '10.244.1.0', port: 41512, node: 'host1' }, after: frontend, seenBy: 'kprobe' },
        { kind: 'dnat', before: { ...master, port: 8080 }, after: web, service: 'default/web', seenBy: 'kprobe' },
      ],
    }),
  ],
  [
    'a segment that was first seen behind its translation and masqueraded',
    packet({
      ...{ id: '9t', time, src: { ip: '10.244.1.0', port: 41512, node: 'host1' }, dst: { ...master, port: 8080 }, hops: across },
      ...{ tcp: { flags: 'A', seq: 2, ack: 2 }, verdict: 'delivered' as const },
      nat: [
        { kind: 'dnat', before: web, after: { ...master, port: 8080 }, service: 'default/web', seenBy: 'conntrack' },
        { kind: 'snat', before: frontend, after: { ip: '10.244.1.0', port: 41512, node: 'host1' }, seenBy: 'conntrack' },
      ],
    }),
  ],
  [
    'IPv6, merged segments, a fragment, told again',
    packet({
      id: '10',
      time,
      amends: true,
      proto: 'udp',
      len: 1480,
      segments: 3,
      fragment: { id: 77, offset: 1448, more: true },
      src: pod('web-0', 'fd00:10:244:1::2', 'host1', 5000),
      dst: { ip: '2001:db8::1', port: 443, world: true },
      hops: [hop('host1', 'veth1a2b', 'in', 0)],
      verdict: 'unknown',
    }),
  ],
  ['a conversation that begins', flow({ id: '11', node: 'host1', state: 'open', src: frontend, dst: service, nat: [dnat] })],
  ['a conversation that ended', flow({ id: '11', node: 'host1', state: 'close', src: frontend, dst: service, nat: [dnat] })],
  ['a conversation that was not counted', flow({ id: '12', node: 'host1', src: frontend, dst: service, counted: false })],
  [
    'events of a pod over its rate',
    { v: 1, kind: 'lost', node: 'host1', stage: 'pod-rate', pod: NOISY, count: 36_172, from: time, to: time },
  ],
  ['lost events', { v: 1, kind: 'lost', node: 'host1', stage: 'kernel-ring', count: 128, from: time, to: time }],
  [
    'a notice',
    { v: 1, kind: 'notice', node: 'host1', level: 'warn', code: 'KTRACE_N_AGENT_LEFT', text: 'this node has no agent any more' },
  ],
  [
    'a notice of interfaces',
    {
      ...{ v: 1, kind: 'notice', node: 'host1', level: 'warn', code: 'KTRACE_N_INTERFACES_INCOMPLETE' },
      text: "not all interfaces of this node are seen: 1 pod's interface: no memory; trying again",
      interfaces: ['veth\u001b7'],
    },
  ],
  [
    'what is followed',
    {
      v: 1,
      kind: 'notice',
      level: 'info',
      code: 'KTRACE_N_FOLLOWING',
      text: 'following 1 pod on 1 of 2 nodes: host1; not reached: host2',
      following: {
        podCount: 1,
        addressCount: 1,
        pods: [{ namespace: 'default', name: 'client', uid: '0a3c' }],
        nodes: ['host1'],
        missing: ['host2'],
      },
    },
  ],
];
