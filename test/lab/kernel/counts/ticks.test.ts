import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FLOW, FLOW_KEY } from '../../../../src/event/layout.ts';
import { Bench, followed } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { ethernet, IPV4, ipv4, udp } from '../../support/packets.ts';

const [POD, PEER] = ['10.9.1.2', '198.18.0.7'];
const UDP = 17;
const LEAST_SAMPLES_MS = 500;

test('what is only counted has a time by the kernel’s ticks, which is never later than its clock and two ticks behind it at most', {
  skip: SKIP,
}, async (t) => {
  const bench = new Bench(followed([POD], { wantsEveryPacket: false }));
  t.after(() => bench.close());
  const tick = (name: string) => bench.tracer.object.getGlobal(name).readBigUInt64LE();
  bench.tracer.readTicks();
  assert.equal(tick('tick_ns'), 0n);
  await sleep(LEAST_SAMPLES_MS);
  bench.tracer.readTicks();
  const tickNs = tick('tick_ns');
  assert.ok(tickNs >= 1_000_000n && tickNs <= 10_000_000n, `${tickNs} ns`);

  const packet = ethernet(IPV4, ipv4({ src: POD, dst: PEER, proto: UDP }, udp({ sport: 4000, dport: 53 })));
  bench.run('ktrace_in', packet);
  let most = 0n;
  for (let turn = 0; turn < 50; turn++) {
    await sleep(3);
    const beforeNs = process.hrtime.bigint();
    bench.run('ktrace_in', packet);
    const lastNs = bench.tracer.object.mapEntries('flows').readBigUInt64LE(FLOW_KEY.size + FLOW.lastNs);
    const afterNs = process.hrtime.bigint();
    assert.ok(lastNs <= afterNs, `${lastNs - afterNs} ns later than the clock`);
    if (beforeNs - lastNs > most) most = beforeNs - lastNs;
  }
  t.diagnostic(`${most} ns behind at most, ticks of ${tickNs} ns`);
  assert.equal(bench.stats().counted, 50);
  assert.ok(most <= 2n * tickNs, `${most} ns behind`);
});
