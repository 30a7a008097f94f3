import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import type { PacketEvent } from '../../src/event/types.ts';
import { waitFor } from '../../src/lab/wait.ts';
import { assertNothingTwice, endpoints } from '../lab/support/events.ts';
import type { KtraceProcess } from '../lab/support/follow-process.ts';
import { ktrace, kubectl, SKIP, until } from './support/cluster.ts';
import { beginsToSee, clientPorts, fromPort } from './support/suite.ts';
import { World } from './support/world.ts';

suite('follows with filters on a real cluster', { skip: SKIP, timeout: 300_000 }, () => {
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
  /** Requests until one of them is told as it should be: agents learn of a follow, and of pods, in their own time. */
  const told = (what: string, by: KtraceProcess, url: () => string, is: (packet: PacketEvent, from: number) => boolean) =>
    until(what, async () => {
      const from = await request(url());
      return waitFor(() => by.packets.find((packet) => is(packet, from)), 3000, 50);
    });
  const isSyn = (packet: PacketEvent, from: number) => fromPort(from, 'S')(packet) && packet.nodes.length === 2;

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
    await beginsToSee(world, icmp);
    const syn = await told('a SYN to the Service', service, () => `http://${world.clusterIp}/`, isSyn);
    assert.equal(syn.nat?.[0]?.after.pod?.uid, world.server.uid);
    await request(`http://${world.server.ip}:9999/`);
    await world.inPod('deploy/client', 'ping', '-c', '1', '-W', '5', world.server.ip);
    assert.ok(icmp.packets.length > 0 && icmp.packets.every(({ proto }) => proto === 'icmp'));
    for (const packet of service.packets) {
      assert.equal(packet.proto, 'tcp');
      assert.ok(
        endpoints(packet).some((end) => end.service?.name === 'server'),
        JSON.stringify(packet),
      );
    }
    for (const one of [service, icmp]) assertNothingTwice(one.packets);
  });

  test('by "dropped" tells what the kernel dropped, with its hops before that, and nothing else', async () => {
    const dropped = follow(`dropped and pod ${world.client.name}`);
    const syn = await told(
      'the refused SYN',
      dropped,
      () => `http://${world.server.ip}:7/`,
      (packet, from) => fromPort(from, 'S')(packet) && packet.drop !== undefined && packet.nodes.length === 2,
    );
    assert.equal(syn.drop?.reason, 'NO_SOCKET');
    assert.ok(syn.hops.length > 1);
    assert.deepEqual(
      dropped.packets.filter(({ verdict }) => verdict !== 'dropped'),
      [],
    );
  });

  test('by a label follows a Deployment that is rolled, and by a name stays with who had it', async () => {
    const old = world.server;
    const labelled = follow('tcp and dst label app=server');
    const named = follow(`dst pod ${old.name} and tcp`);
    for (const one of [labelled, named]) await told('a SYN to the old pod', one, () => `http://${world.clusterIp}/`, isSyn);
    await kubectl('-n', world.namespace, 'rollout', 'restart', 'deployment/server');
    await kubectl('-n', world.namespace, 'rollout', 'status', 'deployment/server', '--timeout=120s');
    world.server = await world.podOf('server');
    assert.notEqual(world.server.uid, old.uid);
    const isNew = (packet: PacketEvent, from: number) =>
      isSyn(packet, from) && packet.nat?.[0]?.after.pod?.uid === world.server.uid;
    await told('a SYN to the new pod', labelled, () => `http://${world.clusterIp}/`, isNew);
    assert.deepEqual(
      named.packets.filter((packet) => endpoints(packet).some(({ pod }) => pod?.uid === world.server.uid)),
      [],
    );
  });
});
