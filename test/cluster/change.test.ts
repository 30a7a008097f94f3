import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import type { PacketEvent } from '../../src/event/types.ts';
import { waitFor } from '../../src/lab/wait.ts';
import { hopNames } from '../lab/support/events.ts';
import type { KtraceProcess } from '../lab/support/follow-process.ts';
import { getJson, ktrace, kubectl, SKIP, until } from './support/cluster.ts';
import { chainsOnNode, findNetwork, type Network, wayBetween } from './support/network.ts';
import { readyPods } from './support/product.ts';
import { assertSound, beginsToSee, clientPorts, fromPort } from './support/suite.ts';
import { World } from './support/world.ts';

suite('a real cluster that changes while it is followed', { skip: SKIP, timeout: 300_000 }, () => {
  let world: World;
  let network: Network;
  let follow: KtraceProcess;
  const port = clientPorts();

  before(async () => {
    world = await World.create();
    network = await findNetwork(world);
    follow = ktrace('follow', 'deploy/server', '-n', world.namespace, '-o', 'json');
    await beginsToSee(world, follow);
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
    const syn = await until('a SYN to the new pod, told by both nodes', async () => {
      // On a busy machine the agents may learn of the pod after the first request to it.
      const from = port();
      const request = ['curl', '-sS', '-m', '10', '--retry', '10', '--retry-connrefused', '--local-port', String(from)];
      await world.inPod('deploy/client', ...request, `http://${world.clusterIp}/`);
      const isIt = (packet: PacketEvent) => fromPort(from, 'S')(packet) && packet.nodes.length === 2;
      return waitFor(() => follow.packets.find(isIt), 3000, 50);
    });
    const [dnat] = syn.nat ?? [];
    assert.equal(dnat?.after.pod?.uid, world.server.uid);
    assert.equal(dnat.after.pod.name, world.server.name);
    assert.equal(dnat.after.pod.owner, 'Deployment/server');
    const service = { clusterIp: world.clusterIp, port: 80, protocol: 'tcp' } as const;
    assert.deepEqual(dnat.chains, await chainsOnNode(world, network, world.nodeA, service, `${world.server.ip}:8080`));
    assert.deepEqual(hopNames(syn), await wayBetween(world, network, world.client, world.server));
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
    await kubectl('-n', 'ktrace', 'delete', 'pod', agent?.name ?? '', '--wait=true');
    await follow.until('that the agent went', () => follow.notices.some(({ node }) => node === world.nodeB));
    await kubectl('-n', 'ktrace', 'rollout', 'status', 'daemonset/ktrace-agent', '--timeout=120s');
    const from = follow.events.length;
    const pinging = world.inPod('deploy/client', 'ping', '-q', '-i', '0.5', '-w', '60', world.server.ip).catch(() => undefined);
    await follow.until('a ping that both nodes tell', () =>
      follow.events.slice(from).some((event) => event.kind === 'packet' && event.icmp !== undefined && event.nodes.length === 2),
    );
    await world.inPod('deploy/client', 'pkill', 'ping').catch(() => undefined);
    await pinging;
  });
});
