import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { hopNames } from '../lab/support/events.ts';
import { before } from '../support/evidence.ts';
import type { KtraceProcess } from '../support/ktrace-process.ts';
import { getJson, ktrace, kubectl, SKIP } from './support/cluster.ts';
import { chainsToServer, findNetwork, type Network, wayBetween } from './support/network.ts';
import { readyPods } from './support/product.ts';
import { assertSound, clientPorts, follows, fromPort } from './support/suite.ts';
import { World } from './support/world.ts';

suite('a real cluster that changes while it is followed', { skip: SKIP }, () => {
  let world: World;
  let network: Network;
  let follow: KtraceProcess;
  const port = clientPorts();

  before(async () => {
    world = await World.create();
    network = await findNetwork(world);
    follow = ktrace('follow', 'deploy/server', '-n', world.namespace, '-o', 'json');
    await follows(follow, world.server);
  });
  after(async () => {
    await follow?.interrupt();
    await world?.close();
  });

  test('a Deployment that is rolled is followed on in its new pod, under its new name', async () => {
    const old = world.server;
    await kubectl('-n', world.namespace, 'rollout', 'restart', 'deployment/server');
    await kubectl('-n', world.namespace, 'rollout', 'status', 'deployment/server', '--timeout=120s');
    world.server = await world.podOf('server');
    assert.notEqual(world.server.uid, old.uid);
    await follows(follow, world.server);
    const chains = await chainsToServer(world, network, old);
    const way = await wayBetween(world, network, world.client, world.server);
    const from = port();
    await world.inPod('deploy/client', 'curl', '-sS', '-m', '10', '--local-port', String(from), `http://${world.clusterIp}/`);
    await follow.packet('the SYN to the new pod', fromPort(from, 'S'), (syn) => {
      const [dnat] = syn.nat ?? [];
      assert.equal(dnat?.after.pod?.uid, world.server.uid);
      assert.equal(dnat.after.pod.name, world.server.name);
      assert.equal(dnat.after.pod.owner, 'Deployment/server');
      assert.deepEqual(dnat.chains, chains);
      assert.deepEqual(hopNames(syn), way);
    });
  });

  test('a pod that never matched is not shown, though its node carries the followed ones', async () => {
    const { items } = await getJson<{ items: { metadata: { uid: string } }[] }>('pods', '-n', world.namespace);
    const ours = new Set(items.map(({ metadata }) => metadata.uid));
    const strangers = follow.packets.filter(
      ({ src, dst, nat }) =>
        ![src, dst, ...(nat ?? []).flatMap(({ before: one, after: other }) => [one, other])].some(
          ({ pod, service }) =>
            pod?.owner === 'Deployment/server' || (pod !== undefined && ours.has(pod.uid)) || service?.name === 'server',
        ),
    );
    assert.deepEqual(strangers, []);
  });

  test('all that was told is sound: nothing twice, no node taken for a pod', () => assertSound({ world, follow }));

  test('an agent that is deleted is back in the follow when its DaemonSet has replaced it', async () => {
    const agent = (await readyPods('agent')).find(({ node }) => node === world.nodeB);
    await kubectl('-n', 'ktrace-agents', 'delete', 'pod', agent?.name ?? '', '--wait=true');
    await follow.following(({ missing }) => missing.includes(world.nodeB));
    await kubectl('-n', 'ktrace-agents', 'rollout', 'status', 'daemonset/ktrace-agent', '--timeout=120s');
    await follow.following();
    await world.inPod('deploy/client', 'ping', '-c', '1', '-s', '79', '-W', '5', world.server.ip);
    await follow.packet(
      'the ping',
      ({ icmp, len }) => icmp?.name === 'echo-request' && len === 79 + 28,
      ({ nodes }) => assert.deepEqual(nodes, [world.nodeA, world.nodeB]),
    );
  });
});
