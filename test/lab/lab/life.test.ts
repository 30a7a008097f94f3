import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findProcesses, hasEnvironment } from '../../../src/lab/machine/proc.ts';
import { STATE_VARIABLE } from '../../../src/lab/machine/processes.ts';
import { namespacesOf, processesOf, removeLab } from '../../../src/lab/machine/remove.ts';
import { run } from '../../../src/lab/machine/run.ts';
import { findStandingLab, labDirectory } from '../../../src/lab/machine/state.ts';
import { until } from '../../support/until.ts';
import { labForTest, labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

const OPTIONS = { skip: SKIP, timeout: 60_000 };

function temporaryRoot(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), 'ktrace-lab-test-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

/** What the lab could change in the machine's own namespace. */
async function machineNetwork(): Promise<string[]> {
  return Promise.all([
    run(['ip', '-br', 'link']),
    run(['ip', 'route', 'show', 'table', 'all']),
    // Of a route that was learned the seconds go on.
    run(['ip', '-6', 'route', 'show', 'table', 'all']).then((text) => text.replace(/ expires \d+sec/g, '')),
    run(['ip', 'rule']),
    run(['iptables-save']).then((text) => text.replace(/^#.*$|\[\d+:\d+\]/gm, '')),
  ]);
}

test('down leaves no namespace, process, file or change of the machine’s own network', OPTIONS, async (t) => {
  const root = temporaryRoot(t);
  const before = await machineNetwork();
  const lab = await labForTest(t, { root });
  assert.deepEqual(await machineNetwork(), before);
  assert.ok(namespacesOf(lab.name).length === 14);
  assert.ok(processesOf(lab.name, lab.directory).length > 10);
  await lab.down();
  assert.deepEqual(namespacesOf(lab.name), []);
  assert.deepEqual(processesOf(lab.name, lab.directory), []);
  assert.deepEqual(readdirSync(root), []);
  assert.deepEqual(await machineNetwork(), before);
});

test('two labs stand at once and end one by one', OPTIONS, async (t) => {
  const root = temporaryRoot(t);
  const [one, two] = await Promise.all([labForTest(t, { root }), labForTest(t, { root })]);
  const ping = (lab: typeof one) =>
    until('a ping is answered', () =>
      lab.exec('pod/frontend-88237173-jdfgg', ['ping', '-n', '-c1', '-W1', '10.244.3.2']).catch(() => false),
    );
  await ping(one);
  await ping(two);
  assert.notEqual(one.apiPort, two.apiPort);
  await one.down();
  await ping(two);
});

test('a second lab of the same name is refused with the way out', OPTIONS, async (t) => {
  const root = temporaryRoot(t);
  const lab = await labForTest(t, { root, traffic: false });
  await assert.rejects(labUp({ name: lab.name, root, agents: false }), { code: 'KTRACE_E_LAB_EXISTS', hint: /lab down --name/ });
  assert.equal(namespacesOf(lab.name).length, 14);
});

test('a start killed halfway is cleaned up by the next start, whatever its name', OPTIONS, async (t) => {
  const root = temporaryRoot(t);
  for (const stage of ['kube-proxy', 'servers and traffic']) {
    const name = randomLabName();
    t.after(() => removeLab(name, root));
    await startAndKillAt(name, root, stage);
    assert.ok(existsSync(labDirectory(name, root)));
    assert.ok(namespacesOf(name).length > 0);
    const next = await labForTest(t, { root, traffic: false });
    assert.deepEqual(namespacesOf(name), []);
    assert.deepEqual(
      findProcesses((pid) => hasEnvironment(pid, STATE_VARIABLE, labDirectory(name, root))),
      [],
    );
    assert.ok(!existsSync(labDirectory(name, root)));
    await next.down();
  }
});

test('a lab that fails to come up leaves nothing behind', OPTIONS, async (t) => {
  const root = temporaryRoot(t);
  const name = randomLabName();
  const fail = (text: string) => {
    if (text.startsWith('servers')) throw new Error('stop here');
  };
  await assert.rejects(labUp({ name, root, agents: false, progress: fail }), /stop here/);
  assert.deepEqual(namespacesOf(name), []);
  assert.deepEqual(readdirSync(root), []);
});

test('a standing lab is found by name or as the only one', OPTIONS, async (t) => {
  const root = temporaryRoot(t);
  assert.equal(findStandingLab(root), undefined);
  const lab = await labForTest(t, { root, traffic: false });
  assert.deepEqual(findStandingLab(root), { name: lab.name, kubeconfig: lab.kubeconfig });
  await labForTest(t, { root, traffic: false });
  assert.equal(findStandingLab(root), undefined);
});

test('a pod deleted and created again has the same address, another uid and another interface', OPTIONS, async (t) => {
  const lab = await labForTest(t, { root: temporaryRoot(t) });
  const pod = await lab.deletePod('redis-master-343230949-2qrp7');
  assert.doesNotMatch(await lab.exec('host1', ['iptables-save', '-t', 'nat']), /10\.244\.3\.2:6379/);
  assert.match(await lab.exec('host1', ['iptables-save', '-t', 'filter']), /default\/redis-master has no endpoints/);
  const again = await lab.createPod(pod);
  assert.equal(again.ip, pod.ip);
  assert.notEqual(again.uid, pod.uid);
  assert.notEqual(again.veth, pod.veth);
  const ask = () =>
    lab.exec('pod/frontend-88237173-jdfgg', ['timeout', '1', 'redis-cli', '-h', '10.96.0.63', 'ping']).catch(() => '');
  await until('the new pod answers under the Service', async () => (await ask()).trim() === 'PONG');
});

async function startAndKillAt(name: string, root: string, stage: string): Promise<void> {
  const child = spawn(process.execPath, [
    '--import',
    'tsx',
    fileURLToPath(new URL('../support/lab-start.ts', import.meta.url)),
    name,
    root,
  ]);
  await new Promise<void>((resolve) => {
    child.on('exit', () => resolve());
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (text.includes(stage)) child.kill('SIGKILL');
    });
  });
  assert.equal(child.signalCode, 'SIGKILL');
}
