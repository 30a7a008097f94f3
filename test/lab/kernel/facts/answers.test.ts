import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { PacketEvent } from '../../../../src/event/types.ts';
import { before } from '../../../support/evidence.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { TracedNode, way } from '../../support/traced-node.ts';

const CLIENT = '10.9.1.2';
const SERVER = '10.9.2.2';
/** Node2 swallows what is sent there, and says nothing. */
const NOBODY = '203.0.113.9';
const FULL_PORT = 9000;

const isTo = (ip: string, port: number) => (packet: PacketEvent) => packet.dst.ip === ip && packet.dst.port === port;
const isUnanswered = ({ unanswered }: PacketEvent) => unanswered !== undefined;

suite('what nobody answers', { skip: SKIP }, () => {
  let net: Net;
  before(async () => {
    net = twoNodes();
    net.ip('node2', 'route add blackhole 203.0.113.0/24');
    await net.serve('c');
  });
  after(() => net.close());

  test('a SYN and a DNS query that a blackhole beyond the node swallows are told again, with where they were last seen', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT] });
    net.try('a', `echo x > /dev/udp/${NOBODY}/53; echo x > /dev/udp/${NOBODY}/514; timeout 1.8 bash -c '</dev/tcp/${NOBODY}/80'`);
    net.try('a', `echo > /dev/tcp/${SERVER}/8080`);
    const syn = await node.packet('the SYN’s end', (packet) => isTo(NOBODY, 80)(packet) && isUnanswered(packet));
    assert.deepEqual([syn.tcp?.flags, syn.unanswered?.ms, way(syn)], ['S', 1000, 'veth-a in, eth0 out']);
    const query = await node.packet('the query’s end', (packet) => isTo(NOBODY, 53)(packet) && isUnanswered(packet));
    assert.deepEqual([query.unanswered, way(query)], [{ ms: 5000 }, 'veth-a in, eth0 out']);
    assert.deepEqual(
      node
        .packets()
        .filter(isUnanswered)
        .map(({ dst }) => dst.port)
        .sort(),
      [53, 80],
      'neither what was answered nor the datagram that needs no answer',
    );
    await node.close();
  });

  test('a SYN whose answer the follower’s filter leaves out was answered', async () => {
    const filter = 'tcp[tcpflags] = tcp-syn';
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT], filter });
    net.try('a', `echo > /dev/tcp/${SERVER}/8080; timeout 1.8 bash -c '</dev/tcp/${NOBODY}/81'`);
    await node.packet('the other SYN’s end', (packet) => isTo(NOBODY, 81)(packet) && isUnanswered(packet));
    const [answered] = node.packets().filter(isTo(SERVER, 8080));
    assert.deepEqual([answered?.tcp?.flags, answered?.unanswered], ['S', undefined]);
    await node.close();
  });

  test('a SYN that a listener’s full queue swallows is delivered, and has no answer', async () => {
    const listener = net.spawn('c', [
      process.execPath,
      '-e',
      `require('node:net').createServer().listen({ port: ${FULL_PORT}, host: '0.0.0.0', backlog: 1 }, () =>
        process.send('ready', () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)))`,
    ]);
    await new Promise((resolve) => listener.once('message', resolve));
    const node = await TracedNode.following(net, { node: 'node2', addresses: [SERVER] });
    net.try('a', `for i in 1 2 3 4; do timeout 1.8 bash -c 'exec 3<>/dev/tcp/${SERVER}/${FULL_PORT}; sleep 2' & done; wait`);
    const syn = await node.packet('a SYN’s end', (packet) => isTo(SERVER, FULL_PORT)(packet) && isUnanswered(packet));
    assert.deepEqual([syn.verdict, way(syn)], ['delivered', 'eth0 in, veth-c out']);
    listener.kill('SIGKILL');
    await node.close();
  });
});
