import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { PacketEvent } from '../../../../src/event/types.ts';
import { before } from '../../../support/evidence.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { Net } from '../../support/net.ts';
import { TracedNode } from '../../support/traced-node.ts';

const MDNS = '224.0.0.251';
const SOLICITED = 'ff02::1:ff00:3';

/** Pods d, e and f at a node's bridge: 10.9.5.2 to .4 and fd00:9:5::2 to ::4; d is followed. */
suite('what a bridge floods', { skip: SKIP }, () => {
  const net = new Net();
  let node: TracedNode;
  before(async () => {
    net.add('node1', 'd', 'e', 'f');
    net.ip('node1', 'link add cni0 type bridge; link set cni0 up; addr add 10.9.5.1/24 dev cni0');
    net.ip('node1', 'addr add fd00:9:5::1/64 dev cni0 nodad');
    for (const [at, pod] of ['d', 'e', 'f'].entries()) {
      net.join(['node1', `veth-${pod}`, `169.254.9.${at}/32`], [pod, 'eth0', `10.9.5.${at + 2}/24`]);
      net.ip('node1', `addr del 169.254.9.${at}/32 dev veth-${pod}; link set veth-${pod} master cni0`);
      net.ip(pod, `addr add fd00:9:5::${at + 2}/64 dev eth0 nodad; route add default via 10.9.5.1`);
    }
    const script = `const socket = require('node:dgram').createSocket({ type: 'udp4', reuseAddr: true });
      socket.bind(5353, () => { socket.addMembership('${MDNS}'); process.send('ready'); });`;
    const child = net.spawn('e', [process.execPath, '-e', script]);
    await new Promise((resolve) => child.once('message', resolve));
    node = await TracedNode.following(net, { node: 'node1', addresses: ['10.9.5.2', 'fd00:9:5::2'] });
  });
  after(() => net.close());

  const isTo = (ip: string) => (packet: PacketEvent) => packet.dst.ip === ip;
  const rule = (action: string) => net.exec('node1', 'nft', ...action.split(' '));
  const ping6 = () => net.try('d', 'ip -6 neigh flush dev eth0; ping -n -6 -c1 -W1 fd00:9:5::3');

  test('as multicast is delivered to the pod that listens, whatever the others do with their copies', async () => {
    net.try('d', `echo x > /dev/udp/${MDNS}/5353`);
    await node.packet('the datagram', isTo(MDNS), ({ verdict, drop }) =>
      assert.deepEqual([verdict, drop], ['delivered', undefined]),
    );
  });

  test('as a neighbour solicitation is delivered to the pod whose address it is', async () => {
    assert.ok(ping6());
    await node.packet('the solicitation', isTo(SOLICITED), ({ verdict, drop }) =>
      assert.deepEqual([verdict, drop], ['delivered', undefined]),
    );
  });

  test('and a rule drops is told with the rule’s reason; the ping that waited for it is dropped, an earlier one alike is not', async () => {
    const answered = await node.packet('the answered ping', ({ icmp }) => icmp?.name === 'echo-request');
    // Where the kernel's function can be seen it is known to have answered.
    const { hooks } = await node.ask('state');
    const arrived = hooks.some(({ name, state }) => name === 'icmp6-echo' && state === 'on') ? 'answered' : 'delivered';
    assert.equal(answered.verdict, arrived);
    rule('add table bridge ktt');
    rule('add chain bridge ktt forwarded { type filter hook forward priority filter; }');
    rule('add rule bridge ktt forwarded icmpv6 type nd-neighbor-solicit drop');
    assert.ok(!ping6());
    await node.packet(
      'the solicitation that was dropped',
      (packet) => isTo(SOLICITED)(packet) && packet.verdict === 'dropped',
      ({ drop }) => assert.equal(drop?.reason, 'NETFILTER_DROP'),
    );
    const lost = await node.packet('the ping', ({ icmp, verdict }) => icmp?.name === 'echo-request' && verdict === 'dropped');
    assert.notEqual(lost.id, answered.id);
    assert.equal(node.packets().find(({ id }) => id === answered.id)?.verdict, arrived);
  });
});
