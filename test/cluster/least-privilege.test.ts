import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { before } from '../support/evidence.ts';
import { SKIP } from './support/cluster.ts';
import { deploy } from './support/product.ts';
import { assertSound, clientPorts, type Followed, followWorld, fromPort } from './support/suite.ts';

/** Bits of include/uapi/linux/capability.h: NET_ADMIN, PERFMON, BPF. */
const NEEDED = (1n << 12n) | (1n << 38n) | (1n << 39n);

suite('an agent without privileges beyond the capabilities that it needs', { skip: SKIP }, () => {
  let followed: Followed;
  const port = clientPorts();

  before(async () => {
    await deploy('overlays/least-privilege');
    followed = await followWorld();
  });
  after(async () => {
    await followed?.close();
    await deploy('base');
  });

  test('holds three capabilities, and its root cannot be written to', async () => {
    const { world } = followed;
    const agent = (await world.onNode(world.nodeA, 'pgrep', '-of', 'ktrace agent')).trim();
    const status = await world.onNode(world.nodeA, 'cat', `/proc/${agent}/status`);
    for (const set of ['CapPrm', 'CapEff', 'CapBnd']) {
      const held = new RegExp(`^${set}:\\s+([0-9a-f]+)$`, 'm').exec(status)?.[1];
      assert.equal(BigInt(`0x${held}`), NEEDED, set);
    }
    assert.match(status, /^NoNewPrivs:\s+1$/m);
    const [root = ''] = (await world.onNode(world.nodeA, 'cat', `/proc/${agent}/mounts`))
      .split('\n')
      .filter((line) => / \/ /.test(line));
    assert.match(root, / ro,/);
  });

  test('tells translations, drops and the places of drops as a privileged one does', async () => {
    const { world, follow } = followed;
    const [first, second] = [port(), port()];
    await world.inPod('deploy/client', 'curl', '-sS', '-m', '10', '--local-port', String(first), `http://${world.clusterIp}/`);
    await follow.packet('the SYN', fromPort(first, 'S'), ({ nat, nodes }) => {
      assert.deepEqual(nodes, [world.nodeA, world.nodeB]);
      assert.equal(nat?.[0]?.after.pod?.uid, world.server.uid);
      assert.equal(nat[0].service, `${world.namespace}/server:http`);
    });
    const closed = `curl -sS -m 2 --local-port ${second} http://${world.server.ip}:9998/ 2>&1; true`;
    await world.inPod('deploy/client', 'sh', '-c', closed);
    await follow.packet('the drop', fromPort(second, 'S'), ({ drop }) => {
      assert.deepEqual(drop?.reason, 'NO_SOCKET');
      assert.equal(drop.at, 'tcp_v4_rcv');
    });
  });

  test('all that was told is sound: nothing twice, nothing lost, no node taken for a pod', () => assertSound(followed));
});
