import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, suite, test } from 'node:test';
import { hopNames } from '../lab/support/events.ts';
import { before } from '../support/evidence.ts';
import { until } from '../support/until.ts';
import { apply, SKIP } from './support/cluster.ts';
import { assertSound, clientPorts, type Followed, followWorld, fromPort } from './support/suite.ts';

/** Calico's name for a pod's interface: `cali` and the first 11 digits of the SHA-1 of its name. */
function calicoInterface(namespace: string, pod: string): string {
  return `cali${createHash('sha1').update(`${namespace}.${pod}`).digest('hex').slice(0, 11)}`;
}

suite('a NetworkPolicy on a real cluster', { skip: SKIP }, () => {
  let followed: Followed;
  const port = clientPorts();

  before(async () => {
    followed = await followWorld();
  });
  after(() => followed?.close());

  test('a packet that it refuses is told as dropped by netfilter, on the node of the pod that it guards', async (t) => {
    const { world, follow } = followed;
    const iface = await world.hostInterface(world.server);
    if (!iface.startsWith('cali')) return t.skip('this pod network enforces no NetworkPolicy');
    assert.equal(iface, calicoInterface(world.namespace, world.server.name));
    await apply([
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'server', namespace: world.namespace },
        spec: {
          podSelector: { matchLabels: { app: 'server' } },
          policyTypes: ['Ingress'],
          ingress: [{ ports: [{ port: 8080 }] }],
        },
      },
    ]);
    const dropped = await until('the drop', async () => {
      await world.inPod('deploy/client', 'sh', '-c', `curl -sS -m 1 http://${world.server.ip}:9999/ || true`);
      return follow.packets.find(({ dst, tcp, drop }) => dst.port === 9999 && tcp?.flags === 'S' && drop !== undefined);
    });
    await follow.packet(
      'the same, by both nodes',
      ({ id }) => id === dropped.id,
      (packet) => {
        assert.equal(packet.drop?.reason, 'NETFILTER_DROP');
        assert.equal(packet.verdict, 'dropped');
        assert.equal(packet.src.pod?.uid, world.client.uid);
        assert.equal(packet.dst.pod?.uid, world.server.uid);
        assert.deepEqual(packet.nodes, [world.nodeA, world.nodeB]);
        assert.equal(hopNames(packet)[0], `${world.nodeA}/${calicoInterface(world.namespace, world.client.name)} in`);
        assert.ok(!hopNames(packet).includes(`${world.nodeB}/${iface} out`));
      },
    );
  });

  test('a packet that it allows comes through', async () => {
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
    await follow.packet('the SYN', fromPort(from, 'S'), ({ verdict }) => assert.equal(verdict, 'delivered'));
  });

  test('all that was told is sound: nothing twice, nothing lost, no node taken for a pod', () => assertSound(followed));
});
