import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import type { Net } from '../../support/net.ts';
import type { TracedNode } from '../../support/traced-node.ts';
import { closed, followingClient, isFlow, SERVER, serviceNodes } from './flows-net.ts';

/** Fewer in the VM, whose processor is emulated: there the tests are plain JavaScript. */
const CONNECTIONS = import.meta.url.endsWith('.ts') ? 10_000 : 500;
/** More than two segments. */
const CONNECTION_BYTES = 4000;

/** So many connections, a hundred at a time, from ports of their own, each of which sends this much and waits until it has come back. */
const CONNECT = `const { connect } = require('node:net');
  let left = ${CONNECTIONS};
  const next = () => {
    if (left-- <= 0) return;
    let came = 0;
    const socket = connect({ port: 8080, host: '${SERVER}', localPort: 20000 + left }, () => socket.write(Buffer.alloc(${CONNECTION_BYTES}, 'x')));
    socket.on('data', (bytes) => { came += bytes.length; if (came === ${CONNECTION_BYTES}) socket.end(); });
    socket.on('close', next);
  };
  for (let at = 0; at < 100; at++) next();`;

suite('the table of flows, where a packet passes four interfaces of a node', { skip: SKIP }, () => {
  let net: Net;
  before(async () => {
    net = await serviceNodes();
  });
  after(() => net?.close());

  test('counts a connection’s packets once, and on both nodes the same', async (t) => {
    const nodes = [await followingClient(net, 'node1'), await followingClient(net, 'node2')];
    assert.ok(
      net.try('a', `exec 3<>/dev/tcp/${SERVER}/8080; head -c 500000 /dev/zero >&3; head -c 500000 <&3 > /dev/null; exec 3>&-`),
    );
    const counted = await Promise.all(
      nodes.map((node) =>
        until('its end', () =>
          node.events.filter(isFlow).find(({ state, proto, dst }) => state === 'close' && proto === 'tcp' && dst.port === 8080),
        ),
      ),
    );
    t.diagnostic(JSON.stringify(counted.map(({ packets, bytes }) => ({ packets, bytes }))));
    assert.deepEqual(counted[0]?.packets, counted[1]?.packets);
    assert.ok(counted[0]!.packets.request > 500_000 / 1500 && counted[0]!.packets.request < 2000);
    assert.ok(counted[0]!.bytes.request > 500_000 && counted[0]!.bytes.request < 700_000);
    for (const node of nodes) await node.close();
  });

  test('counts thousands of connections in VXLAN, their segments merged, on both nodes the same', async (t) => {
    const nodes = [
      await followingClient(net, 'node1', { ringBytes: 64 << 20, flowEntries: 262_144 }),
      await followingClient(net, 'node2', { ringBytes: 64 << 20, flowEntries: 262_144 }),
    ];
    const client = net.spawn('a', [process.execPath, '-e', CONNECT]);
    assert.equal(await new Promise((resolve) => client.once('exit', resolve)), 0);
    const ended = (node: TracedNode) =>
      new Map(closed(node).flatMap((flow) => (flow.proto === 'tcp' && flow.dst.port === 8080 ? [[flow.src.port, flow]] : [])));
    for (const node of nodes) {
      await until(
        'all have ended',
        async () => ended(node).size === CONNECTIONS || (await node.ask('state')).stats.lostRing > 0,
        90_000,
      );
    }
    const [asking, answering] = nodes.map(ended) as [ReturnType<typeof ended>, ReturnType<typeof ended>];
    let compared = 0;
    for (const [port, { packets, bytes }] of asking) {
      assert.ok(bytes.request > CONNECTION_BYTES && bytes.reply > CONNECTION_BYTES, JSON.stringify(bytes));
      const other = answering.get(port);
      if (other === undefined) continue;
      assert.deepEqual([other.packets, other.bytes], [packets, bytes]);
      compared += 1;
    }
    const lost = await Promise.all(nodes.map(async (node) => (await node.ask('state')).stats.lostRing));
    t.diagnostic(`${compared} of ${CONNECTIONS} held against each other; lost ${lost}`);
    if (lost.every((count) => count === 0)) assert.equal(compared, CONNECTIONS);
    assert.ok(compared > 0);
    for (const node of nodes) assert.ok(isAccounted((await node.close()).stats));
  });
});
