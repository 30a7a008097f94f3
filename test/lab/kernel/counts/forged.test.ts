import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { before } from '../../../support/evidence.ts';
import { until, untilHolds } from '../../../support/until.ts';
import { isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { TracedNode, way } from '../../support/traced-node.ts';
import { datagrams, isFlow } from './flows-net.ts';

suite('a pod that sends under another one’s address', { skip: SKIP }, () => {
  const [A, C, UPLINK] = ['10.9.1.2', '10.9.2.2', '192.168.77.1'];
  let net: Net;
  before(async () => {
    net = twoNodes();
    net.ip('b', `addr add ${A}/32 dev lo`);
    await Promise.all([net.serve('c'), net.serve('node1')]);
  });
  after(() => net?.close());

  for (const [what, from, address, port, to, answers] of [
    // The answer to the forged one as well goes to whose the address is.
    ['comes in from another node to this one', 'c', C, 40_056, UPLINK, 8],
    // The kernel takes nothing in that says it is from itself.
    ['the node sends', 'node1', UPLINK, 40_057, C, 7],
  ] as const) {
    test(`does not stop the counts of what ${what}`, async () => {
      const node = await TracedNode.following(net, { node: 'node1', addresses: [address] });
      net.ip('b', `addr add ${address}/32 dev lo`);
      const send = (sender: string, n: number) =>
        net.exec(
          sender,
          'perl',
          '-MSocket',
          '-e',
          `socket(my $s, AF_INET, SOCK_DGRAM, 0); bind($s, sockaddr_in(${port}, inet_aton('${address}'))) or die $!;
          for (1 .. ${n}) { send($s, 'x' x $_, 0, sockaddr_in(5353, inet_aton('${to}'))) or die $!; }`,
        );
      send(from, 3);
      send('b', 1);
      send(from, 4);
      net.ip('b', `addr del ${address}/32 dev lo`);
      const flow = await until(
        'the flow is told with its counts',
        () => node.events.filter(isFlow).find(({ state, src }) => state === 'update' && src.port === port),
        20_000,
      );
      assert.deepEqual(flow.packets, { request: 7, reply: answers });
      const { stats } = await node.close();
      assert.ok(isAccounted(stats), JSON.stringify(stats));
    });
  }

  test('hides nothing of that pod’s flow, whoever was first, and is not counted into it', async () => {
    // Answers come when nobody listens any more. An error about one would have an entry of its own, which has gone on a fast machine by the end.
    net.exec('a', 'iptables', '-A', 'OUTPUT', '-p', 'icmp', '-j', 'DROP');
    const node = await TracedNode.following(net, { node: 'node1', addresses: [A] });
    const send = (pod: string, n: number) => net.exec(pod, ...datagrams(A, C, 5353, n));
    const ways = () =>
      node
        .packets()
        .filter(({ dst, hops }) => dst.port === 5353 && hops.length > 0)
        .map(way);
    send('b', 5);
    await untilHolds('its first is told', () => assert.deepEqual(ways(), ['veth-b in, eth0 out']));
    send('a', 3);
    await untilHolds('so is the other’s, where it was not seen yet', () =>
      assert.deepEqual(ways(), ['veth-b in, eth0 out', 'veth-a in']),
    );
    send('b', 2);
    send('a', 2);
    await untilHolds('the flow is told with its counts', () => {
      const flow = node.events.filter(isFlow).findLast(({ state, dst }) => state === 'update' && dst.port === 5353);
      assert.deepEqual(flow?.packets, { request: 5, reply: 12 });
    });
    assert.equal(ways().length, 2, 'nothing was new any more');
    const { stats, flowEntries } = await node.ask('state');
    assert.equal(flowEntries, 3, 'the second interface’s is one of its own');
    assert.ok(isAccounted(stats), JSON.stringify(stats));
    await node.close();
  });
});
