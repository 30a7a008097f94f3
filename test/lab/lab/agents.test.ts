import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { after, suite, test } from 'node:test';
import { agentSocket } from '../../../src/lab/agents.ts';
import { runLabStatus } from '../../../src/lab/commands.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { isRunning } from '../../../src/lab/machine/proc.ts';
import { recordedProcess } from '../../../src/lab/machine/processes.ts';
import { processesIn, removeLab } from '../../../src/lab/machine/remove.ts';
import { GATE_PORT, METRICS_PORT } from '../../../src/protocol/constants.ts';
import { before } from '../../support/evidence.ts';
import { until } from '../../support/until.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

suite('agents and gates of a lab', { skip: SKIP }, () => {
  const name = randomLabName();
  let lab: Lab;
  before(async () => {
    lab = await labUp({ name, traffic: false, bound: true });
  });
  after(() => removeLab(name));

  test('an agent on every node is ready and listens on its unix socket alone', async () => {
    for (const node of lab.nodes) {
      assert.ok(await lab.isAgentReady(node.name));
      const agent = lab.agent(node.name);
      assert.ok(agent !== undefined);
      assert.ok(statSync(agentSocket(lab.directory, node.name)).isSocket());
      assert.deepEqual(listening(agent.pid), []);
    }
  });

  test('a gate in every gate pod listens on its two ports and has no right at all', () => {
    for (const pod of lab.pods.filter((candidate) => candidate.workload === 'gate')) {
      const record = recordedProcess(lab.directory, `gate-${pod.node}`);
      assert.ok(record !== undefined && isRunning(record));
      assert.deepEqual(listening(record.pid), [GATE_PORT, METRICS_PORT]);
      for (const { pid } of processesIn(lab.namespace(`pod/${pod.name}`))) {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
          assert.match(status, new RegExp(`^${set}:\\s+0+$`, 'm'));
        }
      }
    }
  });

  test('one agent is killed and started again while the others go on', async () => {
    const [killed, other] = [lab.agent('host1'), lab.agent('host2')];
    await lab.killAgent('host1');
    assert.equal(lab.agent('host1'), undefined);
    assert.equal(await lab.isAgentReady('host1'), false);
    assert.match(await statusText(name), /^host1 .* not running$/m);
    await lab.startAgent('host1');
    assert.ok(await lab.isAgentReady('host1'));
    assert.notEqual(lab.agent('host1')?.pid, killed?.pid);
    assert.deepEqual(lab.agent('host2'), other);
    assert.match(await statusText(name), /^host1 .* ready, pid \d+$/m);
  });

  test('agents outlive a stop of the API server', async () => {
    const agents = lab.nodes.map((node) => lab.agent(node.name));
    await lab.stopApi();
    await lab.startApi();
    await until('all agents ready', async () =>
      (await Promise.all(lab.nodes.map((node) => lab.isAgentReady(node.name)))).every(Boolean),
    );
    assert.deepEqual(
      lab.nodes.map((node) => lab.agent(node.name)),
      agents,
    );
  });
});

/** TCP ports that anyone in the process's network namespace listens on. */
function listening(pid: number): number[] {
  const ports = new Set<number>();
  for (const file of ['tcp', 'tcp6']) {
    for (const line of readFileSync(`/proc/${pid}/net/${file}`, 'utf8').split('\n')) {
      const match = /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ 0A /.exec(line);
      if (match !== null) ports.add(Number.parseInt(match[1] ?? '', 16));
    }
  }
  return [...ports].toSorted();
}

async function statusText(name: string): Promise<string> {
  const stream = new PassThrough({ encoding: 'utf8' });
  await runLabStatus({ name }, { stdout: stream, stderr: stream });
  return String(stream.read());
}
