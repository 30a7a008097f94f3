import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { before } from '../../../support/evidence.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { TracedNode } from '../../support/traced-node.ts';

/** Drops are told of the whole kernel: of no other test's pods, which may run beside this one. */
const PODS = '10.19';

suite('several nodes on one kernel', { skip: SKIP }, () => {
  let net: Net;
  before(() => {
    net = twoNodes(PODS);
    net.add('node3');
    net.join(['node3', 'eth0', '192.168.78.3/24'], ['node1', 'eth1', '192.168.78.1/24']);
    net.ip('node3', 'route add default via 192.168.78.1');
  });
  after(() => net.close());

  test('each tell of their own: a third one nothing of two others’ packets and of drops in their pods', async () => {
    const options = { addresses: ['10.19.1.2', '10.19.1.3', '10.19.2.2'], units: 'packets' as const };
    const [first, second, third] = await Promise.all(
      ['node1', 'node2', 'node3'].map((node) => TracedNode.following(net, { node, ...options })),
    );
    assert.ok(net.try('a', 'ping -n -c3 -i0.2 10.19.2.2'));
    // Dropped inside the pods of node 2 and node 1.
    net.try('a', 'echo x > /dev/udp/10.19.2.2/4001');
    net.try('a', 'echo x > /dev/udp/10.19.1.3/4002');
    await first!.packet('the ping', (packet) => packet.icmp?.name === 'echo-reply' && packet.icmp.seq === 3);
    await first!.packet('its own drop', (packet) => packet.drop !== undefined && packet.dst.port === 4002);
    await second!.packet('its own drop', (packet) => packet.drop !== undefined && packet.dst.port === 4001);
    const isForeign = (port: number) => (packet: { drop?: unknown; dst: { port?: number } }) =>
      packet.drop !== undefined && packet.dst.port === port;
    assert.equal(first!.packets().find(isForeign(4001)), undefined, 'a drop in the other node’s pod is not told twice');
    assert.equal(second!.packets().find(isForeign(4002)), undefined);

    const { stats, attached } = await third!.ask('state');
    assert.ok(attached > 0);
    assert.deepEqual([stats.matched, stats.emitted, stats.counted], [0, 0, 0]);
    assert.ok(stats.dropForeign >= 2, `${stats.dropForeign} drops of others were told apart`);
    assert.equal(stats.dropUndecided, 0);
    assert.deepEqual(third!.packets(), []);
    await Promise.all([first, second, third].map((node) => node!.close()));
  });

  test('have the same fingerprint for the same packet', async () => {
    const [first, second] = await Promise.all(
      ['node1', 'node2'].map((node) => TracedNode.following(net, { node, addresses: ['10.19.1.2'] })),
    );
    assert.ok(net.try('a', 'ping -n -c1 10.19.2.2'));
    for (const name of ['echo-request', 'echo-reply']) {
      const [here, there] = await Promise.all(
        [first!, second!].map((node) => node.packet(name, (packet) => packet.icmp?.name === name)),
      );
      assert.equal(here!.fingerprint, there!.fingerprint);
    }
    await Promise.all([first!.close(), second!.close()]);
  });
});
