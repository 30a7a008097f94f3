import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { LostStage } from '../../../../src/event/types.ts';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { TracedNode } from '../../support/traced-node.ts';

/** Sends datagrams, one after the other, COUNT of them or for so many ms, and prints how many the kernel took. */
const GENERATOR = `
  const socket = require('node:dgram').createSocket('udp4');
  const [, count, ms] = process.argv.map(Number);
  const end = performance.now() + ms;
  let sent = 0;
  const next = (error) => {
    if (error) throw error;
    // As text: a number may be printed in colour.
    if (sent === count || performance.now() >= end) return process.stdout.write(String(sent)), socket.close();
    socket.send('x'.repeat(18), 9, '10.9.1.3', (error) => { sent += 1; next(error); });
  };
  next();
`;

suite('a flood that overruns the ring', { skip: SKIP }, () => {
  let net: Net;
  before(() => {
    net = twoNodes();
    // Each datagram ends in the pod in a way that is seen once.
    net.exec('b', 'iptables', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '-j', 'DROP');
  });
  after(() => net.close());

  const send = (count: number, ms: number): number =>
    Number(net.exec('a', process.execPath, '-e', GENERATOR, String(count), String(ms)));

  test('is accounted for to the last packet, against the generator’s own count, and the loss is told', async (t) => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: ['10.9.1.2'], units: 'packets', ringBytes: 4096 });
    assert.ok(net.try('a', 'ping -n -c1 -W2 10.9.1.3'));
    const first = (await node.ask('state')).stats;
    const sent = send(Number.POSITIVE_INFINITY, 1000);
    assert.ok(sent > 100, `${sent} sent`);
    const { stats, misses, malformed } = await node.ask('state');
    t.diagnostic(JSON.stringify({ sent, ...stats, misses }));
    assert.ok(isAccounted(stats), JSON.stringify(stats));
    // In at the sender's veth, out at the receiver's, dropped in the receiver's namespace.
    const matched = stats.matched - first.matched;
    assert.ok(
      matched <= sent * 3 && matched >= sent * 3 - misses,
      `${matched} of ${sent * 3} matched, ${misses} recursion misses`,
    );
    assert.ok(stats.lostRing > 0, 'the ring was overrun');
    assert.ok(stats.emitted > 0);
    assert.equal(malformed, 0);
    const { counts } = await until('everything that was emitted is read', async () => {
      const state = await node.ask('state');
      return state.counts.sightings === state.stats.emitted ? state : undefined;
    });
    assert.equal(counts.sightings, stats.emitted);
    const lost = (stage: LostStage) =>
      node.events.reduce((sum, event) => sum + (event.kind === 'lost' && event.stage === stage ? event.count : 0), 0);
    await until('the loss is told to its last packet', () => lost('kernel-ring') === stats.lostRing);
    // A count of the machine's, which other traffic may raise until nobody follows any more.
    await until(
      'so is what the kernel refused to run',
      async () => lost('kernel-recursion') === (await node.ask('state')).misses,
    );
    await node.close();
  });

  test('by flows, of which the kernel tells only what is new, loses nothing', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: ['10.9.1.2'], ringBytes: 1 << 20 });
    const sent = send(500, Number.POSITIVE_INFINITY);
    assert.equal(sent, 500);
    const { stats } = await node.ask('state');
    assert.ok(isAccounted(stats), JSON.stringify(stats));
    // The first datagram is new at both interfaces, and every drop is; with that of a later one goes where it came in.
    assert.deepEqual([stats.emitted, stats.counted, stats.lostRing], [2 + sent + (sent - 1), 2 * (sent - 1), 0]);
    await node.close();
  });
});
