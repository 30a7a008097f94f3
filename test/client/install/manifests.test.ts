import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { grantObjects } from '../../../src/access/grant-objects.ts';
import { type InstallOptions, patchesFor } from '../../../src/client/install/install.ts';
import { deployFolder, type Manifest, renderManifests } from '../../../src/client/install/manifests.ts';

/** All that a person may install; the monitoring overlay has no pods. */
const FOLDERS = [
  'base',
  ...readdirSync(join(deployFolder(), 'overlays'))
    .filter((name) => name !== 'monitoring')
    .map((name) => `overlays/${name}`),
];

interface PodSpec {
  hostNetwork?: boolean;
  hostPID?: boolean;
  serviceAccountName: string;
  priorityClassName?: string;
  containers: Record<string, { exec?: { command: string[] } } | undefined>[];
}

interface QuotaSpec {
  scopeSelector: { matchExpressions: { scopeName: string; operator: string; values: string[] }[] };
}

interface IngressRule {
  from?: { namespaceSelector?: { matchLabels?: Record<string, string> } }[];
  ports?: { port: string }[];
}

function render(folder: string, namespace: string): Manifest[] {
  return renderManifests({ folder: join(deployFolder(), folder), namespace, image: undefined });
}

function podSpec(manifest: Manifest): PodSpec {
  return (manifest['spec'] as { template: { spec: PodSpec } }).template.spec;
}

for (const folder of FOLDERS) {
  test(`${folder}: no pod on a node's network where a grant lets people forward ports`, () => {
    for (const ktraceNamespace of ['ktrace', 'tracing']) {
      const sets = render(folder, ktraceNamespace).filter(({ kind }) => kind === 'DaemonSet');
      const opened = (['shop', undefined] as const).flatMap((namespace) => {
        const { shared, own } = grantObjects({ namespace, ktraceNamespace, grantee: { kind: 'User', name: 'jane' } });
        const roles = shared.filter(({ rules }) =>
          rules?.some(({ resources }) => resources.some((one) => /^(\*|pods\/.*|nodes\/.*)$/.test(one))),
        );
        assert.ok(roles.length === 1 && roles[0]?.kind === 'Role' && own.length === 2);
        return roles.map(({ metadata }) => metadata.namespace);
      });
      assert.deepEqual([...new Set(opened)], [ktraceNamespace]);
      assert.deepEqual(
        sets.map((set) => [set.metadata.name, set.metadata.namespace, podSpec(set).hostNetwork === true, podSpec(set).hostPID]),
        [
          ['ktrace-agent', `${ktraceNamespace}-agents`, true, undefined],
          ['ktrace-gate', ktraceNamespace, false, undefined],
        ],
      );
    }
  });

  test(`${folder}: every object is in a namespace that comes with it, and every account that is named is there`, () => {
    const manifests = render(folder, 'tracing');
    const namespaces = manifests.filter(({ kind }) => kind === 'Namespace').map(({ metadata }) => metadata.name);
    assert.deepEqual(namespaces, ['tracing', 'tracing-agents']);
    const accounts = new Set<string>();
    for (const { kind, metadata } of manifests) {
      if (['Namespace', 'ClusterRole', 'ClusterRoleBinding'].includes(kind)) assert.equal(metadata.namespace, undefined);
      else assert.ok(namespaces.includes(metadata.namespace ?? ''), `${kind} ${metadata.name}`);
      if (kind === 'ServiceAccount') accounts.add(`${metadata.namespace}/${metadata.name}`);
    }
    const used = manifests.flatMap((manifest) => {
      if (manifest.kind === 'DaemonSet') return [`${manifest.metadata.namespace}/${podSpec(manifest).serviceAccountName}`];
      const subjects = manifest['subjects'] as { name: string; namespace: string }[] | undefined;
      return (subjects ?? []).map(({ name, namespace }) => `${namespace}/${name}`);
    });
    assert.ok(used.length >= 5);
    assert.deepEqual(
      used.filter((account) => !accounts.has(account)),
      [],
    );
  });

  test(`${folder}: no probe goes over the network, where others can keep it out`, () => {
    const containers = render(folder, 'tracing').flatMap((one) => (one.kind === 'DaemonSet' ? podSpec(one).containers : []));
    assert.equal(containers.length, 2);
    for (const container of containers) {
      for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe'])
        assert.equal(container[probe]?.exec?.command[0], 'ktrace-healthz', probe);
    }
  });

  test(`${folder}: a full node has room for every pod, also where its class is admitted by a quota alone, and no class is made that others could use`, () => {
    const manifests = render(folder, 'tracing');
    const sets = manifests.filter(({ kind }) => kind === 'DaemonSet');
    const quotas = manifests.filter(({ kind }) => kind === 'ResourceQuota');
    assert.ok(sets.length > 0);
    for (const set of sets) {
      const { priorityClassName } = podSpec(set);
      assert.match(priorityClassName ?? '', /^system-/, set.metadata.name);
      const admitted = quotas
        .filter(({ metadata }) => metadata.namespace === set.metadata.namespace)
        .flatMap((quota) => (quota['spec'] as QuotaSpec).scopeSelector.matchExpressions)
        .filter(({ scopeName, operator }) => scopeName === 'PriorityClass' && operator === 'In')
        .flatMap(({ values }) => values);
      assert.ok(admitted.includes(priorityClassName ?? ''), set.metadata.name);
    }
    assert.deepEqual(
      manifests.filter(({ kind }) => kind === 'PriorityClass'),
      [],
    );
  });

  test(`${folder}: what comes to a gate over the network is named`, () => {
    const policies = render(folder, 'tracing').filter(({ kind }) => kind === 'NetworkPolicy');
    const [spec] = policies.map((policy) => policy['spec'] as { policyTypes: string[]; ingress: IngressRule[] });
    assert.ok(policies.length === 1 && spec !== undefined && spec.policyTypes.includes('Ingress'));
    for (const { from, ports } of spec.ingress) {
      assert.deepEqual(ports, [{ port: 'metrics' }]);
      assert.ok(from !== undefined && from.length > 0);
      // An empty selector is everybody.
      for (const { namespaceSelector } of from) assert.ok(Object.keys(namespaceSelector?.matchLabels ?? {}).length > 0);
    }
  });
}

