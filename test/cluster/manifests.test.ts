import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { apply, beside, getJson, ktrace, type Output, SKIP } from './support/cluster.ts';
import { agentsRecord, productIsReady, readyPods, scrape } from './support/product.ts';

const DEPLOY = join(import.meta.dirname, '..', '..', 'deploy');
const AGENT = 'system:serviceaccount:ktrace-agents:ktrace-agent';
const GATE = 'system:serviceaccount:ktrace:ktrace-gate';

/** What the Prometheus operator's kind is made of, as far as a manifest of ours has to be checked against it. */
const LABEL = {
  type: 'object',
  properties: { sourceLabels: { type: 'array', items: { type: 'string' } }, targetLabel: { type: 'string' } },
};
const ENDPOINT = {
  type: 'object',
  properties: {
    port: { type: 'string' },
    path: { type: 'string' },
    interval: { type: 'string' },
    relabelings: { type: 'array', items: LABEL },
  },
};
const SELECTOR = { type: 'object', properties: { matchLabels: { type: 'object', additionalProperties: { type: 'string' } } } };
const SPEC = {
  type: 'object',
  required: ['selector'],
  properties: { selector: SELECTOR, podMetricsEndpoints: { type: 'array', items: ENDPOINT } },
};
const RULE = { type: 'object', required: ['alert', 'expr'], 'x-kubernetes-preserve-unknown-fields': true };
const GROUP = {
  type: 'object',
  required: ['name', 'rules'],
  properties: { name: { type: 'string' }, rules: { type: 'array', items: RULE } },
};
const RULES = { type: 'object', properties: { groups: { type: 'array', items: GROUP } } };
/** The operator's kinds, as far as ours use them. */
const CRDS = [
  ['PodMonitor', 'podmonitors', SPEC],
  ['PrometheusRule', 'prometheusrules', RULES],
].map(([kind, plural, spec]) => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${String(plural)}.monitoring.coreos.com` },
  spec: {
    group: 'monitoring.coreos.com',
    scope: 'Namespaced',
    names: { kind, plural, singular: String(kind).toLowerCase(), listKind: `${String(kind)}List` },
    versions: [
      { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object', properties: { spec } } } },
    ],
  },
}));

/** What the API server says to a folder's objects. */
async function dryRun(folder: string): Promise<Output> {
  const { stdout } = await beside(['kubectl', 'kustomize', folder]);
  return beside(['kubectl', 'apply', '--server-side', '--force-conflicts', '--dry-run=server', '-f', '-'], stdout);
}

/** Not those that kubectl has about its own note of an earlier apply. */
function warningsIn({ stderr }: Output): string[] {
  return stderr.split('\n').filter((line) => /warning/i.test(line) && !line.includes('last-applied-configuration'));
}

interface Container {
  securityContext?: { privileged?: boolean; capabilities?: { drop?: string[] } };
  resources: { requests?: Record<string, string>; limits?: Record<string, string> };
}
interface DaemonSet {
  spec: { template: { spec: { hostNetwork?: boolean; hostPID?: boolean; containers: Container[]; volumes: object[] } } };
}

suite('the manifests on a real API server', { skip: SKIP }, () => {
  test('base and every overlay are rendered, and the API server takes all of them', async () => {
    const overlays = readdirSync(join(DEPLOY, 'overlays')).map((name) => join(DEPLOY, 'overlays', name));
    assert.ok(overlays.length > 0);
    const isForOperator = (folder: string) => folder.endsWith('monitoring');
    for (const folder of [join(DEPLOY, 'base'), ...overlays].filter((one) => !isForOperator(one))) {
      const told = await dryRun(folder);
      assert.match(told.stdout, /daemonset\.apps\/ktrace-agent serverside-applied \(server dry run\)/, folder);
      assert.deepEqual(warningsIn(told), [], folder);
    }
  });

  test('the monitoring overlay is taken where the Prometheus operator has its kind, and told to be unknown where not', async (t) => {
    const folder = join(DEPLOY, 'overlays', 'monitoring');
    const names = CRDS.map(({ metadata }) => `crd/${metadata.name}`);
    const { stdout: present } = await beside(['kubectl', 'get', ...names, '--ignore-not-found', '-o', 'name']);
    if (present === '') {
      await assert.rejects(dryRun(folder), /no matches for kind "PodMonitor"|could not find the requested resource/);
      const refused = ktrace('install', '--monitoring', '--dry-run');
      assert.equal((await refused.ended).code, 1);
      assert.match(refused.stderr, /KTRACE_E_INSTALL.*\n.*ktrace itself is installed/);
      t.after(() => beside(['kubectl', 'delete', ...names]));
      await apply(CRDS);
      await beside(['kubectl', 'wait', '--for=condition=Established', ...names, '--timeout=30s']);
    }
    const told = await dryRun(folder);
    assert.match(told.stdout, /podmonitor\.monitoring\.coreos\.com\/ktrace serverside-applied \(server dry run\)/);
    assert.match(told.stdout, /prometheusrule\.monitoring\.coreos\.com\/ktrace serverside-applied \(server dry run\)/);
    assert.match(told.stdout, /configmap\/ktrace-dashboard serverside-applied \(server dry run\)/);
    assert.deepEqual(warningsIn(told), []);
  });

  test('every metric of the dashboard and of the alerts is one that a scrape of a gate gives, over the network as Prometheus does it', async () => {
    // The recording's own are given by agents that record.
    await agentsRecord();
    const [gate] = await readyPods('gate');
    assert.ok(gate !== undefined);
    const page = await scrape(gate);
    const exported = new Set(page.split('\n').flatMap((line) => /^# TYPE (\S+)/.exec(line)?.[1] ?? []));
    const [dashboard, alerts] = ['dashboard.json', 'alerts.yaml'].map((name) =>
      readFileSync(join(DEPLOY, 'overlays', 'monitoring', name), 'utf8'),
    );
    const asked = new Set(`${dashboard}${alerts}`.match(/\b(?:ktrace|process)_[a-z_]+\b/g));
    assert.ok(asked.size > 15, `${asked.size} metrics on the dashboard`);
    assert.deepEqual(
      [...asked].filter((metric) => !exported.has(metric)),
      [],
    );
  });

  test('an agent and a gate are ready on every node, whatever its taints', async () => {
    await productIsReady();
    const { items } = await getJson<{ items: { metadata: { name: string } }[] }>('nodes');
    const nodes = items.map(({ metadata }) => metadata.name).sort();
    for (const component of ['agent', 'gate'] as const)
      assert.deepEqual(
        (await readyPods(component)).map(({ node }) => node),
        nodes,
      );
  });

  test('the gate has no right, no capability and no network of the host, and both have their bounds', async () => {
    const agent = await getJson<DaemonSet>('daemonset', 'ktrace-agent', '-n', 'ktrace-agents');
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
