import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { beside, getJson, SKIP, until } from './support/cluster.ts';

const DEPLOY = join(import.meta.dirname, '..', '..', 'deploy');
const AGENT = 'system:serviceaccount:ktrace:ktrace-agent';
const GATE = 'system:serviceaccount:ktrace:ktrace-gate';

interface Container {
  securityContext?: { privileged?: boolean; capabilities?: { drop?: string[] } };
  resources: { requests?: Record<string, string>; limits?: Record<string, string> };
}
interface DaemonSet {
  spec: { template: { spec: { hostNetwork?: boolean; hostPID?: boolean; containers: Container[]; volumes: object[] } } };
  status: { desiredNumberScheduled: number; numberReady: number };
}

suite('the manifests on a real API server', { skip: SKIP, timeout: 300_000 }, () => {
  test('base and every overlay are rendered, and the API server takes all of them', async () => {
    const overlays = readdirSync(join(DEPLOY, 'overlays')).map((name) => join(DEPLOY, 'overlays', name));
    assert.ok(overlays.length > 0);
    for (const folder of [join(DEPLOY, 'base'), ...overlays]) {
      const { stdout } = await beside(['kubectl', 'kustomize', folder]);
      const told = await beside(['kubectl', 'apply', '--dry-run=server', '-f', '-'], stdout);
      assert.match(told.stdout, /daemonset\.apps\/ktrace-agent \w+ \(server dry run\)/, folder);
      assert.doesNotMatch(told.stderr, /warning/i, folder);
    }
  });

  test('an agent and a gate are ready on every node, whatever its taints', async () => {
    const nodes = await getJson<{ items: object[] }>('nodes');
    for (const name of ['ktrace-agent', 'ktrace-gate']) {
      await until(`${name} on every node`, async () => {
        const { status } = await getJson<DaemonSet>('daemonset', name, '-n', 'ktrace');
        return status.desiredNumberScheduled === nodes.items.length && status.numberReady === nodes.items.length;
      });
    }
  });

  test('the gate has no right, no capability and no network of the host, and both have their bounds', async () => {
    const agent = await getJson<DaemonSet>('daemonset', 'ktrace-agent', '-n', 'ktrace');
    const gate = await getJson<DaemonSet>('daemonset', 'ktrace-gate', '-n', 'ktrace');
    for (const { spec } of [agent, gate]) {
      const { containers, hostPID } = spec.template.spec;
      assert.equal(hostPID, undefined);
      for (const { resources } of containers) {
        assert.ok(resources.requests?.['memory'] !== undefined && resources.limits?.['memory'] !== undefined);
      }
    }
    const { containers, hostNetwork } = gate.spec.template.spec;
    assert.equal(hostNetwork, undefined);
    assert.deepEqual(containers[0]?.securityContext?.capabilities?.drop, ['ALL']);
    assert.equal(containers[0]?.securityContext?.privileged, undefined);
  });

  test('the service accounts may do what they need and nothing else', async () => {
    const mayAgent: [string, string][] = [
      ...['pods', 'services', 'nodes', 'endpointslices.discovery.k8s.io'].flatMap((resource) =>
        ['list', 'watch'].map((verb): [string, string] => [verb, resource]),
      ),
      ['create', 'tokenreviews.authentication.k8s.io'],
      ['create', 'subjectaccessreviews.authorization.k8s.io'],
    ];
    const mayNobody: [string, string][] = [
      ['list', 'secrets'],
      ['list', 'replicasets.apps'],
      ['list', 'configmaps'],
      ['create', 'pods'],
      ['create', 'pods/exec'],
      ['create', 'pods/portforward'],
      ['get', 'nodes/proxy'],
      ['patch', 'nodes'],
      ['create', 'serviceaccounts/token'],
    ];
    const questions = [
      ...mayAgent.map(([verb, resource]) => ({ account: AGENT, verb, resource, allowed: true })),
      ...mayNobody.map(([verb, resource]) => ({ account: AGENT, verb, resource, allowed: false })),
      ...[...mayAgent, ...mayNobody].map(([verb, resource]) => ({ account: GATE, verb, resource, allowed: false })),
    ];
    const allowed = await areAllowed(questions);
    assert.deepEqual(
      questions.map((question, index) => ({ ...question, allowed: allowed[index] })),
      questions,
    );
  });
});

interface Question {
  account: string;
  verb: string;
  /** `resource`, `resource/subresource` or `resource.group`. */
  resource: string;
}

/** The API server's answers, in the order of the questions. */
async function areAllowed(questions: Question[]): Promise<boolean[]> {
  const items = questions.map(({ account, verb, resource: wanted }) => {
    const [full = '', subresource = ''] = wanted.split('/');
    const [resource = '', ...group] = full.split('.');
    return {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: {
        user: account,
        groups: ['system:serviceaccounts', 'system:authenticated'],
        resourceAttributes: { verb, resource, subresource, group: group.join('.') },
      },
    };
  });
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
  const template = 'jsonpath={.status.allowed}{"\\n"}';
  const { stdout } = await beside(['kubectl', 'create', '-f', '-', '-o', template], list);
  return stdout
    .trim()
    .split('\n')
    .map((line) => line === 'true');
}
