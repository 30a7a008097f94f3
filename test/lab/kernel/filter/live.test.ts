import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { FlowEvent, PacketEvent } from '../../../../src/event/types.ts';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { TracedNode } from '../../support/traced-node.ts';

const SENT = 20;

suite('a follow whose filter the kernel decides', { skip: SKIP }, () => {
  let net: Net;
  before(() => {
    net = twoNodes();
  });
  after(() => net.close());

  const start = (filter: string, units: 'flows' | 'packets' = 'packets') =>
    TracedNode.following(net, { node: 'node1', addresses: ['10.9.1.2'], units, filter });
  const ping = (count = 1) => assert.ok(net.try('a', `ping -n -i0.01 -c${count} -W2 10.9.1.3`));
  /** To the other pod, where somebody listens or not. */
  const datagrams = (port: number) =>
    assert.ok(net.try('a', `for i in $(seq ${SENT}); do echo x > /dev/udp/10.9.1.3/${port}; done`));
  const isUdp = ({ proto }: PacketEvent) => proto === 'udp';

  test('is not told what it cannot take, and nothing is attached anew when it is changed', async (t) => {
    const node = await start('icmp');
    const first = await node.ask('state');
    assert.equal(first.kernelFilter, 'icmp');
    datagrams(7001);
    ping();
    await node.packet('the reply', ({ icmp }) => icmp?.name === 'echo-reply');
    const asIcmp = await node.ask('state');
    assert.ok(asIcmp.stats.filtered >= SENT, `${asIcmp.stats.filtered} were left out`);
    // What is told of a datagram is its drop at the closed port, which the kernel is not asked about.
    assert.deepEqual(
      node.packets().filter((one) => isUdp(one) && one.hops.length > 0),
      [],
    );

    const changed = await node.ask({ filter: 'inner udp' });
    t.diagnostic(`changed in ${changed.tookMs.toFixed(1)} ms`);
    assert.equal(changed.kernelFilter, 'inner udp');
    datagrams(7002);
    await until('every datagram after the change is told', () => told(node, 7002).length === SENT);
    assert.deepEqual(told(node, 7001), [], 'none from before it');
    const last = await node.ask('state');
    assert.deepEqual(last.programIds, first.programIds);
    assert.deepEqual(last.attachedAtMs, first.attachedAtMs);
    assert.ok(isAccounted(last.stats), JSON.stringify(last.stats));
    await node.close();
  });

  test('that is changed all the time loses none of the packets that both filters take', async () => {
    const node = await start('inner udp');
    for (let count = 0; count < SENT; count++) {
      await node.ask({ filter: count % 2 === 0 ? 'inner udp or icmp' : 'inner udp or sctp' });
      assert.ok(net.try('a', 'echo x > /dev/udp/10.9.1.3/7003'));
    }
    await until('every datagram is told', () => told(node, 7003).length === SENT);
    await node.close();
  });

  test('by flags is told the first packet of each flow, and by ICMP types both packets of a ping with the time between', async () => {
    const node = await start('tcp[tcpflags] & tcp-rst != 0 and icmp[0] = 3');
    // Nobody listens: a SYN and a reset.
    net.try('a', 'exec 3<>/dev/tcp/10.9.1.3/7004');
    ping();
    await node.ask({ filter: 'tcp[tcpflags] & tcp-rst != 0 or icmp[icmptype] = icmp-unreach' });
    net.try('a', 'exec 3<>/dev/tcp/10.9.1.3/7004');
    await node.packet(
      'the reset, as the reply that it is',
      ({ tcp, dir }) => tcp?.flags.includes('R') === true && dir === 'reply',
    );
    ping();
    await node.packet('the reply', ({ icmp }) => icmp?.name === 'echo-reply' && icmp.rttUs !== undefined);
    await node.close();
  });

  test('counts in its flows every packet, told or not', async () => {
    const node = await start('inner udp or icmp', 'flows');
    datagrams(7005);
    await node.packet('the first', (one) => one.dst.port === 7005);
    await node.ask('unfollow');
    const flows = node.events.filter((event): event is FlowEvent => event.kind === 'flow' && event.dst.port === 7005);
    const sum = await until('the flows are closed', () => flows.length > 0 && flows.length);
    assert.ok(sum >= 1);
    await node.close();
  });
});

function told(node: TracedNode, port: number): PacketEvent[] {
  return node.packets().filter(({ dst, hops }) => dst.port === port && hops.length > 0);
}