function agentOf(options: Pick<InstallOptions, 'leastPrivilege' | 'record'>): Container {
  const patches = patchesFor(options);
  const manifests = renderManifests({ folder: join(deployFolder(), 'base'), patches, namespace: 'ktrace', image: 'ktrace:1' });
  const agent = manifests.find(({ kind, metadata }) => kind === 'DaemonSet' && metadata.name === 'ktrace-agent');
  assert.ok(agent !== undefined);
  return podSpec(agent).containers[0] as unknown as Container;
}

interface Container {
  image: string;
  securityContext: { privileged: boolean };
  env: { name: string; value?: string }[];
  volumeMounts: { name: string }[];
}

test('what an overlay adds to a list of the base comes before what is there, as kustomize has it', () => {
  const agent = render('overlays/recording', 'ktrace').find(
    ({ kind, metadata }) => kind === 'DaemonSet' && metadata.name === 'ktrace-agent',
  );
  const { containers, volumes } = (agent as unknown as { spec: { template: { spec: Record<string, { name: string }[]> } } }).spec
    .template.spec;
  const [{ env, volumeMounts }] = containers as unknown as [Record<string, { name: string }[]>];
  assert.deepEqual(
    [env, volumeMounts, volumes].map((list) => list?.[0]?.name),
    ['KTRACE_RECORD', 'recording', 'recording'],
  );
});

test('what install changes in the base is what the overlays change, also two of them at once, with their settings', () => {
  const base = { namespace: 'ktrace', image: undefined, folder: join(deployFolder(), 'base') };
  for (const [options, overlay] of [
    [{ leastPrivilege: true, record: undefined }, 'least-privilege'],
    [{ leastPrivilege: false, record: {} }, 'recording'],
  ] as const)
    assert.deepEqual(renderManifests({ ...base, patches: patchesFor(options) }), render(`overlays/${overlay}`, 'ktrace'));

  const { image, securityContext, env, volumeMounts } = agentOf({ leastPrivilege: true, record: { bytes: 2 ** 31, hours: 72 } });
  assert.deepEqual([image, securityContext.privileged], ['ktrace:1', false]);
  const set = Object.fromEntries(env.map(({ name, value }) => [name, value]));
  assert.deepEqual(
    [set['KTRACE_RECORD'], set['KTRACE_RECORD_BYTES'], set['KTRACE_RECORD_HOURS']],
    ['/var/lib/ktrace', '2147483648', '72'],
  );
  assert.ok('KTRACE_NODE' in set, 'what the base sets stays');
  assert.ok(volumeMounts.length > 1 && volumeMounts.some(({ name }) => name === 'recording'));
});

test('agents record only where that is asked for', () => {
  const { env } = agentOf({ leastPrivilege: false, record: undefined });
  assert.ok(env.length > 0 && !env.some(({ name }) => name.startsWith('KTRACE_RECORD')));
});

test('what is for monitoring is in the namespace that ktrace is installed in, with the dashboard as it is', () => {
  const manifests = render('overlays/monitoring', 'tracing');
  assert.deepEqual(
    manifests.map(({ kind, metadata }) => [kind, metadata.namespace, metadata.labels?.['app.kubernetes.io/name']]),
    [
      ['ConfigMap', 'tracing', 'ktrace'],
      ['PodMonitor', 'tracing', 'ktrace'],
      ['PrometheusRule', 'tracing', 'ktrace'],
    ],
  );
  const [dashboard] = manifests;
  assert.equal(dashboard?.metadata.labels?.['grafana_dashboard'], '1');
  const text = readFileSync(join(deployFolder(), 'overlays/monitoring/dashboard.json'), 'utf8');
  assert.deepEqual(dashboard['data'], { 'ktrace.json': text });
});

test('every metric that an alert asks for is one that agents or gates have, and every alert says what and where', () => {
  const src = join(import.meta.dirname, '../../../src');
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));
  const code = files.map((path) => readFileSync(join(src, path), 'utf8')).join('\n');
  const rules = render('overlays/monitoring', 'ktrace').find(({ kind }) => kind === 'PrometheusRule');
  assert.ok(rules !== undefined);
  const alerts = (rules['spec'] as { groups: { rules: Alert[] }[] }).groups.flatMap((group) => group.rules);
  assert.ok(alerts.length > 4);
  for (const { alert, expr, annotations } of alerts) {
    const metrics = expr.match(/\bktrace_[a-z_]+/g) ?? [];
    assert.ok(metrics.length > 0, alert);
    for (const metric of metrics) assert.ok(code.includes(`'${metric}'`), `${alert}: ${metric}`);
    assert.ok(annotations.description.length > 0, alert);
    // Whatever an alert is grouped by it names; one of all nodes together has nothing to name.
    const [, grouped = ''] = /^\w+ by \(([\w, ]+)\)/.exec(expr) ?? [];
    for (const label of grouped.split(', ').filter((one) => one !== ''))
      assert.ok(annotations.summary.includes(`{{ $labels.${label} }}`), `${alert}: ${label}`);
  }
});

interface Alert {
  alert: string;
  expr: string;
  annotations: { summary: string; description: string };
}
