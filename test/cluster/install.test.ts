import assert from 'node:assert/strict';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { loadAll } from 'js-yaml';
import { renderManifests } from '../../src/client/install/manifests.ts';
import { before } from '../support/evidence.ts';
import { until } from '../support/until.ts';
import { beside, getJson, ktrace, SKIP } from './support/cluster.ts';
import { deploy, productIsReady } from './support/product.ts';

const DEPLOY = join(import.meta.dirname, '..', '..', 'deploy');
const SETS = [
  ['ktrace-agent', 'ktrace-agents'],
  ['ktrace-gate', 'ktrace'],
] as const;

interface DaemonSet {
  spec: { template: { spec: { containers: { image: string }[] } } };
}

async function runKtrace(...argv: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const ran = ktrace(...argv);
  const { code } = await ran.ended;
  return { code, stdout: ran.stdout, stderr: ran.stderr };
}

async function imageNow(): Promise<string> {
  const { spec } = await getJson<DaemonSet>('daemonset', 'ktrace-agent', '-n', 'ktrace-agents');
  return spec.template.spec.containers[0]?.image ?? '';
}

suite('ktrace install, status and uninstall on a real cluster', { skip: SKIP }, () => {
  before(async () => {
    // What kubectl has put there, such as recording, install leaves as it is.
    await deploy('base');
    await productIsReady();
  });

  for (const folder of ['base', 'overlays/least-privilege', 'overlays/recording', 'overlays/monitoring']) {
    test(`the objects of ${folder} are those that kubectl kustomize gives`, async () => {
      const { stdout } = await beside(['kubectl', 'kustomize', join(DEPLOY, folder)]);
      const byName = (objects: { kind: string; metadata: { name: string } }[]) =>
        objects.toSorted((a, b) => `${a.kind} ${a.metadata.name}`.localeCompare(`${b.kind} ${b.metadata.name}`));
      const theirs = byName(loadAll(stdout) as Parameters<typeof byName>[0]);
      const ours = byName(renderManifests({ folder: join(DEPLOY, folder), namespace: 'ktrace', image: undefined }));
      assert.ok(theirs.length > (folder.endsWith('monitoring') ? 2 : 8));
      assert.deepEqual(ours, theirs);
    });
  }

  test('over what kubectl apply made, install changes nothing but its name on the fields', async () => {
    const { code, stdout, stderr } = await runKtrace('install', '--image', await imageNow());
    assert.equal(code, 0, stderr);
    const lines = stdout.trim().split('\n');
    assert.ok(lines.length > 8 && lines.every((line) => line.endsWith(' unchanged')), stdout);
    assert.match(stderr, /ktrace-agent (\d+) of \1 ready, ktrace-gate (\d+) of \2 ready/);
  });

  test('a dry run says what it would change, and changes nothing', async () => {
    const before = await imageNow();
    const { code, stdout } = await runKtrace('install', '--image', 'localhost/other:1', '--dry-run');
    assert.equal(code, 0);
    assert.match(stdout, /^daemonset\/ktrace-agent in ktrace-agents changed \(dry run\)$/m);
    assert.match(stdout, /^namespace\/ktrace unchanged \(dry run\)$/m);
    assert.equal(await imageNow(), before);
  });

  test('status names every node with its two pods', async () => {
    const { code, stdout } = await runKtrace('status', '-o', 'json');
    assert.equal(code, 0, stdout);
    const rows = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { node: string; kernel: string; agent: { isReady: boolean; image: string } });
    const { items } = await getJson<{ items: { metadata: { name: string } }[] }>('nodes');
    assert.deepEqual(
      rows.map(({ node }) => node),
      items.map(({ metadata }) => metadata.name).sort(),
    );
    const image = await imageNow();
    for (const { agent, kernel } of rows) assert.ok(agent.isReady && agent.image === image && kernel !== '');
  });

  test('an image that cannot be had is told with its nodes, and the next install mends it', async () => {
    const image = await imageNow();
    // On a busy machine a node may take longer than one waiting to find that it has no such image.
    await until('an install that tells of the image', async () => {
      const bad = await runKtrace('install', '--image', 'localhost/nosuch:1', '--timeout', '12s');
      assert.equal(bad.code, 1, bad.stderr);
      assert.match(bad.stderr, /KTRACE_E_INSTALL/);
      return /(agent|gate): (ErrImage|ImagePull)\w*.* \(on /.test(bad.stderr);
    });
    await until('a status that tells of it', async () => {
      const status = await runKtrace('status');
      assert.equal(status.code, 1);
      assert.match(status.stdout, /not ready/);
      return /: (agent|gate): (ErrImage|ImagePull)/.test(status.stdout);
    });
    const good = await runKtrace('install', '--image', image);
    assert.equal(good.code, 0, good.stderr);
    assert.match(good.stdout, /^daemonset\/ktrace-agent in ktrace-agents changed$/m);
  });

  test('what the API server refuses to make, and what ends an agent, is told with its reason', async () => {
    const image = await imageNow();
    const kubectl = (...argv: string[]) => beside(['kubectl', ...argv]);
    const inAgents = (...argv: string[]) => kubectl('-n', 'ktrace-agents', ...argv);
    const tells = (what: string, reason: RegExp) =>
      until(`a status that tells of ${what}`, async () => {
        const { code, stdout } = await runKtrace('status');
        return code === 1 && reason.test(stdout);
      });
    await kubectl('label', '--overwrite', 'namespace', 'ktrace-agents', 'pod-security.kubernetes.io/enforce=baseline');
    await inAgents('delete', 'pod', '--all', '--wait=false');
    await tells('Pod Security', /^ktrace-agent: no pod can be made: .*violates PodSecurity "baseline.*hostNetwork/m);
    const good = await runKtrace('install', '--image', image);
    assert.equal(good.code, 0, good.stderr);

    // Of the gates: a controller tells some 25 refusals of one DaemonSet, and then one in five minutes.
    const inGates = (...argv: string[]) => kubectl('-n', 'ktrace', ...argv);
    await inGates('patch', 'resourcequota', 'ktrace-gate', '--type=merge', '-p', '{"spec":{"hard":{"pods":"0"}}}');
    await inGates('delete', 'pod', '--all', '--wait=false');
    await tells('the quota', /^ktrace-gate: no pod can be made: .*exceeded quota: ktrace-gate/m);
    const again = await runKtrace('install', '--image', image);
    assert.equal(again.code, 0, again.stderr);

    // A kernel without type information, as far as the agent can see.
    const mount = { name: 'no-btf', mountPath: '/sys/kernel/btf' };
    const patch = (volume: object, volumeMount: object) => {
      const containers = [{ name: 'agent', volumeMounts: [volumeMount] }];
      return JSON.stringify({ spec: { template: { spec: { volumes: [volume], containers } } } });
    };
    const gone = { $patch: 'delete' };
    await inAgents('patch', 'daemonset', 'ktrace-agent', '-p', patch({ name: 'no-btf', emptyDir: {} }, mount));
    try {
      await tells('the kernel', /: agent: .*it ended with exit code 1: .*BTF.*\[KTRACE_E_NO_BTF\]$/m);
    } finally {
      await inAgents('patch', 'daemonset', 'ktrace-agent', '-p', patch({ ...gone, name: 'no-btf' }, { ...gone, ...mount }));
    }
    const last = await runKtrace('install', '--image', image);
    assert.equal(last.code, 0, last.stderr);
  });

  test('agents record where install was asked for it, and no more when it is done again without', async () => {
    const image = await imageNow();
    const recording = async (): Promise<unknown[]> => {
      const { code, stdout, stderr } = await runKtrace('status', '-o', 'json');
      assert.equal(code, 0, stderr);
      const rows = stdout.trim().split('\n');
      return [...new Set(rows.map((line) => (JSON.parse(line) as { agent: { isRecording: boolean } }).agent.isRecording))];
    };
    const on = await runKtrace('install', '--image', image, '--record=64Mi', '--record-hours', '2');
    assert.equal(on.code, 0, on.stderr);
    assert.deepEqual(await recording(), [true]);
    const asked = await runKtrace('dump', '--incidents');
    assert.equal(asked.code, 0, asked.stderr);
    const off = await runKtrace('install', '--image', image);
    assert.equal(off.code, 0, off.stderr);
    assert.deepEqual(await recording(), [false]);
    const refused = await runKtrace('dump', '--incidents');
    assert.ok(refused.code !== 0);
    assert.match(refused.stderr, /KTRACE_E_NOT_RECORDING.*\n.*ktrace install --record/);
  });

  test('uninstall leaves nothing, twice; install makes it anew', async () => {
    const image = await imageNow();
    const first = await runKtrace('uninstall');
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stdout, /^daemonset\/ktrace-agent in ktrace-agents deleted$/m);
    await until('nothing of it is left', async () => {
      const { stdout } = await beside(['kubectl', 'get', 'clusterroles,clusterrolebindings,namespaces', '-o', 'name']);
      return !stdout.includes('ktrace');
    });
    const second = await runKtrace('uninstall');
    assert.equal(second.code, 0);
    assert.ok(
      second.stdout
        .trim()
        .split('\n')
        .every((line) => line.endsWith(' not there')),
      second.stdout,
    );
    const gone = await runKtrace('status');
    assert.equal(gone.code, 3);
    assert.match(gone.stderr, /KTRACE_E_NO_AGENT.*\n.*ktrace install/);
    const anew = await runKtrace('install', '--image', image);
    assert.equal(anew.code, 0, anew.stderr);
    for (const [name, namespace] of SETS)
      assert.match(anew.stdout, new RegExp(`^daemonset/${name} in ${namespace} created$`, 'm'));
    assert.match(anew.stderr, /ready after \d+ s/);
  });
});
