import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { PacketEvent } from '../../src/event/types.ts';
import { hopNames } from '../lab/support/events.ts';
import { before } from '../support/evidence.ts';
import { SKIP } from './support/cluster.ts';
import { wayBetween } from './support/network.ts';
import { assertSound, clientPorts, type Followed, followWorld, fromPort } from './support/suite.ts';

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
