import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { PacketEvent, QuotedFlow } from '../../../../src/event/types.ts';
import { before } from '../../../support/evidence.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { TracedNode, way } from '../../support/traced-node.ts';

const CLIENT = '10.9.1.2';
const SERVICE = '10.96.0.10';
const REMOTE = '10.9.2.2';
const UPLINK = '192.168.77.1';
const CLIENT6 = 'fd00:9:1::2';
const SERVICE6 = 'fd00:96::10';
const REMOTE6 = 'fd00:9:2::2';

/** What an error is about, the client's changing port as `*`. */
function about({ icmp }: PacketEvent): string[] {
  const quoted = icmp?.about as QuotedFlow;
  const end = ({ ip, port }: QuotedFlow['src']) => `${ip} ${port === quoted.src.port ? '*' : port}`;
  const translations = (quoted.nat ?? []).map(({ kind, before, after }) => `${kind} ${end(before)} → ${end(after)}`);
  return [`${quoted.proto} ${end(quoted.src)} → ${end(quoted.dst)}`, ...translations];
}

suite('errors that another node makes about a Service’s translated flow', { skip: SKIP }, () => {
  let net: Net;
  before(() => {
    net = twoNodes();
    net.exec('node1', ...`iptables -t nat -A PREROUTING -d ${SERVICE} -p udp --dport 53 -j DNAT --to ${REMOTE}:5353`.split(' '));
    net.exec('node1', ...'iptables -t nat -A POSTROUTING -s 10.9.1.0/24 -o eth0 -j MASQUERADE'.split(' '));
    for (const node of ['node1', 'node2']) net.exec(node, 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1');
    const ends = [
      ['a', 'eth0', CLIENT6, 'fd00:9:1::fe'],
      ['node1', 'veth-a', 'fd00:9:1::fe', undefined],
      ['node1', 'eth0', 'fd00:77::1', undefined],
      ['node2', 'eth0', 'fd00:77::2', undefined],
      ['node2', 'veth-c', 'fd00:9:2::fe', undefined],
      ['c', 'eth0', REMOTE6, 'fd00:9:2::fe'],
    ] as const;
    for (const [name, link, address, gateway] of ends) {
      net.ip(name, `addr add ${address}/64 dev ${link} nodad`);
      if (gateway !== undefined) net.ip(name, `-6 route add default via ${gateway}`);
    }
    net.ip('node1', '-6 route add fd00:9:2::/64 via fd00:77::2');
    net.ip('node2', '-6 route add fd00:9:1::/64 via fd00:77::1');
    const to6 = `[${REMOTE6}]:5353`;
    net.exec('node1', ...`ip6tables -t nat -A PREROUTING -d ${SERVICE6} -p udp --dport 53 -j DNAT --to ${to6}`.split(' '));
  });
  after(() => net.close());

  test('that it is prohibited names the conversation as its pod began it, with both translations', async () => {
    const rule = 'FORWARD -p udp --dport 5353 -j REJECT --reject-with icmp-admin-prohibited'.split(' ');
    net.exec('node2', 'iptables', '-I', ...rule);
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT] });
    net.try('a', `echo x > /dev/udp/${SERVICE}/53`);
    await node.packet(
      'the error',
      ({ icmp }) => icmp?.name === 'admin-prohibited',
      (error) => {
        assert.deepEqual(about(error), [
          `udp ${CLIENT} * → ${SERVICE} 53`,
          `dnat ${SERVICE} 53 → ${REMOTE} 5353`,
          `snat ${CLIENT} * → ${UPLINK} *`,
        ]);
        assert.equal(way(error), 'eth0 in, veth-a out');
        assert.equal(error.src.ip, '192.168.77.2');
      },
    );
    net.exec('node2', 'iptables', '-D', ...rule);
    await node.close();
  });

  test('that a ping is refused ends the wait for its answer', async () => {
    const refused = `FORWARD -p icmp -d ${REMOTE} -j REJECT --reject-with icmp-host-prohibited`.split(' ');
    const lost = 'INPUT -p icmp -d 192.168.77.2 -j DROP'.split(' ');
    for (const rule of [refused, lost]) net.exec('node2', 'iptables', '-I', ...rule);
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT] });
    net.try('a', `ping -n -c1 -W1 -e 77 ${REMOTE}; ping -n -c1 -W1 -e 78 192.168.77.2`);
    await node.packet(
      'the error',
      ({ icmp }) => icmp?.name === 'host-prohibited',
      ({ icmp }) => assert.deepEqual([icmp?.about?.id, icmp?.about?.seq, icmp?.about?.src.ip], [77, 1, CLIENT]),
    );
    // They end in the order in which they began.
    await node.packet('the lost ping’s end', ({ icmp, unanswered }) => icmp?.id === 78 && unanswered !== undefined);
    const refusedPing = node.packets().filter(({ icmp }) => icmp?.id === 77);
    assert.deepEqual(
      refusedPing.map(({ icmp, unanswered }) => [icmp?.name, unanswered]),
      [['echo-request', undefined]],
    );
    for (const rule of [refused, lost]) net.exec('node2', 'iptables', '-D', ...rule);
    await node.close();
  });

  test('that a packet is too big for IPv6 names the conversation, before and after translation, and the MTU', async () => {
    net.ip('node2', 'link set veth-c mtu 1280');
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT6] });
    net.try('a', `head -c 1400 /dev/zero > /dev/udp/${SERVICE6}/53`);
    await node.packet(
      'the error',
      ({ icmp }) => icmp?.name === 'packet-too-big',
      (error) => {
        assert.deepEqual(about(error), [`udp ${CLIENT6} * → ${SERVICE6} 53`, `dnat ${SERVICE6} 53 → ${REMOTE6} 5353`]);
        assert.equal(error.icmp?.mtu, 1280);
        assert.equal(way(error), 'eth0 in, veth-a out');
        assert.equal(error.verdict, 'delivered');
      },
    );
    await node.close();
  });
});
