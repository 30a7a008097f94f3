import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { KtraceEvent, PacketEvent } from '../../src/event/types.ts';
import { before } from '../support/evidence.ts';
import { until } from '../support/until.ts';
import { kubectl, SKIP } from './support/cluster.ts';
import { IMAGE } from './support/product.ts';
import { World } from './support/world.ts';

/** What `--local` reads of the cluster (docs/install.md). */
const READS = 'pods,services,nodes,endpointslices.discovery.k8s.io';

suite('follow --local in kubectl debug node/…', { skip: SKIP }, () => {
  let world: World;
  let name = '';

  before(async () => {
    world = await World.create();
    name = `${world.namespace}-debug`;
    await kubectl('create', 'clusterrole', name, '--verb=get,list,watch', `--resource=${READS}`);
    await kubectl('create', 'clusterrolebinding', name, `--clusterrole=${name}`, `--serviceaccount=${world.namespace}:default`);
  });
  after(async () => {
    await kubectl('delete', 'clusterrolebinding,clusterrole', name, '--ignore-not-found');
    await world?.close();
  });

  test('shows what the node sees of a pod, by an agent that ends with it', async () => {
    const { namespace, client, server, nodeA, clusterIp } = world;
    const where = ['-n', namespace];
    const follow = [
      'ktrace',
      'follow',
      '--local',
      `pod/${client.name}`,
      ...where,
      '-o',
      'json',
      '-c',
      '2',
      'tcp[tcpflags] & tcp-syn != 0',
    ];
    const said = await kubectl(...where, 'debug', `node/${nodeA}`, `--image=${IMAGE}`, '--profile=sysadmin', '--', ...follow);
    const pod = /node-debugger-\S+/.exec(said)?.[0] ?? '';
    const logs = () => kubectl(...where, 'logs', pod).catch(() => '');
    await until('it follows', async () => /following 1 pod on 1 node/.test(await logs()));
    await world.inPod(client.name, 'curl', '-s', '-o', '/dev/null', `http://${clusterIp}/`);
    await until('it has left', async () => {
      const phase = await kubectl(...where, 'get', 'pod', pod, '-o', 'jsonpath={.status.phase}');
      assert.notEqual(phase, 'Failed', await logs());
      return phase === 'Succeeded';
    });
    const events = (await logs()).split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as KtraceEvent] : []));
    const syn = events.find((event): event is PacketEvent => event.kind === 'packet' && event.tcp?.flags === 'S');
    assert.equal(syn?.src.pod?.uid, client.uid);
    assert.equal(syn?.nat?.[0]?.after.pod?.uid, server.uid);
    assert.deepEqual(syn?.nodes, [nodeA]);
    assert.match(await logs(), /ktrace: 2 packets/);
  });
});
