import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { PacketEvent } from '../../../../src/event/types.ts';
import { before } from '../../../support/evidence.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import type { Net } from '../../support/net.ts';
import { TracedNode, way } from '../../support/traced-node.ts';
import { at, CLIENT, CLIENT6, close, dnat, LOCAL, natOf, REMOTE, REMOTE6, servedNodes, src, startSender } from './entered-net.ts';

const SERVICE = '10.96.0.10';
const SERVICE6 = 'fd00:96::10';

suite('a packet that is not emitted where it comes in', { skip: SKIP }, () => {
  let net: Net;
  before(async () => {
    net = await servedNodes();
    dnat(net, '-A', SERVICE, 'tcp', 80, at(REMOTE, 8080));
    dnat(net, '-A', SERVICE, 'udp', 53, at(REMOTE, 5353));
    dnat(net, '-A', SERVICE6, 'tcp', 80, at(REMOTE6, 8080));
    dnat(net, '-A', SERVICE6, 'udp', 53, at(REMOTE6, 5353));
  });
  after(() => net.close());

  const follow = (addresses: string[]) => TracedNode.following(net, { node: 'node1', addresses });

  for (const [proto, service, port, remote, to] of [
    ['udp', SERVICE, 53, REMOTE, 5353],
    ['tcp', SERVICE, 80, REMOTE, 8080],
    ['udp', SERVICE6, 53, REMOTE6, 5353],
    ['tcp', SERVICE6, 80, REMOTE6, 8080],
  ] as const) {
    test(`is told from its pod’s interface on when its connection is translated anew: ${proto} to ${service}`, async () => {
      const node = await follow([CLIENT, CLIENT6]);
      const { port: sport, send } = await startSender(net, 'a', proto, service, port);
      await send();
      const isIt = ({ src, len, dir }: PacketEvent) => src.port === sport && dir === 'request' && len > 150;
      if (proto === 'udp') await node.packet('the first one', (packet) => src(packet, sport) && packet.nat !== undefined);
      // The endpoint has gone, and kube-proxy takes its entries with it.
      dnat(net, '-I', service, proto, port, at(remote, to + 1));
      const family = service.includes(':') ? 'ipv6' : 'ipv4';
      net.exec('node1', 'conntrack', '-D', '-f', family, '-p', proto, '--orig-port-src', String(sport));
      await send(200);
      await node.packet('the next one', isIt, (packet) => {
        assert.deepEqual([way(packet), packet.dst.ip, packet.dst.port], ['veth-a in, eth0 out', service, port]);
        assert.deepEqual(natOf(packet), [['dnat', service, port, remote, to + 1]]);
        assert.equal(packet.verdict, 'forwarded');
      });
      await close(node);
      dnat(net, '-D', service, proto, port, at(remote, to + 1));
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
      const { port: sport, send } = await startSender(net, 'a', proto, service, port);
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
      const { port: sport, send } = await startSender(net, 'a', 'udp', to, port);
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
});
