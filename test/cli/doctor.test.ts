import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { NodeReport } from '../../src/event/node-report.ts';
import { type FakeApi, gatePod, startFakeApi } from '../client/cluster/fake-api.ts';
import { FakeAgent } from '../client/wire/fake-agent.ts';
import { runKtrace } from '../support/ktrace-process.ts';

function reportOf(node: string, more: Partial<NodeReport> = {}): NodeReport {
  return {
    ...{ v: 1, node, version: '0.1.0', kernel: { release: '6.1.0', arch: 'x64', btf: true } },
    capabilities: [{ name: 'BPF', has: true, for: 'loading programs' }],
    hooks: [{ name: 'tc', backend: 'tcx', state: 'idle' }],
    interfaces: [{ name: 'eth0', kind: 'uplink', attached: false }],
    ...{ lacks: [], works: true },
    ...more,
  };
}

/** A cluster of these nodes; `doctor` runs `bin/ktrace doctor` there as a user does. */
async function cluster(t: TestContext, nodes: readonly string[], reports: readonly NodeReport[]) {
  const api: FakeApi = await startFakeApi();
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-doctor-'));
  t.after(async () => {
    rmSync(folder, { recursive: true });
    await api.close();
  });
  for (const name of nodes) api.objects.set(`/api/v1/nodes/${name}`, { metadata: { name } });
  for (const report of reports) {
    const agent = await FakeAgent.start(report.node);
    t.after(() => agent.close());
    agent.report = report;
    api.objects.set(...gatePod(`gate-${report.node}`, report.node));
    api.ports.set(`gate-${report.node}`, agent.port);
  }
  const kubeconfig = join(folder, 'config');
  const config = {
    'current-context': 'fake',
    clusters: [{ name: 'fake', cluster: { server: api.url } }],
    users: [{ name: 'user', user: { token: 'secret' } }],
    contexts: [{ name: 'fake', context: { cluster: 'fake', user: 'user' } }],
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  return { api, doctor: (...argv: string[]) => runKtrace(['doctor', '--kubeconfig', kubeconfig, ...argv]) };
}

const HOST1 = `host1  works  Linux 6.1.0 x64, BTF, ktrace 0.1.0
  capabilities: BPF
  hooks:
    tc  tcx  idle
  interfaces: 1, attached when somebody follows
    eth0  uplink

`;
const NO_GATE = 'The node has no gate, which is the way to its agent: ktrace status says what is there';

test('a cluster where every node works is told as such, in the order of the nodes, with exit code 0', async (t) => {
  const { doctor } = await cluster(t, ['host2', 'host1'], [reportOf('host2'), reportOf('host1')]);
  assert.deepEqual(await doctor(), { code: 0, stdout: HOST1 + HOST1.replace('host1', 'host2'), stderr: '' });
});

test('nodes without a gate cannot be asked, and nodes that do not work say why: exit code 1', async (t) => {
  const lacks = [{ what: 'packets at veth7', why: 'ENOMEM', remedy: 'free some' }];
  const broken = reportOf('host3', { works: false, reason: 'no packet is seen at any interface of this node: ENOMEM' });
  const reports = [reportOf('host1'), broken, reportOf('host4', { lacks })];
  const { doctor } = await cluster(t, ['host1', 'host2', 'host3', 'host4'], reports);
  const text = await doctor();
  const json = await doctor('-o', 'json');
  assert.deepEqual([text.code, text.stderr, json.code, json.stderr], [1, '', 1, '']);
  assert.deepEqual(
    text.stdout.split('\n\n').map((node) => node.split('\n').slice(0, 2).join('|')),
    [
      'host1  works  Linux 6.1.0 x64, BTF, ktrace 0.1.0|  capabilities: BPF',
      `host2  CANNOT BE ASKED|  ${NO_GATE}`,
      'host3  DOES NOT WORK  Linux 6.1.0 x64, BTF, ktrace 0.1.0|  no packet is seen at any interface of this node: ENOMEM',
      'host4  works  Linux 6.1.0 x64, BTF, ktrace 0.1.0|  capabilities: BPF',
      '',
    ],
  );
  assert.match(text.stdout, /interfaces: 1, none attached\n/);
  assert.match(text.stdout, / {2}cannot be told:\n {4}packets at veth7\n {6}because ENOMEM\n {6}remedy: free some\n/);
  assert.deepEqual(
    json.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
    [reports[0], { v: 1, node: 'host2', works: false, reason: NO_GATE }, broken, reports[2]],
  );
});

test('an agent that does not answer makes it 1; that nodes may not be listed is said, and costs those without a gate', async (t) => {
  const { api, doctor } = await cluster(t, ['host1', 'host2', 'host3'], [reportOf('host1'), reportOf('host2')]);
  api.refused.set('/api/v1/nodes', 403);
  const allowed = await doctor();
  assert.equal(allowed.code, 0);
  assert.equal(allowed.stderr, 'ktrace: you may not list nodes: those without a pod of ktrace are not shown\n');
  assert.ok(!allowed.stdout.includes('host3'));
  api.ports.delete('gate-host2');
  const { code, stdout } = await doctor();
  assert.equal(code, 1);
  assert.match(stdout, /^host2 {2}CANNOT BE ASKED\n {2}Forwarding a port to ktrace\/gate-host2 failed/m);
});

test('without any agent the exit code is 3, and 4 for who may not reach them', async (t) => {
  const { api, doctor } = await cluster(t, ['host1'], []);
  const none = await doctor();
  assert.deepEqual([none.code, none.stdout], [3, '']);
  assert.match(none.stderr, /KTRACE_E_NO_AGENT/);
  api.refused.set('/api/v1/namespaces/ktrace/pods', 403);
  const { code, stdout, stderr } = await doctor();
  assert.deepEqual([code, stdout], [4, '']);
  assert.match(stderr, /ktrace grant --admin/);
});
