import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { PacketEvent } from '../../../../src/event/types.ts';
import { before } from '../../../support/evidence.ts';
import { isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { TracedNode, way } from '../../support/traced-node.ts';

const SERVICE = '10.96.0.10';
const SERVICE6 = 'fd00:96::10';
const CLIENT = '10.9.1.2';
const CLIENT6 = 'fd00:9:1::2';
const LOCAL = '10.9.1.3';
const LOCAL6 = 'fd00:9:1::3';
const REMOTE = '10.9.2.2';
const REMOTE6 = 'fd00:9:2::2';
const UPLINK = '192.168.77.1';
const UPLINK6 = 'fd00:77::1';

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

interface Sender {
  port: number;
  send(bytes?: number): Promise<void>;
}

suite('a packet that is not emitted where it comes in', { skip: SKIP }, () => {
  let net: Net;
  before(async () => {
    net = twoNodes();
    addIpv6(net);
    dnat('-A', SERVICE, 'tcp', 80, at(REMOTE, 8080));
    dnat('-A', SERVICE, 'udp', 53, at(REMOTE, 5353));
    dnat('-A', SERVICE6, 'tcp', 80, at(REMOTE6, 8080));
    dnat('-A', SERVICE6, 'udp', 53, at(REMOTE6, 5353));
    // The host's ports of a pod.
    dnat('-A', UPLINK, 'tcp', 8090, at(LOCAL, 8080));
    dnat('-A', UPLINK, 'udp', 8053, at(LOCAL, 5353));
    dnat('-A', UPLINK6, 'tcp', 8090, at(LOCAL6, 8080));
    dnat('-A', UPLINK6, 'udp', 8053, at(LOCAL6, 5353));
    await Promise.all([net.serve('b'), net.serve('c'), sink('b'), sink('c')]);
    // A packet that waits for its neighbour's address may go on on another CPU, which does not remember where it came in.
    for (const ip of [CLIENT, CLIENT6, LOCAL, LOCAL6]) assert.ok(net.try('node1', `ping -n -c1 ${ip}`), ip);
    for (const ip of [REMOTE, REMOTE6]) assert.ok(net.try('a', `ping -n -c1 ${ip}`), ip);
  });
  after(() => net.close());

  const at = (ip: string, port: number) => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);
  const dnat = (how: '-A' | '-I' | '-D', ip: string, proto: string, port: number, to: string) => {
    const rule = ['-d', ip, '-p', proto, '--dport', String(port), '-j', 'DNAT', '--to-destination', to];
    net.exec('node1', ip.includes(':') ? 'ip6tables' : 'iptables', '-t', 'nat', how, 'PREROUTING', ...rule);
  };

  /** Takes in what comes to 5353 over IPv6. */
  const sink = async (pod: string) => {
    const script = `const options = { type: 'udp6', ipv6Only: true };
      require('node:dgram').createSocket(options).bind(5353, () => process.send('ready'));`;
    const child = net.spawn(pod, [process.execPath, '-e', script]);
    await new Promise((resolve) => child.once('message', resolve));
  };

  const sender = (from: string, proto: string, ip: string, port: number) => startSender(net, from, proto, ip, port);
  const natOf = ({ nat }: PacketEvent) =>
    nat?.map(({ kind, before, after }) => [kind, before.ip, before.port, after.ip, after.port]);
  const follow = (addresses: string[], more = {}) => TracedNode.following(net, { node: 'node1', addresses, ...more });
  const close = async (node: TracedNode) => {
    const { stats } = await node.close();
    assert.ok(isAccounted(stats), JSON.stringify(stats));
  };

  for (const [proto, service, port, remote, to] of [
    ['udp', SERVICE, 53, REMOTE, 5353],
    ['tcp', SERVICE, 80, REMOTE, 8080],
    ['udp', SERVICE6, 53, REMOTE6, 5353],
    ['tcp', SERVICE6, 80, REMOTE6, 8080],
  ] as const) {
    test(`is told from its pod’s interface on when its connection is translated anew: ${proto} to ${service}`, async () => {
      const node = await follow([CLIENT, CLIENT6]);
      const { port: sport, send } = await sender('a', proto, service, port);
      await send();
      const isIt = ({ src, len, dir }: PacketEvent) => src.port === sport && dir === 'request' && len > 150;
      if (proto === 'udp') await node.packet('the first one', (packet) => src(packet, sport) && packet.nat !== undefined);
      // The endpoint has gone, and kube-proxy takes its entries with it.
      dnat('-I', service, proto, port, at(remote, to + 1));
      const family = service.includes(':') ? 'ipv6' : 'ipv4';
      net.exec('node1', 'conntrack', '-D', '-f', family, '-p', proto, '--orig-port-src', String(sport));
      await send(200);
      await node.packet('the next one', isIt, (packet) => {
        assert.deepEqual([way(packet), packet.dst.ip, packet.dst.port], ['veth-a in, eth0 out', service, port]);
        assert.deepEqual(natOf(packet), [['dnat', service, port, remote, to + 1]]);
        assert.equal(packet.verdict, 'forwarded');
      });
      await close(node);
      dnat('-D', service, proto, port, at(remote, to + 1));
      assert.deepEqual(
        node.packets().filter((packet) => isIt(packet) && packet.dst.ip !== service),
        [],
      );
    });
  }

  for (const [proto, service, port, remote] of [
    ['tcp', SERVICE, 80, REMOTE],
    ['tcp', SERVICE6, 80, REMOTE6],
    ['udp', SERVICE6, 53, REMOTE6],
  ] as const) {
    test(`is told as it came in when it is too big to go on: ${proto} to ${service}`, async () => {
      const node = await follow([CLIENT, CLIENT6]);
      const { port: sport, send } = await sender('a', proto, service, port);
      await send();
      await node.packet('the first one', (packet) => src(packet, sport) && packet.nat !== undefined);
      net.ip('node1', 'link set eth0 mtu 1300');
      // What an earlier error has told of this way.
      net.ip('a', 'route flush cache; -6 route flush cache');
      try {
        await send(proto === 'tcp' ? 3000 : 1400);
        const isDrop = (packet: PacketEvent) => src(packet, sport) && packet.verdict === 'dropped';
        await node.packet('the one that is refused', isDrop, (packet) => {
          assert.deepEqual([way(packet), packet.dst.ip, packet.dst.port], ['veth-a in', service, port]);
          assert.equal(packet.drop?.reason, 'PKT_TOO_BIG');
          if (proto === 'tcp') assert.equal(packet.segments, 3);
          assert.equal(natOf(packet)?.[0]?.[3], remote);
        });
        const isError = ({ icmp }: PacketEvent) => icmp?.about?.src.port === sport;
        await node.packet('the error', isError, ({ icmp }) => {
          assert.deepEqual([icmp?.about?.dst.ip, icmp?.about?.dst.port], [service, port]);
          assert.match(icmp?.name ?? '', /fragmentation-needed|packet-too-big|need/);
        });
      } finally {
        net.ip('node1', 'link set eth0 mtu 1500');
      }
      await close(node);
    });
  }

  for (const [to, port] of [
    [SERVICE, 53],
    [REMOTE, 5353],
  ] as const) {
    test(`is told with the interface it came in by when a rule drops it, in both directions: to ${to}`, async () => {
      const node = await follow([CLIENT, CLIENT6]);
      const { port: sport, send } = await sender('a', 'udp', to, port);
      await send();
      await node.packet('the answer', ({ dst, dir }) => dst.port === sport && dir === 'reply');
      const rule = ['FORWARD', '-p', 'udp', '-m', 'length', '--length', '200:400', '-j', 'DROP'];
      net.exec('node1', 'iptables', '-I', ...rule);
      // More than the kernel's coarse clock is late by.
      await delay(100);
      await send(200);
      const { time: earlier } = await node.packet(
        'the question',
        (packet) => src(packet, sport) && packet.verdict === 'dropped',
        (packet) => {
          assert.deepEqual([way(packet), packet.dst.ip, packet.drop?.reason], ['veth-a in', to, 'NETFILTER_DROP']);
        },
      );
      net.exec('node1', 'iptables', '-D', ...rule);
      net.exec('node1', 'iptables', '-I', ...rule, '-i', 'eth0');
      await send(300);
      await node.packet(
        'the answer that is dropped',
        // Not the server's second SYN-ACK, where the first was slow: TCP drops that.
        ({ dst, verdict, tcp }) => dst.port === sport && verdict === 'dropped' && tcp?.flags.includes('S') !== true,
        (packet) => {
          assert.deepEqual([way(packet), packet.src.ip, packet.dir], ['eth0 in', REMOTE, 'reply']);
          assert.ok(packet.time > earlier, `${packet.time} is this packet's time, not that of an answer before ${earlier}`);
        },
      );
      net.exec('node1', 'iptables', '-D', ...rule, '-i', 'eth0');
      await close(node);
    });
  }

  test('is not told for the sake of what is no drop: the last segments of a connection', async () => {
    const node = await follow([CLIENT, LOCAL]);
    assert.ok(net.try('a', `exec 3<>/dev/tcp/${LOCAL}/8080; echo hello >&3; read -r line <&3; test "$line" = hello`));
    const isFin = (from: string) => (packet: PacketEvent) => packet.src.ip === from && packet.tcp?.flags.includes('F') === true;
    for (const from of [CLIENT, LOCAL]) await node.packet(`the FIN of ${from}`, isFin(from));
    assert.ok(net.try('a', `ping -n -c1 ${LOCAL}`));
    await node.packet('what comes after it', ({ icmp }) => icmp?.name === 'echo-reply');
    await close(node);
    const flags = node.packets().flatMap(({ tcp }) => tcp?.flags ?? []);
    assert.deepEqual(
      flags.filter((each) => !/[SF]/.test(each)),
      [],
    );
  });

  for (const [proto, uplink, port, local, to] of [
    ['tcp', UPLINK, 8090, LOCAL, 8080],
    ['udp', UPLINK, 8053, LOCAL, 5353],
    ['tcp', UPLINK6, 8090, LOCAL6, 8080],
    ['udp', UPLINK6, 8053, LOCAL6, 5353],
  ] as const) {
    test(`is told from the uplink on when only its translation leads to a followed pod: ${proto} to ${uplink}`, async () => {
      const node = await follow([LOCAL, LOCAL6]);
      const { port: sport, send } = await sender('node2', proto, uplink, port);
      await send();
      await node.packet(
        'the first one',
        (packet) => src(packet, sport),
        (packet) => {
          assert.deepEqual([way(packet), packet.dst.ip, packet.dst.port], ['eth0 in, veth-b out', uplink, port]);
          assert.deepEqual(natOf(packet), [['dnat', uplink, port, local, to]]);
          assert.deepEqual([packet.verdict, packet.dir], ['delivered', 'request']);
          const hops = packet.hops.map(({ atNs }) => atNs);
          assert.ok((hops[1] ?? 0) > 0, 'it came in before it went out');
        },
      );
      await close(node);
    });
  }

  test('is told to who follows a Service’s pods when it is dropped at its node port, before its translation', async () => {
    const serviceAddresses = [
      { ip: UPLINK, port: 30_080, proto: 'tcp' as const },
      { ip: UPLINK, port: 30_053, proto: 'udp' as const },
      { ip: UPLINK6, port: 30_080, proto: 'tcp' as const },
    ];
    const node = await follow([REMOTE], { serviceAddresses });
    for (const tables of ['iptables', 'ip6tables']) {
      for (const proto of ['tcp', 'udp']) {
        net.exec(
          'node1',
          tables,
          '-t',
          'raw',
          '-A',
          'PREROUTING',
          '-i',
          'eth0',
          '-p',
          proto,
          '--dport',
          '30000:30100',
          '-j',
          'DROP',
        );
      }
    }
    net.spawn('node2', ['bash', '-c', `exec 3<>/dev/tcp/${UPLINK}/30080`]);
    net.spawn('node2', ['bash', '-c', `exec 3<>/dev/tcp/${UPLINK6}/30080`]);
    net.try('node2', `echo x > /dev/udp/${UPLINK}/30054; echo x > /dev/udp/${UPLINK}/30053`);
    for (const { ip, port, proto } of serviceAddresses) {
      const isIt = (packet: PacketEvent) => packet.proto === proto && packet.dst.ip === ip && packet.dst.port === port;
      await node.packet(`${proto} to ${ip}`, isIt, (packet) => {
        assert.deepEqual([packet.verdict, way(packet), packet.drop?.reason], ['dropped', 'eth0 in', 'NETFILTER_DROP']);
      });
    }
    await close(node);
    assert.ok(!node.packets().some(({ dst }) => dst.port === 30_054), 'a port that is no Service’s is nobody’s');
  });
});

