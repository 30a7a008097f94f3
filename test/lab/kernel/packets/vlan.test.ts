import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { before } from '../../../support/evidence.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { ethernet, ipv4, ipv6, udp } from '../../support/packets.ts';
import { TracedNode, way } from '../../support/traced-node.ts';

const CLIENT = '10.9.1.2';
const CLIENT6 = 'fd00:9:1::2';
/** Sends the frame given in hex through an interface as it is. */
const SEND = `
  use strict; use Socket;
  socket(my $socket, 17, SOCK_RAW, 0) or die "socket: $!";
  my $request = pack("a16x24", $ARGV[1]);
  ioctl($socket, 0x8933, $request) or die "SIOCGIFINDEX: $!"; my $ifindex = unpack("x16i", $request);
  defined send($socket, pack("H*", $ARGV[0]), 0, pack("SniSCCa8", 17, 0, $ifindex, 0, 0, 6, "\\xff" x 6)) or die "send: $!";
`;

suite('the tag of a frame', { skip: SKIP }, () => {
  let net: Net;
  before(() => {
    net = twoNodes();
  });
  after(() => net.close());

  test('is told with the packet, and a frame without one has none', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT, CLIENT6] });
    const send = (tag: number | undefined, type: number, l3: Buffer) => {
      const inner = tag === undefined ? l3 : Buffer.concat([Buffer.from([tag >> 8, tag & 255, type >> 8, type & 255]), l3]);
      const frame = ethernet(tag === undefined ? type : 0x8100, inner);
      net.exec('a', 'perl', '-e', SEND, frame.toString('hex'), 'eth0');
    };
    const datagram = (port: number) => udp({ sport: 1000, dport: port }, Buffer.from('x'));
    const out4 = (port: number) => ipv4({ src: CLIENT, dst: '10.9.2.2', proto: 17 }, datagram(port));
    const out6 = (port: number) => ipv6({ src: CLIENT6, dst: 'fd00:9:2::2', next: 17 }, datagram(port));
    // Priority 5 is no part of the id; an id of 0 says that there is a priority alone.
    send(0xa064, 0x0800, out4(2001));
    send(0xa064, 0x86dd, out6(2002));
    send(0xa000, 0x0800, out4(2003));
    send(undefined, 0x0800, out4(2004));
    for (const [port, vlan] of [
      [2001, { id: 100 }],
      [2002, { id: 100 }],
      [2003, { id: 0 }],
      [2004, undefined],
    ] as const) {
      const packet = await node.packet(`to ${port}`, ({ dst }) => dst.port === port);
      assert.deepEqual([packet.vlan, way(packet).split(',')[0]], [vlan, 'veth-a in']);
    }
    await node.close();
  });

  test('is told when the kernel has left it in the frame: the second of two on the way in, any on the way out', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT, CLIENT6] });
    const tag = (id: number, type: number, rest: Buffer) =>
      Buffer.concat([Buffer.from([id >> 8, id & 255, type >> 8, type & 255]), rest]);
    const send = (from: string, through: string, frame: Buffer) =>
      net.exec(from, 'perl', '-e', SEND, frame.toString('hex'), through);
    const datagram = (port: number) => udp({ sport: 1000, dport: port }, Buffer.from(`${port}`));
    const out4 = (port: number) => ipv4({ src: CLIENT, dst: '10.9.2.2', proto: 17 }, datagram(port));
    const out6 = (port: number) => ipv6({ src: CLIENT6, dst: 'fd00:9:2::2', next: 17 }, datagram(port));
    const in4 = (port: number) => ipv4({ src: '10.9.2.2', dst: CLIENT, proto: 17 }, datagram(port));
    const others = ipv4({ src: '10.9.2.2', dst: '10.9.9.9', proto: 17 }, datagram(2110));
    send('node1', 'veth-a', ethernet(0x8100, tag(104, 0x0800, others)));
    send('a', 'eth0', ethernet(0x88a8, tag(100, 0x0800, out4(2101))));
    send('a', 'eth0', ethernet(0x88a8, tag(100, 0x8100, tag(200, 0x0800, out4(2102)))));
    send('a', 'eth0', ethernet(0x8100, tag(101, 0x8100, tag(200, 0x86dd, out6(2103)))));
    send('node1', 'veth-a', ethernet(0x8100, tag(102, 0x0800, in4(2104))));
    send('node1', 'veth-a', ethernet(0x88a8, tag(103, 0x8100, tag(200, 0x0800, in4(2105)))));
    for (const [port, id, first] of [
      [2101, 100, 'veth-a in'],
      [2102, 100, 'veth-a in'],
      [2103, 101, 'veth-a in'],
      [2104, 102, 'veth-a out'],
      [2105, 103, 'veth-a out'],
    ] as const) {
      const packet = await node.packet(`to ${port}`, ({ dst }) => dst.port === port);
      assert.deepEqual([packet.vlan, way(packet).split(',')[0]], [{ id }, first]);
    }
    await node.close();
    assert.ok(!node.packets().some(({ dst }) => dst.port === 2110), 'what is nobody’s stays untold behind its tag');
  });
});
