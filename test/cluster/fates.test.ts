import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { PacketEvent } from '../../src/event/types.ts';
import { hopNames } from '../lab/support/events.ts';
import { before } from '../support/evidence.ts';
import { SKIP } from './support/cluster.ts';
import { wayBetween } from './support/network.ts';
import { assertSound, clientPorts, type Followed, followWorld, fromPort } from './support/suite.ts';
import { CLOSED_PORT, type World } from './support/world.ts';

/** A packet's TTL where Linux makes it. */
const FIRST_TTL = 64;

suite('what becomes of packets on a real cluster', { skip: SKIP }, () => {
  let followed: Followed;
  const port = clientPorts();

  before(async () => {
    followed = await followWorld();
  });
  after(() => followed?.close());

  /** What curl says of a request that must fail. */
  const fail = (from: number, url: string): Promise<string> =>
    followed.world.inPod('deploy/client', 'sh', '-c', `curl -sS -m 2 --local-port ${from} ${url} 2>&1; true`);

  test('a ping from pod to pod is told whole, and its reply with the round trip', async () => {
    const { world, network, follow } = followed;
    await world.inPod('deploy/client', 'ping', '-c', '1', '-s', '77', '-W', '5', world.server.ip);
    const isIt = (name: string) => (packet: PacketEvent) => packet.icmp?.name === name && packet.len === 77 + 28;
    const there = await wayBetween(world, network, world.client, world.server);
    const back = await wayBetween(world, network, world.server, world.client);
    const request = await follow.packet('the request', isIt('echo-request'), (packet) => {
      assert.equal(packet.src.pod?.uid, world.client.uid);
      assert.equal(packet.dst.pod?.uid, world.server.uid);
      assert.equal(packet.nat, undefined);
      assert.deepEqual(hopNames(packet), there);
    });
    await follow.packet('the reply', isIt('echo-reply'), (reply) => {
      assert.deepEqual([reply.icmp?.id, reply.icmp?.seq], [request.icmp?.id, request.icmp?.seq]);
      assert.equal(reply.dir, 'reply');
      assert.deepEqual(hopNames(reply), back);
      assert.ok((reply.icmp?.rttUs ?? 0) > 0 && (reply.icmp?.rttUs ?? 0) < 5e6);
    });
  });

  test('a ping to a ClusterIP is told as what it is: silent in iptables mode, refused by the node in nftables mode', async () => {
    const { world, network, follow } = followed;
    await world.inPod('deploy/client', 'sh', '-c', `ping -c 1 -W 2 ${world.clusterIp}; true`);
    const isIt = ({ icmp, dst }: PacketEvent) => icmp?.name === 'echo-request' && dst.ip === world.clusterIp;
    await follow.packet('the request', isIt, (request) => {
      assert.equal(request.src.pod?.uid, world.client.uid);
      assert.equal(request.dst.service?.name, 'server');
      assert.ok(!request.nat?.some(({ kind }) => kind === 'dnat'));
      assert.deepEqual(new Set(request.nodes), new Set([world.nodeA]));
      if (network.proxy !== 'iptables') return;
      assert.ok(request.unanswered !== undefined, 'no word on the reply that did not come');
      assert.equal(hopNames(request).at(-1), `${world.nodeA}/${network.uplink} out`);
    });
    if (network.proxy === 'iptables') return;
    await follow.packet(
      'the refusal',
      ({ icmp }) => icmp?.name === 'port-unreachable' && icmp.about?.dst.ip === world.clusterIp,
      (refusal) => {
        assert.equal(refusal.src.node, world.nodeA);
        assert.equal(refusal.dst.pod?.uid, world.client.uid);
        assert.deepEqual([refusal.icmp?.about?.proto, refusal.icmp?.about?.src.ip], ['icmp', world.client.ip]);
        assert.equal(refusal.icmp?.about?.dst.service?.name, 'server');
        assert.equal(refusal.verdict, 'delivered');
      },
    );
  });

  test('a packet that a rule in FORWARD drops is told with the reason, and seen nowhere after it', async () => {
    const { world, network, follow } = followed;
    const from = port();
    const rule = [
      'FORWARD',
      '-p',
      'tcp',
      '-s',
      world.client.ip,
      '--dport',
      '9999',
      '-m',
      'comment',
      '--comment',
      world.namespace,
    ];
    await world.onNode(world.nodeA, 'iptables', '-w', '-I', ...rule, '-j', 'DROP');
    try {
      assert.match(await fail(from, `http://${world.server.ip}:9999/`), /timed out|timeout/i);
      const way = await wayBetween(world, network, world.client, world.server);
      await follow.packet('the drop', fromPort(from, 'S'), (dropped) => {
        assert.equal(dropped.verdict, 'dropped');
        assert.equal(dropped.drop?.reason, 'NETFILTER_DROP');
        assert.equal(dropped.src.pod?.uid, world.client.uid);
        assert.deepEqual(dropped.nodes, [world.nodeA]);
        assert.match(dropped.drop?.at ?? '', /^nft?_[a-z_0-9]+$/);
        assert.deepEqual(hopNames(dropped), way.slice(0, hopNames(dropped).length));
        assert.ok(dropped.hops.length > 0 && dropped.hops.every(({ dir }) => dir === 'in'));
      });
    } finally {
      await world.onNode(world.nodeA, 'iptables', '-w', '-D', ...rule, '-j', 'DROP');
    }
  });

  test('a connection to a port where nobody listens is answered by a reset', async () => {
    const { world, follow } = followed;
    const from = port();
    await fail(from, `http://${world.server.ip}:9998/`);
    await follow.packet('the refused SYN', fromPort(from, 'S'), ({ drop }) => assert.equal(drop?.reason, 'NO_SOCKET'));
    await follow.packet('the reset', fromPort(from, 'RA'), ({ src }) => assert.equal(src.pod?.uid, world.server.uid));
  });

  /** An ICMP error about what the client sent to the Service names both ends, before and after the translation, and who made it. */
  const isAboutService = (packet: PacketEvent, node: string): void => {
    const { world } = followed;
    const { about, by } = packet.icmp ?? {};
    assert.equal(about?.src.pod?.uid, world.client.uid);
    assert.equal(about.dst.ip, world.clusterIp);
    assert.deepEqual(about.dst.service, { namespace: world.namespace, name: 'server', port: 'closed' });
    const [dnat] = about.nat ?? [];
    assert.deepEqual([dnat?.kind, dnat?.service], ['dnat', `${world.namespace}/server:closed`]);
    assert.deepEqual([dnat?.after.pod?.uid, dnat?.after.port], [world.server.uid, CLOSED_PORT]);
    assert.equal(by?.node, node);
    assert.equal(packet.dst.pod?.uid, world.client.uid);
    assert.equal(packet.verdict, 'delivered');
  };
  const toService = (bytes: number): Promise<string> => {
    const { world } = followed;
    return world.inPod(
      'deploy/client',
      'sh',
      '-c',
      `head -c ${bytes} /dev/zero | nc -u -w 1 ${world.clusterIp} ${CLOSED_PORT}; true`,
    );
  };

  test('a datagram to a Service whose pod has closed the port is answered by an error about both', async () => {
    const { world, follow } = followed;
    await toService(5);
    await follow.packet(
      'the refusal',
      ({ icmp }) => icmp?.name === 'port-unreachable' && icmp.about?.src.ip === world.client.ip && icmp.about.proto === 'udp',
      (refusal) => isAboutService(refusal, world.nodeB),
    );
  });

  test('a datagram behind a Service that does not fit through the way is answered by its node with the MTU', async () => {
    const { world, follow } = followed;
    const [route] = JSON.parse(await world.onNode(world.nodeA, 'ip', '-j', 'route', 'get', world.server.ip)) as {
      gateway?: string;
      dev: string;
    }[];
    assert.ok(route !== undefined);
    const via = route.gateway === undefined ? [] : ['via', route.gateway, 'onlink'];
    const narrow = [`${world.server.ip}/32`, ...via, 'dev', route.dev, 'mtu', 'lock', '1000'];
    await world.onNode(world.nodeA, 'ip', 'route', 'add', ...narrow);
    try {
      await toService(1300);
      await follow.packet(
        'the refusal',
        ({ icmp }) => icmp?.name === 'fragmentation-needed' && icmp.about?.src.ip === world.client.ip,
        (refusal) => {
          isAboutService(refusal, world.nodeA);
          assert.equal(refusal.icmp?.mtu, 1000);
        },
      );
    } finally {
      await world.onNode(world.nodeA, 'ip', 'route', 'del', ...narrow);
    }
  });

  test('a packet whose time is over is answered by the node where it ended: before the tunnel, or behind it', async () => {
    const { world, follow } = followed;
    const routers = await routersOnTheWay(world);
    for (const [ttl, bytes, node] of [
      [1, 81, world.nodeA],
      [routers, 82, world.nodeB],
    ] as const) {
      await world.inPod('deploy/client', 'sh', '-c', `ping -c 1 -W 2 -t ${ttl} -s ${bytes} ${world.server.ip}; true`);
      const request = await follow.packet(
        `the ping of ${ttl}`,
        ({ icmp, len }) => icmp?.name === 'echo-request' && len === bytes + 28,
        ({ verdict, nodes }) => assert.deepEqual([verdict, nodes.at(-1)], ['dropped', node]),
      );
      await follow.packet(
        `the error about the ping of ${ttl}`,
        ({ icmp }) => icmp?.name === 'time-exceeded' && icmp.about?.id !== undefined && icmp.about.id === request.icmp?.id,
        ({ icmp, dst, verdict }) => {
          assert.deepEqual([icmp?.about?.src.pod?.uid, icmp?.about?.dst.pod?.uid], [world.client.uid, world.server.uid]);
          assert.deepEqual([icmp?.by?.node, dst.pod?.uid, verdict], [node, world.client.uid, 'delivered']);
        },
      );
    }
  });

  test('a connection that is closed in order is nowhere told as dropped', async () => {
    const { world, follow } = followed;
    const from = port();
    await world.inPod(
      'deploy/client',
      'curl',
      '-sS',
      '-m',
      '10',
      '--local-port',
      String(from),
      `http://${world.server.ip}:8080/`,
    );
    const isOurs = ({ src, dst }: PacketEvent) => src.port === from || dst.port === from;
    const fins = () => follow.packets.filter((packet) => isOurs(packet) && packet.tcp?.flags.includes('F') === true);
    await follow.until('both ends close it', () => new Set(fins().map(({ dir }) => dir)).size === 2);
    // What a drop would be told by comes after its packet: another packet that is told shows that this time is over.
    await world.inPod('deploy/client', 'ping', '-c', '1', '-s', '78', '-W', '5', world.server.ip);
    await follow.packet('a later ping', ({ icmp, len }) => icmp?.name === 'echo-reply' && len === 78 + 28);
    assert.deepEqual(
      follow.packets.filter((packet) => isOurs(packet) && packet.verdict === 'dropped'),
      [],
    );
  });

  test('all that was told is sound: nothing twice, nothing lost, no node taken for a pod', () => assertSound(followed));
});

/** Who decrements a packet's TTL between client and server: both nodes, and flannel's processes where these carry it (its udp backend). */
async function routersOnTheWay(world: World): Promise<number> {
  const said = await world.inPod(world.client.name, 'ping', '-c', '1', '-W', '5', world.server.ip);
  const ttl = Number(/ ttl=(\d+) /.exec(said)?.[1]);
  assert.ok(ttl < FIRST_TTL, said);
  return FIRST_TTL - ttl;
}
