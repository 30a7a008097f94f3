import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { hopNames } from '../lab/support/events.ts';
import { before } from '../support/evidence.ts';
import { beside, getJson, SKIP } from './support/cluster.ts';
import { chainsOnNode, externalChain, wayBetween } from './support/network.ts';
import { assertSound, clientPorts, type Followed, followWorld, fromPort } from './support/suite.ts';

suite('translations on a real cluster', { skip: SKIP }, () => {
  let followed: Followed;
  // Of its own in every run: an address that was another pod's may still have connections in the nodes' tables.
  const port = clientPorts();

  before(async () => {
    followed = await followWorld();
  });
  after(() => followed?.close());

  /** The client asks for a URL from a port of its own; what it got. */
  const request = (from: number, url: string) =>
    followed.world.inPod('deploy/client', 'curl', '-sSk', '-m', '10', '--local-port', String(from), url);

  test('a request to a Service is told with the endpoint on the other node, the chains that the node has, and its whole way', async () => {
    const from = port();
    const { world, network, follow } = followed;
    assert.match(await request(from, 'http://server/'), /it works/);
    const service = { clusterIp: world.clusterIp, port: 80, protocol: 'tcp' } as const;
    const chains = await chainsOnNode(world, network, world.nodeA, service, `${world.server.ip}:8080`);
    const way = await wayBetween(world, network, world.client, world.server);
    await follow.packet('the SYN', fromPort(from, 'S'), (syn) => {
      const { src, dst, nat } = syn;
      assert.equal(syn.dir, 'request');
      assert.equal(src.ip, world.client.ip);
      assert.equal(src.pod?.uid, world.client.uid);
      assert.equal(src.pod?.owner, 'Deployment/client');
      assert.equal(src.pod?.labels?.['app'], 'client');
      assert.equal(src.pod?.node, world.nodeA);
      assert.equal(dst.ip, world.clusterIp);
      assert.equal(dst.port, 80);
      assert.deepEqual(dst.service, { namespace: world.namespace, name: 'server', port: 'http' });
      assert.equal(nat?.length, 1);
      const [dnat] = nat;
      assert.equal(dnat?.kind, 'dnat');
      assert.equal(dnat.service, `${world.namespace}/server:http`);
      assert.equal(dnat.before.ip, world.clusterIp);
      assert.deepEqual([dnat.after.ip, dnat.after.port], [world.server.ip, 8080]);
      assert.equal(dnat.after.pod?.uid, world.server.uid);
      assert.equal(dnat.after.pod.owner, 'Deployment/server');
      assert.equal(dnat.after.pod.labels?.['app'], 'server');
      assert.equal(dnat.after.pod.node, world.nodeB);
      assert.deepEqual(dnat.chains, chains);
      assert.deepEqual(hopNames(syn), way);
      assert.equal(syn.verdict, 'delivered');
      assert.deepEqual(syn.nodes, [world.nodeA, world.nodeB]);
    });
  });

  test('its reply is told with what it is turned back into, and the whole way back', async () => {
    const from = port();
    const { world, network, follow } = followed;
    await request(from, 'http://server/');
    const way = await wayBetween(world, network, world.server, world.client);
    await follow.packet('the SYN-ACK', fromPort(from, 'SA'), (synAck) => {
      assert.equal(synAck.dir, 'reply');
      assert.equal(synAck.src.pod?.uid, world.server.uid);
      assert.equal(synAck.dst.pod?.uid, world.client.uid);
      assert.equal(synAck.nat?.length, 1);
      const [back] = synAck.nat;
      assert.deepEqual([back?.kind, back?.before.ip, back?.before.port], ['dnat', world.server.ip, 8080]);
      assert.deepEqual([back?.after.ip, back?.after.port], [world.clusterIp, 80]);
      assert.equal(back?.service, `${world.namespace}/server:http`);
      assert.deepEqual(hopNames(synAck), way);
      assert.equal(synAck.verdict, 'delivered');
    });
  });

  test('a question to DNS goes through kube-dns to its pod, and so does the answer', async () => {
    const from = port();
    const { world, network, follow } = followed;
    const name = `server.${world.namespace}.svc.cluster.local`;
    assert.equal((await world.inPod('deploy/client', 'dig', '+short', '-b', `0.0.0.0#${from}`, name)).trim(), world.clusterIp);
    const question = await follow.packet(
      'the question',
      ({ src, proto }) => proto === 'udp' && src.port === from,
      ({ dst, nat, verdict }) => {
        assert.equal(verdict, 'delivered');
        assert.deepEqual([dst.port, dst.service?.name, dst.service?.namespace], [53, 'kube-dns', 'kube-system']);
        assert.equal(nat?.[0]?.after.pod?.namespace, 'kube-system');
        assert.equal(nat[0].after.pod.labels?.['k8s-app'], 'kube-dns');
        assert.ok(nat[0].chains !== undefined);
      },
    );
    const [dnat] = question.nat ?? [];
    assert.ok(dnat !== undefined);
    const service = { clusterIp: question.dst.ip, port: 53, protocol: 'udp' } as const;
    const endpoint = `${dnat.after.ip}:${dnat.after.port}`;
    assert.deepEqual(dnat.chains, await chainsOnNode(world, network, world.nodeA, service, endpoint));
    await follow.packet(
      'the answer',
      ({ dst, dir }) => dir === 'reply' && dst.port === from,
      ({ nat }) => assert.equal(nat?.[0]?.after.ip, question.dst.ip),
    );
  });

  test('a NodePort from outside is told with the Service, its endpoint and the masquerade by the node', async () => {
    const from = port();
    const { world, network, follow } = followed;
    const nodeIp = world.nodes.get(world.nodeA) ?? '';
    const { stdout } = await beside([
      'curl',
      '-sS',
      '-m',
      '10',
      '--local-port',
      String(from),
      `http://${nodeIp}:${world.nodePort}/`,
    ]);
    assert.match(stdout, /it works/);
    const chain = await externalChain(world, network, world.nodeA, world.nodePort);
    await follow.packet(
      'the SYN from outside',
      ({ src, tcp }) => src.port === from && tcp?.flags === 'S',
      (syn) => {
        assert.equal(syn.verdict, 'delivered');
        assert.equal(syn.src.world, true);
        assert.deepEqual(syn.dst, { ip: nodeIp, port: world.nodePort, node: world.nodeA });
        assert.deepEqual(
          syn.nat?.map(({ kind }) => kind),
          ['dnat', 'snat'],
        );
        const [dnat, snat] = syn.nat;
        assert.equal(dnat?.after.pod?.uid, world.server.uid);
        assert.equal(dnat.service, `${world.namespace}/server:http`);
        assert.equal(dnat.chains?.at(0), chain);
        assert.equal(snat?.after.node, world.nodeA);
        assert.deepEqual(syn.nodes, [world.nodeA, world.nodeB]);
      },
    );
  });

  test('a pod that reaches itself through its Service is masqueraded, and told as itself', async () => {
    const from = port();
    const { world, follow } = followed;
    await world.inPod('deploy/server', 'curl', '-sS', '-m', '10', '--local-port', String(from), `http://${world.clusterIp}/`);
    const own = `${world.nodeB}/${await world.hostInterface(world.server)}`;
    await follow.packet(
      'the SYN to itself',
      ({ src, tcp }) => src.port === from && tcp?.flags === 'S',
      (syn) => {
        assert.equal(syn.verdict, 'delivered');
        assert.equal(syn.src.pod?.uid, world.server.uid);
        assert.equal(syn.dst.service?.name, 'server');
        assert.deepEqual(
          syn.nat?.map(({ kind }) => kind),
          ['dnat', 'snat'],
        );
        const [dnat, snat] = syn.nat;
        assert.equal(dnat?.after.pod?.uid, world.server.uid);
        assert.equal(snat?.after.node, world.nodeB);
        assert.deepEqual([hopNames(syn)[0], hopNames(syn).at(-1)], [`${own} in`, `${own} out`]);
      },
    );
  });

  test('a request to the API server goes out of the cluster through the Service kubernetes', async () => {
    const from = port();
    const { world, network, follow } = followed;
    await request(from, 'https://kubernetes.default.svc/livez');
    const { subsets } = await getJson<{ subsets: { addresses: { ip: string }[]; ports: { port: number }[] }[] }>(
      'endpoints',
      'kubernetes',
      '-n',
      'default',
    );
    const [ip, apiPort] = [subsets[0]?.addresses[0]?.ip ?? '', subsets[0]?.ports[0]?.port ?? 0];
    const syn = await follow.packet('the SYN to the API server', fromPort(from, 'S'), (packet) => {
      assert.equal(packet.verdict, 'forwarded');
      assert.deepEqual(packet.dst.service, { namespace: 'default', name: 'kubernetes', port: 'https' });
      assert.deepEqual(
        packet.nat?.map(({ kind }) => kind),
        ['dnat', 'snat'],
      );
      const [dnat, snat] = packet.nat;
      assert.deepEqual([dnat?.after.ip, dnat?.after.port], [ip, apiPort]);
      assert.equal(dnat?.service, 'default/kubernetes:https');
      assert.ok(dnat.chains !== undefined);
      assert.equal(snat?.after.ip, world.nodes.get(world.nodeA));
      assert.equal(snat?.after.node, world.nodeA);
      assert.equal(hopNames(packet).at(-1), `${world.nodeA}/${network.uplink} out`);
    });
    const service = { clusterIp: syn.dst.ip, port: 443, protocol: 'tcp' } as const;
    assert.deepEqual(syn.nat?.[0]?.chains, await chainsOnNode(world, network, world.nodeA, service, `${ip}:${apiPort}`));
  });

  test("a node's own address is the node, not the pod of the host's network that happens to listen there", async () => {
    const from = port();
    const { world, network, follow } = followed;
    const kubelet = world.nodes.get(world.nodeB) ?? '';
    await request(from, `https://${kubelet}:10250/healthz`);
    await follow.packet('the SYN to the kubelet', fromPort(from, 'S'), (syn) => {
      assert.equal(syn.verdict, 'forwarded');
      assert.deepEqual(syn.dst, { ip: kubelet, port: 10_250, node: world.nodeB });
      // Beyond the uplink it bears the first node's address, and is nothing to the followed pods.
      const [snat] = syn.nat ?? [];
      assert.deepEqual([snat?.kind, snat?.after.node], ['snat', world.nodeA]);
      assert.equal(hopNames(syn).at(-1), `${world.nodeA}/${network.uplink} out`);
    });
  });

  test('all that was told is sound: nothing twice, nothing lost, no node taken for a pod', () => assertSound(followed));
});
