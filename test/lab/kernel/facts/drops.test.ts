import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { PacketEvent } from '../../../../src/event/types.ts';
import { loadNative } from '../../../../src/native/load.ts';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { TracedNode, way } from '../../support/traced-node.ts';

/** The kernel tells the socket that a dropped packet was for: 6.11 and later. */
const KNOWS_RECEIVERS = SKIP === false && (loadNative().btf.tracepointArguments('kfree_skb')?.length ?? 0) >= 4;

suite('drops of a followed pod’s packets', { skip: SKIP }, () => {
  let net: Net;
  let node: TracedNode;
  before(async () => {
    net = twoNodes();
    await net.serve('b');
    // Both by one: where tc means clsact, a second agent on a node takes the first one's filters for what was left behind.
    node = await TracedNode.following(net, { node: 'node1', addresses: ['10.9.1.2', 'fd00:9::2'] });
  });
  after(() => net.close());

  const isDropTo = (ip: string, port?: number) => (packet: PacketEvent) =>
    packet.verdict === 'dropped' && packet.dst.ip === ip && packet.dst.port === port;

  test('by an iptables rule are told with reason, symbol and the interface they came by', async () => {
    net.exec('node1', 'iptables', '-A', 'FORWARD', '-p', 'udp', '--dport', '4001', '-j', 'DROP');
    net.try('a', 'echo x > /dev/udp/10.9.1.3/4001');
    await node.packet('the drop', isDropTo('10.9.1.3', 4001), (packet) => {
      const { drop, nodes } = packet;
      assert.equal(drop?.reason, 'NETFILTER_DROP');
      // Loaded with the rule, after the agent's start, where it is a module.
      assert.match(drop.at, /^(nft_do_chain|nf_hook_slow)$/);
      assert.equal(way(packet), 'veth-a in');
      assert.deepEqual(nodes, ['node1']);
    });
  });

  test('by an nft rule are told with the same reason', async () => {
    net.exec('node1', 'nft', 'add table inet ktt');
    net.exec('node1', 'nft', 'add chain inet ktt forwarded { type filter hook forward priority 0; }');
    net.exec('node1', 'nft', 'add rule inet ktt forwarded tcp dport 4002 drop');
    // Tries on until the namespaces go.
    net.spawn('a', ['bash', '-c', 'exec 3<>/dev/tcp/10.9.1.3/4002']);
    const packet = await node.packet('the drop', isDropTo('10.9.1.3', 4002));
    assert.equal(packet.drop?.reason, 'NETFILTER_DROP');
    assert.equal(packet.tcp?.flags, 'S');
  });

  test('because their time is over are told, and the error that says so is its own packet', async () => {
    assert.ok(!net.try('a', 'ping -n -c1 -W1 -t1 10.9.1.3'));
    const packet = await node.packet('the drop', (each) => isDropTo('10.9.1.3')(each) && each.icmp?.name === 'echo-request');
    assert.match(packet.drop?.reason ?? '', /^(IP_INHDR|NOT_SPECIFIED|IP_TTL|TTL|IP_OUTNOROUTES)/);
    await node.packet(
      'the error',
      (each) => each.icmp?.name === 'time-exceeded',
      (error) => {
        assert.equal(error.dst.ip, '10.9.1.2');
        const { id, seq } = packet.icmp ?? {};
        assert.deepEqual(error.icmp?.about, { proto: 'icmp', src: { ip: '10.9.1.2' }, dst: { ip: '10.9.1.3' }, id, seq });
        assert.equal(way(error), 'veth-a out');
        assert.equal(error.verdict, 'delivered');
      },
    );
  });

  test('for want of a route are told, and so is the error', async () => {
    net.ip('node1', 'route add unreachable 198.51.100.0/24');
    net.try('a', 'echo x > /dev/udp/198.51.100.7/4003');
    const packet = await node.packet('the drop', isDropTo('198.51.100.7', 4003));
    assert.match(packet.drop?.reason ?? '', /NOROUTES|NOT_SPECIFIED|UNREACHABLE/);
    assert.equal(packet.drop?.at, 'ip_error');
    const error = await node.packet('the error', (each) => each.icmp?.about?.dst.port === 4003);
    assert.equal(error.icmp?.name, 'host-unreachable');
    assert.equal(error.icmp.about?.src.ip, '10.9.1.2');
  });

  test('by a closed port are told from inside the pod, and the error with the flow it quotes', async () => {
    net.try('a', 'echo x > /dev/udp/10.9.1.3/4004');
    await node.packet('the drop', isDropTo('10.9.1.3', 4004), (packet) => {
      assert.equal(packet.drop?.reason, 'NO_SOCKET');
      assert.match(packet.drop.at, /udp/);
      assert.equal(way(packet), 'veth-a in, veth-b out');
    });
    await node.packet(
      'the error',
      (each) => each.icmp?.about?.dst.port === 4004,
      (error) => {
        assert.equal(error.icmp?.name, 'port-unreachable');
        assert.equal(way(error), 'veth-b in, veth-a out');
        assert.equal(error.verdict, 'delivered');
      },
    );
  });

  test('over IPv6 are told, too', async () => {
    net.ip('a', 'addr add fd00:9::2/128 dev eth0 nodad');
    net.exec('a', 'ip', '-6', 'route', 'add', 'fd00:9::/64', 'dev', 'eth0');
    net.ip('node1', 'addr add fd00:9::1/128 dev veth-a nodad');
    net.exec('node1', 'ip', '-6', 'route', 'add', 'fd00:9::2/128', 'dev', 'veth-a');
    net.try('a', 'echo x > /dev/udp/fd00:9::1/4005');
    const packet = await node.packet('the drop', isDropTo('fd00:9::1', 4005));
    assert.equal(packet.drop?.reason, 'NO_SOCKET');
    await node.packet(
      'the error',
      (each) => each.icmp?.about?.dst.port === 4005,
      (error) => {
        assert.equal(error.icmp?.name, 'port-unreachable');
        assert.equal(error.verdict, 'delivered');
      },
    );
  });

  test('because their source is not reached by where they came from are told', async () => {
    net.ip('b', 'addr add 203.0.113.9/32 dev lo');
    net.exec('node1', 'sysctl', '-qw', 'net.ipv4.conf.veth-b.rp_filter=1');
    assert.ok(!net.try('b', 'ping -n -c1 -W1 -I 203.0.113.9 10.9.1.2'));
    net.exec('node1', 'sysctl', '-qw', 'net.ipv4.conf.veth-b.rp_filter=0');
    await node.packet('the drop', isDropTo('10.9.1.2'), (packet) => {
      assert.deepEqual([packet.drop?.reason, packet.src.ip, way(packet)], ['IP_RPFILTER', '203.0.113.9', 'veth-b in']);
    });
  });

  test('over IPv6 where forwarding ends them are told, too', async () => {
    net.exec('node1', 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1');
    net.exec('a', 'ip', '-6', 'route', 'add', '2001:db8::/32', 'via', 'fd00:9::1');
    for (const [ip, more, at, error] of [
      // One function, which the compiler may put into the other.
      ['2001:db8::7', '', /^ip6_pkt_(drop|discard)$/, 'no-route'],
      ['2001:db8:1::7', '-t1', /^ip6_forward$/, 'time-exceeded'],
    ] as const) {
      if (more !== '') net.exec('node1', 'ip', '-6', 'route', 'add', `${ip}/128`, 'dev', 'veth-b');
      assert.ok(!net.try('a', `ping -6 -n -c1 -W1 ${more} ${ip}`));
      await node.packet('the drop', isDropTo(ip), ({ drop }) => assert.match(drop?.at ?? '', at, drop?.reason));
      await node.packet(
        'the error',
        (each) => each.icmp?.about?.dst.ip === ip,
        ({ icmp, verdict }) => assert.deepEqual([icmp?.name, verdict], [error, 'delivered']),
      );
    }
  });

  test('are not what arrives: of an answered request and a whole connection nothing is dropped', async () => {
    assert.ok(net.try('a', 'ping -n -c2 -i0.2 10.9.1.3'));
    assert.ok(net.try('a', 'exec 3<>/dev/tcp/10.9.1.3/8080; echo hello >&3; read -r line <&3; test "$line" = hello'));
    await node.packet(
      'the reply',
      (each) => each.icmp?.name === 'echo-reply' && each.icmp.seq === 2 && each.icmp.rttUs !== undefined,
    );
    await node.packet('the connection’s end', (each) => each.tcp?.flags.startsWith('F') === true && each.src.port === 8080);
    const dropped = node
      .packets()
      .filter(({ verdict, dst, src }) => verdict === 'dropped' && [dst.port, src.port].includes(8080));
    assert.deepEqual(dropped, []);
    assert.deepEqual(
      node.packets().filter(({ verdict, icmp }) => verdict === 'dropped' && icmp?.name === 'echo-reply'),
      [],
    );
  });
});

suite('where the kernel hides its functions, a followed pod’s connection', { skip: SKIP }, () => {
  let net: Net;
  let node: TracedNode;
  before(async () => {
    net = twoNodes();
    await net.serve('b');
    net.ip('node1', 'route add blackhole 198.51.100.0/24');
    node = await TracedNode.following(net, { node: 'node1', addresses: ['10.9.1.2'], hidesSymbols: true });
  });
  after(() => net.close());

  // Where the kernel names the receiver, user space takes none of them for taken in: the kernel side has left them out.
  test('ends without a drop', async () => {
    const TIMES = 20;
    // Each after an answer: the kernel may drop the handshake's ACK when the FIN is right behind it, on another CPU (TCP_FLAGS).
    const connection = 'exec 3<>/dev/tcp/10.9.1.3/8080; echo hello >&3; read -r line <&3; exec 3>&-';
    assert.ok(net.try('a', `for n in {1..${TIMES}}; do ${connection}; done`));
    const ends = () => node.packets().filter(({ tcp, src }) => tcp?.flags.startsWith('F') === true && src.port === 8080);
    await until('the connections’ ends are told', () => ends().length >= TIMES);
    assert.deepEqual(
      node.packets().filter(({ verdict }) => verdict === 'dropped'),
      [],
    );
  });

  test('that is dropped without a reason is told', {
    skip: !KNOWS_RECEIVERS && 'the kernel does not tell receivers',
  }, async () => {
    net.spawn('a', ['bash', '-c', 'exec 3<>/dev/tcp/198.51.100.7/4006']);
    const { drop, tcp } = await node.packet('the drop', (each) => each.verdict === 'dropped' && each.dst.ip === '198.51.100.7');
    assert.deepEqual([drop?.reason, drop?.at, tcp?.flags], ['NOT_SPECIFIED', 'unknown', 'S']);
  });
});

suite('what has the node’s own address', { skip: SKIP }, () => {
  const UPLINK = '192.168.77.1';
  const WORLD = '192.168.77.2';
  let net: Net;
  let node: TracedNode;
  before(async () => {
    net = twoNodes();
    net.exec('node1', 'iptables', '-t', 'nat', '-A', 'POSTROUTING', '-s', '10.9.1.0/24', '-o', 'eth0', '-j', 'MASQUERADE');
    node = await TracedNode.following(net, {
      node: 'node1',
      addresses: ['10.9.1.2'],
      serviceAddresses: [{ ip: UPLINK, port: 30_080, proto: 'udp' }],
      probes: 'none',
    });
  });
  after(() => net.close());

  test('is not looked at closer when it is dropped, where nobody who is followed can be behind it', async () => {
    const before = (await node.ask('state')).stats;
    net.try('node1', `for n in {1..200}; do echo x > /dev/udp/${UPLINK}/4010; done 2> /dev/null; true`);
    const { unmatched, matched } = (await node.ask('state')).stats;
    assert.ok(unmatched - before.unmatched < 100, `${unmatched - before.unmatched} of 200 were looked at closer`);
    assert.equal(matched, before.matched);
  });

  test('is not looked at closer on the way out, where conntrack says that nobody is', async () => {
    const before = (await node.ask('state')).stats;
    // One of them is refused by whom it is sent to; the errors are rate-limited.
    net.try('node1', `for n in {1..200}; do echo x > /dev/udp/${WORLD}/4013; done 2> /dev/null; true`);
    const { unmatched } = (await node.ask('state')).stats;
    assert.ok(unmatched - before.unmatched < 100, `${unmatched - before.unmatched} of 200 were looked at closer`);
  });

  test('is looked at closer when it is dropped at a NodePort that leads to a followed pod', async () => {
    const before = (await node.ask('state')).stats;
    net.try('node1', `echo x > /dev/udp/${UPLINK}/30080`);
    const { matched, emitted } = (await node.ask('state')).stats;
    assert.deepEqual([matched - before.matched, emitted - before.emitted], [1, 1]);
  });

  test('is told of the drop of an answer to a followed pod that is masqueraded', async () => {
    net.exec('node1', 'iptables', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '--sport', '4012', '-j', 'DROP');
    const script = `const socket = require('node:dgram').createSocket('udp4', (bytes, from) => socket.send(bytes, from.port, from.address));
      socket.bind(4012, () => process.send('ready'));`;
    const server = net.spawn('node2', [process.execPath, '-e', script]);
    await new Promise((resolve) => server.once('message', resolve));
    net.try('a', `echo x > /dev/udp/${WORLD}/4012`);
    const { drop, src } = await node.packet('the drop', (each) => each.verdict === 'dropped' && each.src.port === 4012);
    assert.deepEqual([drop?.reason, src.ip], ['NETFILTER_DROP', WORLD]);
  });

  test('is told of the drop of a followed pod’s answer when it has the NodePort’s address again', async () => {
    const dnat = ['PREROUTING', '-i', 'eth0', '-p', 'udp', '--dport', '30081', '-j', 'DNAT', '--to', '10.9.1.2:4015'];
    net.exec('node1', 'iptables', '-t', 'nat', '-A', ...dnat);
    const late =
      'add chain ip late out { type filter hook postrouting priority 200; }; add rule ip late out udp sport 30081 drop';
    net.exec('node1', 'nft', `add table ip late; ${late}`);
    const script = `const socket = require('node:dgram').createSocket('udp4', (bytes, from) => socket.send(bytes, from.port, from.address));
      socket.bind(4015, () => process.send('ready'));`;
    const server = net.spawn('a', [process.execPath, '-e', script]);
    await new Promise((resolve) => server.once('message', resolve));
    net.try('node2', `echo x > /dev/udp/${UPLINK}/30081`);
    const answer = await node.packet(
      'its drop',
      (each) => each.verdict === 'dropped' && each.src.port === 4015 && each.dst.ip === WORLD,
    );
    assert.deepEqual([answer.drop?.reason, answer.nat?.[0]?.after], ['NETFILTER_DROP', { ip: UPLINK, port: 30_081 }]);
  });

  test('is told on its way out where the node itself is followed', async () => {
    await node.close();
    node = await TracedNode.following(net, { node: 'node1', addresses: [UPLINK] });
    net.try('node1', `echo x > /dev/udp/${WORLD}/4014`);
    const packet = await node.packet('the datagram', (each) => each.proto === 'udp' && each.dst.port === 4014);
    assert.deepEqual([packet.src.ip, way(packet)], [UPLINK, 'eth0 out']);
  });
});
