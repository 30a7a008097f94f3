import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { labServices, nodeNamed } from '../../../src/lab/plan/plan.ts';
import { proxyRules } from '../../../src/lab/plan/proxy-rules.ts';
import { before } from '../../support/evidence.ts';
import { until } from '../../support/until.ts';
import { fetchFrom, labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

suite('the network of a standing lab', { skip: SKIP }, () => {
  const name = randomLabName();
  let lab: Lab;
  before(async () => {
    lab = await labUp({ name, agents: false, bound: true });
  });
  after(() => removeLab(name));

  const succeeds = (target: string, argv: readonly string[]) =>
    lab.exec(target, argv).then(
      () => true,
      () => false,
    );

  test('every pod pings every other by IPv4 and by IPv6', async () => {
    for (const from of lab.pods) {
      await Promise.all(
        lab.pods.flatMap((to) =>
          [to.ip, to.ip6].map((ip) =>
            until(`ping ${from.name} → ${ip}`, () => succeeds(`pod/${from.name}`, ['ping', '-n', '-c1', '-W1', ip])),
          ),
        ),
      );
    }
  });

  test('every node pings pods of the other nodes', async () => {
    for (const node of lab.nodes) {
      for (const pod of lab.pods.filter((candidate) => candidate.node !== node.name)) {
        await until(`ping ${node.name} → ${pod.name}`, () => succeeds(node.name, ['ping', '-n', '-c1', '-W1', pod.ip]));
      }
    }
  });

  test('a Service address leads to its endpoint by IPv4 and by IPv6, and is translated back', async () => {
    const master = labServices().find((service) => service.name === 'redis-master');
    for (const ip of [master?.clusterIp ?? '', master?.clusterIp6 ?? '']) {
      const ask = () => lab.exec('pod/frontend-88237173-jdfgg', ['timeout', '1', 'redis-cli', '-h', ip, 'ping']).catch(() => '');
      await until(`redis answers on ${ip}`, async () => (await ask()).trim() === 'PONG');
    }
    const flows = await lab.exec('host1', ['conntrack', '-L', '-d', master?.clusterIp ?? '']);
    assert.match(flows, /dst=10\.96\.0\.63 sport=\d+ dport=6379 src=10\.244\.3\.2 dst=10\.244\.1\.2/);
  });

  test('the slaves replicate from the master through its Service', async () => {
    const state = (pod: string) => lab.exec(`pod/${pod}`, ['redis-cli', 'info', 'replication']);
    for (const pod of lab.pods.filter((candidate) => candidate.workload === 'redis-slave')) {
      await until(`${pod.name} is linked`, async () => /master_link_status:up/.test(await state(pod.name)));
    }
  });

  test('frontends answer on the Service and on a node port from outside', async () => {
    const page = (target: string, url: string) => fetchFrom(lab, target, url).catch(() => '');
    await until('cluster IP', async () => /guestbook/.test(await page('pod/frontend-88237173-jdfgg', 'http://10.96.0.80/')));
    await until('node port', async () => /guestbook/.test(await page('switch', 'http://192.168.60.13:30080/')));
  });

  test('the forbidden port is dropped in FORWARD and a closed one is refused', async () => {
    const counters = async () => (await lab.exec('host2', ['iptables', '-nvxL', 'FORWARD'])).match(/^\s*(\d+)\s.*dpt:6380/m)?.[1];
    await until('the rule has dropped', async () => Number(await counters()) > 0);
    await assert.rejects(fetchFrom(lab, 'pod/frontend-88237173-jdfgg', 'http://10.244.3.2:6390/'), /ECONNREFUSED/);
  });

  test('a ping to a ClusterIP is answered by nobody', async () => {
    assert.equal(await succeeds('pod/frontend-88237173-mzmjf', ['ping', '-n', '-c1', '-W1', '10.96.0.63']), false);
  });

  test('the kernel holds the rules that were written, for both families', async () => {
    // The kernel keeps a chance as a fraction of 2^31 and prints it with one digit more.
    const rules = (text: string) =>
      text
        .split('\n')
        .filter((line) => /^-A KUBE-(S|EXT)/.test(line))
        .map((line) => line.replace(/(--probability 0\.\d{6})\d*/, '$1'))
        .toSorted();
    for (const family of [4, 6] as const) {
      const saved = await lab.exec('host2', [family === 4 ? 'iptables-save' : 'ip6tables-save']);
      const written = proxyRules(nodeNamed('host2'), labServices(), lab.pods, family);
      assert.deepEqual(rules(saved), rules(written));
      assert.ok(rules(saved).length > 20);
    }
  });
});
