import type { FlowEvent } from '../../../../src/event/types.ts';
import { bridgedNodes, type Net } from '../../support/net.ts';
import { type NodeOptions, TracedNode } from '../../support/traced-node.ts';

export const [CLIENT, SERVER, SERVICE] = ['10.244.1.2', '10.244.2.2', '10.96.0.10'];
/** A packet's way over four interfaces of the client's node, and its answer's. */
export const OUT = 'veth-a in, cni0 in, flannel.1 out, eth0 out';
export const BACK = 'eth0 in, flannel.1 in, cni0 out, veth-a out';

/** Nodes as flannel joins them, with a server in c that the Service leads to. */
export async function serviceNodes(): Promise<Net> {
  const net = bridgedNodes();
  try {
    const rule = (...args: string[]) => net.exec('node1', 'iptables', '-t', 'nat', '-A', 'PREROUTING', '-d', SERVICE, ...args);
    rule('-p', 'udp', '--dport', '53', '-j', 'DNAT', '--to', `${SERVER}:5353`);
    await net.serve('c');
    return net;
  } catch (error) {
    net.close();
    throw error;
  }
}

/** What a node tells of the client in pod a. */
export function followingClient(net: Net, node: string, more: Partial<NodeOptions> = {}): Promise<TracedNode> {
  return TracedNode.following(net, {
    node,
    addresses: [CLIENT],
    ringBytes: 16 << 20,
    serviceAddresses: [{ ip: SERVICE, port: 53, proto: 'udp' }],
    ...more,
  });
}

/** A command that sends so many from one port. */
export const datagrams = (from: string, to: string, port: number, n: number) => [
  ...['perl', '-MSocket', '-e'],
  `socket(my $s, AF_INET, SOCK_DGRAM, 0); bind($s, sockaddr_in(40055, inet_aton('${from}'))) or die $!;
  for (1 .. ${n}) { send($s, 'x' x $_, 0, sockaddr_in(${port}, inet_aton('${to}'))) or die $!; }`,
];

export const isFlow = (event: { kind: string }): event is FlowEvent => event.kind === 'flow';

export const closed = (node: TracedNode) => node.events.filter(isFlow).filter(({ state }) => state === 'close');
