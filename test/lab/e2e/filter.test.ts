import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import type { FlowEvent, PacketEvent } from '../../../src/event/types.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { before } from '../../support/evidence.ts';
import { type KtraceProcess, runKtrace, startFollow } from '../../support/ktrace-process.ts';
import { summaryOf } from '../../support/summary.ts';
import { assertNothingTwice, endpoints, isRequestTo } from '../support/events.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

const MASTER = 'redis-master-343230949-2qrp7';
const MZMJF = 'frontend-88237173-mzmjf';

suite('a follow with a filter', { skip: SKIP }, () => {
  const name = randomLabName();
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-e2e-filter-'));
  const running: KtraceProcess[] = [];
  let lab: Lab;

  const follow = (...argv: string[]): KtraceProcess => {
    const started = startFollow(lab, '-A', '-o', 'json', ...argv);
    running.push(started);
    return started;
  };
  const end = async (...follows: KtraceProcess[]): Promise<void> => {
    for (const one of follows) {
      assert.equal((await one.interrupt()).code, 130, one.stderr);
      assert.match(one.stderr, /\b0 lost\b/);
    }
  };

  before(async () => {
    lab = await labUp({ name, bound: true });
  });
  after(async () => {
    await Promise.all(running.map((one) => one.kill()));
    await removeLab(name);
    rmSync(folder, { recursive: true });
  });

  test('tells of each packet that it takes, whole, and of no other, beside a follow with another filter', async () => {
    const service = follow('tcp port 6379 and svc redis-master');
    const icmp = follow('icmp');
    await Promise.all([service.following(), icmp.following()]);
    const isWhole = (packet: PacketEvent) => packet.nodes.length > 1;
    await service.until('requests to the Service over two nodes', () => service.settled.filter(isWhole).length >= 5);
    await icmp.until('pings over two nodes', () => icmp.settled.filter(isWhole).length >= 5);
    await end(service, icmp);
    assert.ok(icmp.packets.every(({ proto }) => proto === 'icmp'));
    for (const packet of service.packets) {
      assert.equal(packet.proto, 'tcp');
      assert.ok(
        endpoints(packet).some((one) => one.service?.name === 'redis-master'),
        JSON.stringify(packet),
      );
      assert.ok(
        endpoints(packet).some(({ port }) => port === 6379),
        JSON.stringify(packet),
      );
      assert.equal('judged' in packet, false);
    }
    const flows = service.events.filter((event): event is FlowEvent => event.kind === 'flow');
    assert.ok(flows.length > 0 && flows.every(({ proto, dst }) => proto === 'tcp' && dst.port === 6379));
    // What is known at the packet's last node alone does not take its first hops away.
    const requests = service.settled.filter((packet) => isRequestTo(packet, 'redis-master') && isWhole(packet));
    assert.ok(requests.length > 0 && requests.every(({ hops }) => new Set(hops.map(({ node }) => node)).size > 1));
    for (const one of [service, icmp]) assertNothingTwice(one.packets);
    assert.match(icmp.stderr, /\d+ not matched by the filter|0 lost/);
  });

  test('takes what was dropped, by its reason and by who sent it', async () => {
    const dropped = follow('dropped');
    const reason = follow(`reason NETFILTER_DROP and src pod ${MZMJF} and not src pod default/${MASTER}`);
    await dropped.until('drops for two reasons', () => new Set(dropped.packets.map(({ drop }) => drop?.reason)).size >= 2);
    await reason.until('drops by a rule', () => reason.packets.length >= 2);
    await end(dropped, reason);
    assert.ok(dropped.packets.every(({ verdict }) => verdict === 'dropped'));
    assert.ok(reason.packets.every(({ drop, src }) => drop?.reason === 'NETFILTER_DROP' && src.pod?.name === MZMJF));
    assert.equal(dropped.events.filter(({ kind }) => kind === 'flow').length, 0);
  });

  test('asks for labels that the other end alone knows, and sees through tunnels', async () => {
    const label = follow('dst label role=master and inner tcp and outer udp port 8472');
    await label.following();
    const packet = await label.settledPacket('a packet to the master in a tunnel', ({ nodes }) => nodes.length === 2);
    await end(label);
    assert.equal(packet.proto, 'tcp');
    for (const one of label.packets) {
      assert.ok(
        one.hops.some(({ tunnel }) => tunnel !== undefined),
        JSON.stringify(one),
      );
      assert.ok(
        endpoints(one).some(({ pod }) => pod?.labels?.['role'] === 'master'),
        JSON.stringify(one),
      );
    }
  });

  test('is changed while it runs: what comes after is judged by the new filter, and nothing is lost', async () => {
    const path = join(folder, 'now.filter');
    writeFileSync(path, 'icmp');
    const one = follow('-F', path);
    await one.until('pings', () => one.packets.length >= 3);
    writeFileSync(path, 'tcp and port');
    await one.until('the mistake is told', () => /the filter stays as it was: Expected a port/.test(one.stderr));
    writeFileSync(path, 'tcp port 6379');
    const first = await one.packet('a packet of the new filter', ({ proto }) => proto === 'tcp');
    assert.match(one.stderr, /the filter is now tcp port 6379/);
    await one.until('more of them', () => one.packets.filter(({ proto }) => proto === 'tcp').length >= 10);
    await end(one);
    const atMs = Date.parse(first.time);
    const late = one.packets.filter(({ proto, time }) => proto === 'icmp' && Date.parse(time) > atMs + 1000);
    assert.deepEqual(late, [], 'the old filter is in force no more');
    assert.ok(one.packets.filter(({ proto }) => proto === 'icmp').length >= 3);
    assertNothingTwice(one.packets);
  });

  test('that is wrong is refused before any agent is asked, and one that takes nothing says so', async () => {
    const wrong = await runKtrace(['follow', '--kubeconfig', '/nowhere', 'pod/x', 'tcp', 'or', 'pod', 'X!']);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /Expected the name of a pod, got "X!" \[KTRACE_E_FILTER\]\n {2}tcp or pod X!\n {13}\^\n/);
    const none = follow('port 9');
    await none.until('the silence is told', () => /no packet matched in 10 s; .*filter "port 9"/.test(none.stderr));
    await end(none);
    assert.deepEqual(none.packets, []);
    assert.equal(summaryOf(none.stderr).packets, 0);
    assert.match(none.stderr, /\d+ not matched by the filter/);
  });
});
