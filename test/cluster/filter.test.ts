import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { Endpoint, PacketEvent } from '../../src/event/types.ts';
import { assertNothingTwice, endpoints } from '../lab/support/events.ts';
import { before } from '../support/evidence.ts';
import type { KtraceProcess } from '../support/ktrace-process.ts';
import { until } from '../support/until.ts';
import { ktrace, kubectl, SKIP } from './support/cluster.ts';
import { chainsToServer, findNetwork } from './support/network.ts';
import { clientPorts, follows, fromPort } from './support/suite.ts';
import { World } from './support/world.ts';

suite('follows with filters on a real cluster', { skip: SKIP }, () => {
  let world: World;
  const running: KtraceProcess[] = [];
  const port = clientPorts();

  const follow = (...argv: string[]): KtraceProcess => {
    const started = ktrace('follow', '-n', world.namespace, '-o', 'json', ...argv);
    running.push(started);
    return started;
  };
  /** One request of the client's, with the port that it came from. */
  const request = async (url: string): Promise<number> => {
    const from = port();
    await world.inPod('deploy/client', 'sh', '-c', `curl -sS -m 5 --local-port ${from} ${url} >/dev/null 2>&1; true`);
    return from;
  };
  /** The SYN of one request, told by both nodes. */
  const told = async (what: string, by: KtraceProcess, url: string, check: (syn: PacketEvent) => void): Promise<void> => {
    const from = await request(url);
    await by.packet(what, fromPort(from, 'S'), (syn) => {
      assert.deepEqual(syn.nodes, [world.nodeA, world.nodeB]);
      check(syn);
    });
  };
  const isToServer = ({ nat }: PacketEvent) => assert.equal(nat?.[0]?.after.pod?.uid, world.server.uid);

  before(async () => {
    world = await World.create();
  });
  after(async () => {
    for (const one of running) await one.interrupt();
    await world?.close();
  });

  test('two at once tell each its own packets, of a Service and of pings, by both nodes', async () => {
    const service = follow('deploy/client', 'tcp port 80 and svc server');
    const icmp = follow('icmp');
    await Promise.all([follows(service, world.client), follows(icmp, world.client, world.server)]);
    await told('a SYN to the Service', service, `http://${world.clusterIp}/`, isToServer);
    await request(`http://${world.server.ip}:9999/`);
    await world.inPod('deploy/client', 'ping', '-c', '1', '-W', '5', world.server.ip);
    await icmp.packet(
      'the ping',
      (packet) => packet.icmp?.name === 'echo-request',
      ({ nodes }) => assert.deepEqual(nodes, [world.nodeA, world.nodeB]),
    );
    assert.ok(icmp.packets.every(({ proto }) => proto === 'icmp'));
    for (const packet of service.packets) {
      assert.equal(packet.proto, 'tcp');
      assert.ok(
        endpoints(packet).some((end) => end.service?.name === 'server'),
        JSON.stringify(packet),
      );
    }
    for (const one of [service, icmp]) assertNothingTwice(one.packets);
  });

  test('a Deployment that was there before is followed by what it asks one Service, and nothing else', async (t) => {
    const guestbook = await kubectl('-n', 'default', 'get', 'deployments', '-o', 'name');
    if (!guestbook.includes('deployment.apps/frontend\n')) return t.skip('the cluster has no guestbook');
    const literal = ['deploy/frontend', 'tcp port 6379 and svc redis-master'];
    const master = ktrace('follow', '-n', 'default', '-o', 'json', '--packets', ...literal);
    running.push(master);
    const isOf = ({ pod }: Endpoint) => pod?.name.startsWith('frontend-') === true;
    await master.following(({ missing }) => missing.length === 0);
    // Each of its pods asks both Services once a second.
    const asks = new Set<string>();
    await until('all three frontends ask the master', () => {
      for (const { src } of master.packets) if (isOf(src)) asks.add(src.pod?.name ?? '');
      return asks.size === 3;
    });
    for (const packet of master.packets) {
      assert.equal(packet.proto, 'tcp');
      const [pod, redis] = isOf(packet.src) ? [packet.src, packet.dst] : [packet.dst, packet.src];
      assert.ok(isOf(pod) && [redis.port, packet.nat?.[0]?.before.port].includes(6379), JSON.stringify(packet));
      assert.ok(
        endpoints(packet).some((end) => end.service?.name === 'redis-master'),
        JSON.stringify(packet),
      );
    }
    assertNothingTwice(master.packets);
  });

  test('by "dropped" tells what the kernel dropped, with its hops before that, and nothing else', async () => {
    const dropped = follow(`dropped and pod ${world.client.name}`);
    await follows(dropped, world.client, world.server);
    await told('the refused SYN', dropped, `http://${world.server.ip}:7/`, ({ drop, hops }) => {
      assert.equal(drop?.reason, 'NO_SOCKET');
      assert.ok(hops.length > 1);
    });
    assert.deepEqual(
      dropped.packets.filter(({ verdict }) => verdict !== 'dropped'),
      [],
    );
  });

  test('by a label follows a Deployment that is rolled, and by a name stays with who had it', async () => {
    const old = world.server;
    const labelled = follow('tcp and dst label app=server');
    const named = follow(`dst pod ${old.name} and tcp`);
    for (const one of [labelled, named]) {
      await follows(one, world.client, world.server);
      await told('a SYN to the old pod', one, `http://${world.clusterIp}/`, isToServer);
    }
    await kubectl('-n', world.namespace, 'rollout', 'restart', 'deployment/server');
    await kubectl('-n', world.namespace, 'rollout', 'status', 'deployment/server', '--timeout=120s');
    world.server = await world.podOf('server');
    assert.notEqual(world.server.uid, old.uid);
    await follows(labelled, world.server);
    await chainsToServer(world, await findNetwork(world), old);
    await told('a SYN to the new pod', labelled, `http://${world.clusterIp}/`, isToServer);
    assert.deepEqual(
      named.packets.filter((packet) => endpoints(packet).some(({ pod }) => pod?.uid === world.server.uid)),
      [],
    );
  });
});
