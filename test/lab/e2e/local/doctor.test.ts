import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { PROBES } from '../../../../src/agent/kernel/probes/probe-plan.ts';
import type { NodeReport } from '../../../../src/event/node-report.ts';
import { before } from '../../../support/evidence.ts';
import { runKtrace } from '../../../support/ktrace-process.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';

suite('ktrace doctor --local', { skip: SKIP }, () => {
  let net: Net;
  before(() => {
    net = twoNodes();
  });
  after(() => net.close());

  /** On node1, with what stands before the command there. */
  const doctor = (argv: readonly string[], more: readonly string[] = [], env: Record<string, string> = {}) =>
    runKtrace(['doctor', '--local', ...argv], {
      before: ['nsenter', `--net=/run/netns/${net.of('node1')}`, ...more],
      env: { KTRACE_NODE: 'node1', ...env },
    });

  test('tells the node it runs on, as text and as JSON, with everything attached', async () => {
    const text = await doctor([]);
    assert.equal(text.code, 0, text.stderr);
    assert.match(text.stdout, /^node1 {2}works {2}Linux /);
    assert.match(text.stdout, /\n {2}interfaces: 3, 3 attached\n {4}eth0 +uplink +attached\n/);
    const json = await doctor(['-o', 'json']);
    assert.equal(json.code, 0, json.stderr);
    const { works, hooks, interfaces } = JSON.parse(json.stdout) as NodeReport;
    assert.deepEqual([works, hooks.find(({ name }) => name === 'tc')?.state], [true, 'on']);
    assert.deepEqual(
      interfaces.map(({ name, kind, attached }) => `${name} ${kind} ${attached}`),
      ['eth0 uplink true', 'veth-a pod true', 'veth-b pod true'],
    );
  });

  test('works without the kernel’s own functions, and says what that costs', async () => {
    const { code, stdout, stderr } = await doctor(['-o', 'json'], [], { KTRACE_PROBES: 'none' });
    assert.equal(code, 0, stderr);
    const { works, lacks } = JSON.parse(stdout) as NodeReport;
    assert.deepEqual([works, lacks.filter(({ remedy }) => /--probes auto/.test(remedy)).length], [true, PROBES.length]);
  });

  test('ends with 1 where the programs may not be loaded, and says what is needed', async () => {
    const { code, stdout } = await doctor([], ['setpriv', '--bounding-set', '-all,+bpf,+net_admin', '--inh-caps=-all']);
    assert.equal(code, 1);
    assert.match(
      stdout,
      /^node1 {2}DOES NOT WORK {2}.*\n {2}Programs need the capabilities BPF, PERFMON, NET_ADMIN, and PERFMON is not there\n/,
    );
  });

  test('ends with 1 where there is no interface to see packets at', async () => {
    const { code, stdout } = await doctor([], ['unshare', '--net']);
    assert.equal(code, 1);
    assert.match(stdout, /^node1 {2}DOES NOT WORK {2}.*\n {2}no interface of a pod network and no uplink is known on this node/);
  });
});