suite('a packet of a tunnel that is not emitted where it comes in', { skip: SKIP }, () => {
  let net: Net;
  before(async () => {
    net = twoNodes();
    for (const [node, own, other, pods] of [
      ['node1', 1, 2, '10.9.2.0/24'],
      ['node2', 2, 1, '10.9.1.0/24'],
    ] as const) {
      net.ip(node, `link add vx0 type vxlan id 7 dstport 8472 local 192.168.77.${own} remote 192.168.77.${other}`);
      net.ip(node, `addr add 192.168.88.${own}/24 dev vx0; link set vx0 up; route replace ${pods} via 192.168.88.${other}`);
    }
    addIpv6(net);
    for (const [node, own, other, pods] of [
      ['node1', 1, 2, 'fd00:9:2::/64'],
      ['node2', 2, 1, 'fd00:9:1::/64'],
    ] as const) {
      net.ip(node, `link add vx6 type vxlan id 8 dstport 8472 local fd00:77::${own} remote fd00:77::${other}`);
      net.ip(node, `addr add fd00:88::${own}/64 dev vx6 nodad; link set vx6 up; -6 route add ${pods} via fd00:88::${other}`);
    }
    await net.serve('c');
  });
  after(() => net.close());

  test('is told from the uplink on, with the tunnel, when a rule drops it', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT] });
    const { port: sport, send } = await startSender(net, 'a', 'udp', REMOTE, 5353);
    await send();
    const isAnswer = ({ dst }: PacketEvent) => dst.port === sport;
    await node.packet('the answer', isAnswer, (packet) => assert.equal(way(packet), 'eth0 in, vx0 in, veth-a out'));
    net.exec('node1', 'iptables', '-I', 'FORWARD', '-i', 'vx0', '-p', 'udp', '-m', 'length', '--length', '200:400', '-j', 'DROP');
    await send(200);
    const isDrop = (packet: PacketEvent) => isAnswer(packet) && packet.verdict === 'dropped';
    await node.packet('the answer that is dropped', isDrop, ({ hops, src, drop, len }) => {
      const tunnel = { kind: 'vxlan', vni: 7, src: '192.168.77.2', dst: '192.168.77.1' };
      assert.deepEqual([src.ip, drop?.reason, len], [REMOTE, 'NETFILTER_DROP', 228]);
      assert.deepEqual(hops, [{ node: 'node1', if: 'eth0', dir: 'in', atNs: 0, tunnel }]);
    });
    const { stats } = await node.close();
    assert.ok(isAccounted(stats), JSON.stringify(stats));
  });

  test('is told from the uplink on where its TCP header is far behind: over IPv6, in a tunnel over IPv6', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT6] });
    const { port: sport, send } = await startSender(net, 'a', 'tcp', REMOTE6, 8080);
    await send();
    const rule = ['FORWARD', '-i', 'vx6', '-p', 'tcp', '-m', 'length', '--length', '250:400', '-j', 'DROP'];
    net.exec('node1', 'ip6tables', '-I', ...rule);
    await send(200);
    await node.packet(
      'the answer that is dropped',
      // Not the server's second SYN-ACK, where the first was slow: TCP drops that.
      ({ dst, verdict, tcp }) => dst.port === sport && verdict === 'dropped' && tcp?.flags.includes('S') !== true,
      ({ hops, src, drop }) => {
        const tunnel = { kind: 'vxlan', vni: 8, src: 'fd00:77::2', dst: 'fd00:77::1' };
        assert.deepEqual([src.ip, drop?.reason], [REMOTE6, 'NETFILTER_DROP']);
        assert.deepEqual(hops, [{ node: 'node1', if: 'eth0', dir: 'in', atNs: 0, tunnel }]);
      },
    );
    const { stats } = await node.close();
    assert.ok(isAccounted(stats), JSON.stringify(stats));
  });
});

/** Gives the nodes and their pods IPv6 addresses, and ways between them. */
function addIpv6(net: Net): void {
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

function src(packet: PacketEvent, port: number): boolean {
  return packet.src.port === port;
}

async function startSender(net: Net, from: string, proto: string, ip: string, port: number): Promise<Sender> {
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
