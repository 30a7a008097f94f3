import assert from 'node:assert/strict';
import type { PacketEvent } from '../../../../src/event/types.ts';
import { isAccounted } from '../../support/kernel.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import type { TracedNode } from '../../support/traced-node.ts';

export const CLIENT = '10.9.1.2';
export const CLIENT6 = 'fd00:9:1::2';
export const LOCAL = '10.9.1.3';
export const LOCAL6 = 'fd00:9:1::3';
export const REMOTE = '10.9.2.2';
export const REMOTE6 = 'fd00:9:2::2';

/** `PROTO TARGET TARGET_PORT`: sends so many bytes as it is told, from one port; over TCP once it is connected. */
const SENDER = `
  const [proto, ip, port] = process.argv.slice(1);
  const bytes = (count) => Buffer.alloc(count, 'x');
  if (proto === 'tcp') {
    const socket = require('node:net').connect(Number(port), ip, () => process.send(socket.localPort));
    socket.setNoDelay(true);
    socket.on('error', () => {});
    process.on('message', (count) => socket.write(bytes(count), () => process.send(0)));
  } else {
    const socket = require('node:dgram').createSocket(ip.includes(':') ? 'udp6' : 'udp4');
    socket.on('error', () => {});
    socket.bind(0, () => process.send(socket.address().port));
    process.on('message', (count) => socket.send(bytes(count), Number(port), ip, () => process.send(0)));
  }
`;

export interface Sender {
  port: number;
  send(bytes?: number): Promise<void>;
}

/** Two nodes and their pods with IPv6 as well, of which b and c take in what comes to 8080 and 5353. */
export async function servedNodes(): Promise<Net> {
  const net = twoNodes();
  addIpv6(net);
  await Promise.all([net.serve('b'), net.serve('c'), sink(net, 'b'), sink(net, 'c')]);
  // A packet that waits for its neighbour's address may go on on another CPU, which does not remember where it came in.
  for (const ip of [CLIENT, CLIENT6, LOCAL, LOCAL6]) assert.ok(net.try('node1', `ping -n -c1 ${ip}`), ip);
  for (const ip of [REMOTE, REMOTE6]) assert.ok(net.try('a', `ping -n -c1 ${ip}`), ip);
  return net;
}

/** As kube-proxy translates on node1: `how` is iptables' flag for a rule. */
export function dnat(net: Net, how: '-A' | '-I' | '-D', ip: string, proto: string, port: number, to: string): void {
  const rule = ['-d', ip, '-p', proto, '--dport', String(port), '-j', 'DNAT', '--to-destination', to];
  net.exec('node1', ip.includes(':') ? 'ip6tables' : 'iptables', '-t', 'nat', how, 'PREROUTING', ...rule);
}

export const at = (ip: string, port: number) => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);

export const natOf = ({ nat }: PacketEvent) =>
  nat?.map(({ kind, before, after }) => [kind, before.ip, before.port, after.ip, after.port]);

/** Its end as it should be, with every packet accounted for. */
export async function close(node: TracedNode): Promise<void> {
  const { stats } = await node.close();
  assert.ok(isAccounted(stats), JSON.stringify(stats));
}

/** Takes in what comes to 5353 over IPv6. */
async function sink(net: Net, pod: string): Promise<void> {
  const script = `const options = { type: 'udp6', ipv6Only: true };
      require('node:dgram').createSocket(options).bind(5353, () => process.send('ready'));`;
  const child = net.spawn(pod, [process.execPath, '-e', script]);
  await new Promise((resolve) => child.once('message', resolve));
}

/** Gives the nodes and their pods IPv6 addresses, and ways between them. */
export function addIpv6(net: Net): void {
  for (const [node, uplink, other] of [
    ['node1', 'fd00:77::1', 'fd00:77::2'],
    ['node2', 'fd00:77::2', 'fd00:77::1'],
  ] as const) {
    net.exec(node, 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1');
    net.ip(node, `addr add ${uplink}/64 dev eth0 nodad; -6 route add default via ${other}`);
  }
  for (const [node, pod, address, gateway] of [
    ['node1', 'a', CLIENT6, 'fd00:9:1::fe'],
    ['node1', 'b', LOCAL6, 'fd00:9:1::fd'],
    ['node2', 'c', REMOTE6, 'fd00:9:2::fe'],
  ] as const) {
    net.ip(node, `addr add ${gateway}/128 dev veth-${pod} nodad; -6 route add ${address}/128 dev veth-${pod}`);
    net.ip(
      pod,
      `addr add ${address}/128 dev eth0 nodad; -6 route add ${gateway}/128 dev eth0; -6 route add default via ${gateway}`,
    );
  }
}

export function src(packet: PacketEvent, port: number): boolean {
  return packet.src.port === port;
}

export async function startSender(net: Net, from: string, proto: string, ip: string, port: number): Promise<Sender> {
  const child = net.spawn(from, [process.execPath, '-e', SENDER, proto, ip, String(port)]);
  const answer = () => new Promise<number>((resolve) => child.once('message', (value: number) => resolve(value)));
  return {
    port: await answer(),
    async send(bytes = 64) {
      const done = answer();
      child.send(bytes);
      await done;
    },
  };
}
