import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { grantObjects } from '../../../src/access/grant-objects.ts';
import type { KubeOptions } from '../../../src/client/cluster/kubeconfig.ts';
import { nodesOf } from '../../../src/client/cluster/target-objects.ts';
import { type GrantOptions, runGrant, runRevoke } from '../../../src/client/grant.ts';

class Sink extends Writable {
  text = '';
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk;
    done();
  }
}

interface Held {
  metadata: { name: string; labels?: unknown; annotations?: unknown };
  rules?: unknown;
  spec?: unknown;
}

/** An API server that holds whatever it is given, by path. */
async function server(t: TestContext): Promise<{ objects: Map<string, Held>; writes: string[]; kube: KubeOptions }> {
  const objects = new Map<string, Held>();
  const writes: string[] = [];
  const http = createServer(async (request, response) => {
    const path = (request.url ?? '').split('?')[0] ?? '';
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = text === '' ? undefined : JSON.parse(text);
    const answer = (status: number, value: unknown) => response.writeHead(status).end(JSON.stringify(value));
    if (request.method !== 'GET') writes.push(`${request.method} ${path}`);
    if (request.method === 'POST') {
      const key = `${path}/${body.metadata.name}`;
      if (objects.has(key)) return answer(409, { reason: 'AlreadyExists' });
      objects.set(key, body);
      return answer(201, body);
    }
    if (request.method === 'GET' && /(s|roles|bindings)$/.test(path) && !objects.has(path)) {
      const items = [...objects].filter(([key]) => key.slice(0, key.lastIndexOf('/')) === path).map(([, item]) => item);
      return answer(200, { items });
    }
    if (!objects.has(path)) return answer(404, { reason: 'NotFound' });
    if (request.method === 'PUT') objects.set(path, body);
    if (request.method === 'DELETE') objects.delete(path);
    return answer(200, body ?? objects.get(path) ?? { status: 'Success' });
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-grant-'));
  const kubeconfig = join(directory, 'config');
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      'current-context': 'fake',
      clusters: [{ name: 'fake', cluster: { server: url } }],
      users: [{ name: 'user', user: {} }],
      contexts: [{ name: 'fake', context: { cluster: 'fake', user: 'user' } }],
    }),
  );
  t.after(() => {
    http.closeAllConnections();
    http.close();
    rmSync(directory, { recursive: true });
  });
  return { objects, writes, kube: { kubeconfig } };
}

async function run(what: typeof runGrant, options: Partial<GrantOptions>): Promise<string> {
  const [stdout, stderr] = [new Sink(), new Sink()];
  const defaults: GrantOptions = {
    namespace: undefined,
    admin: false,
    payloads: false,
    user: undefined,
    group: undefined,
    dryRun: false,
    ktraceNamespace: 'ktrace',
    kube: {},
  };
  assert.equal(await what({ ...defaults, ...options }, { stdout, stderr, findLab: () => undefined }), 0);
  return stdout.text;
}

test('a grant makes the account, what it sees, and who may be it; again it changes nothing', async (t) => {
  const { objects, writes, kube } = await server(t);
  const first = await run(runGrant, { namespace: 'shop', user: 'jane', kube });
  assert.equal(first.trim().split('\n').length, 7);
  assert.ok(first.split('\n').every((line) => line === '' || line.endsWith(' created')));
  assert.deepEqual(objects.get('/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles/ktrace-viewer')?.rules, [
    { apiGroups: ['ktrace.dev'], resources: ['flows'], verbs: ['get', 'watch'] },
  ]);
  assert.deepEqual(objects.get('/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles/ktrace-viewer-token')?.rules, [
    { apiGroups: [''], resources: ['serviceaccounts/token'], resourceNames: ['ktrace-viewer'], verbs: ['create'] },
    { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list'] },
    { apiGroups: ['apps'], resources: ['deployments', 'replicasets', 'statefulsets', 'daemonsets'], verbs: ['get'] },
    { apiGroups: ['batch'], resources: ['jobs'], verbs: ['get', 'list'] },
    { apiGroups: ['batch'], resources: ['cronjobs'], verbs: ['get'] },
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list'] },
  ]);
  assert.ok([...objects.keys()].every((path) => !path.includes('cluster')));
  const before = structuredClone([...objects]);
  const again = await run(runGrant, { namespace: 'shop', user: 'jane', kube });
  assert.ok(again.split('\n').every((line) => line === '' || line.endsWith(' unchanged')));
  assert.deepEqual([...objects], before);
  assert.ok(writes.every((write) => write.startsWith('POST')));
});

test("a grant lets its user ask where the namespace's targets are, with what the client asks", async () => {
  const { shared, own } = grantObjects({ namespace: 'shop', ktraceNamespace: 'ktrace', grantee: { kind: 'User', name: 'jane' } });
  const granted = own.flatMap(({ roleRef, metadata }) =>
    shared
      .filter(
        ({ kind, metadata: role }) =>
          kind === roleRef?.kind && role.name === roleRef.name && role.namespace === metadata.namespace,
      )
      .flatMap(({ rules = [] }) => rules.map((rule) => ({ ...rule, namespace: metadata.namespace }))),
  );
  const isGranted = (path: string): boolean => {
    const [, group = '', namespace, resource = '', name] =
      /^\/apis?(?:\/([^/]+))?\/v1\/namespaces\/([^/]+)\/([^/?]+)(?:\/([^/?]+))?/.exec(path) ?? [];
    const verb = name === undefined ? 'list' : 'get';
    return granted.some(
      (rule) =>
        rule.namespace === namespace &&
        rule.apiGroups.includes(group) &&
        rule.resources.includes(resource) &&
        rule.verbs.includes(verb) &&
        rule.resourceNames === undefined,
    );
  };
  const asked: string[] = [];
  const get = async (path: string): Promise<unknown> => {
    asked.push(path);
    return { items: [], spec: { selector: {} } };
  };
  const named = { namespace: 'shop', name: 'x' };
  const kinds = ['pod', 'deployment', 'replicaset', 'statefulset', 'daemonset', 'job', 'cronjob', 'service'] as const;
  await nodesOf({ server: '', get, send: get }, [
    ...kinds.map((kind) => ({ kind, ...named })),
    { kind: 'selector', namespace: 'shop', selector: 'app=web' },
    { kind: 'namespace', name: 'shop' },
  ]);
  assert.ok(asked.length >= 10);
  assert.deepEqual(
    asked.filter((path) => !isGranted(path)),
    [],
  );
  assert.equal(isGranted('/api/v1/namespaces/shop/secrets'), false);
  assert.equal(isGranted('/api/v1/namespaces/other/pods'), false);
});

test('nothing is granted where a pod of the same namespace is on its node’s network', async (t) => {
  const { objects, writes, kube } = await server(t);
  const pod = '/api/v1/namespaces/ktrace/pods/ktrace-agent-x';
  objects.set(pod, { metadata: { name: 'ktrace-agent-x' }, spec: { hostNetwork: true } });
  for (const what of [{ namespace: 'shop' }, { admin: true }])
    await assert.rejects(run(runGrant, { ...what, user: 'jane', kube }), {
      code: 'KTRACE_E_UNSAFE_GRANT',
      message: /pods of namespace ktrace use their node's network \(ktrace-agent-x\)/,
    });
  assert.deepEqual(writes, []);
  await run(runRevoke, { namespace: 'shop', user: 'jane', kube });
  objects.set(pod, { metadata: { name: 'ktrace-gate-x' }, spec: {} });
  await run(runGrant, { namespace: 'shop', user: 'jane', kube });
});

test('payloads are granted beside the packets, by an account of their own, and taken back with them or alone', async (t) => {
  const { objects, kube } = await server(t);
  await run(runGrant, { namespace: 'shop', user: 'jane', kube });
  const plain = [...objects.keys()];
  await run(runGrant, { namespace: 'shop', user: 'jane', payloads: true, kube });
  const roles = '/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles';
  assert.deepEqual(objects.get(`${roles}/ktrace-payload-viewer`)?.rules, [
    { apiGroups: ['ktrace.dev'], resources: ['flows'], verbs: ['get', 'watch'] },
    { apiGroups: ['ktrace.dev'], resources: ['payloads'], verbs: ['get'] },
  ]);
  assert.doesNotMatch(JSON.stringify(objects.get(`${roles}/ktrace-viewer`)), /payloads/);
  assert.deepEqual(objects.get(`${roles}/ktrace-payload-viewer-token`)?.rules, [
    { apiGroups: [''], resources: ['serviceaccounts/token'], resourceNames: ['ktrace-payload-viewer'], verbs: ['create'] },
  ]);
  const both = [...objects.keys()];
  await run(runRevoke, { namespace: 'shop', user: 'jane', payloads: true, kube });
  assert.deepEqual([...objects.keys()], plain, 'the payloads alone');
  await run(runGrant, { namespace: 'shop', user: 'jane', payloads: true, kube });
  assert.deepEqual([...objects.keys()].sort(), both.sort());
  const said = await run(runRevoke, { namespace: 'shop', user: 'jane', kube });
  assert.deepEqual([...objects.keys()], ['/apis/rbac.authorization.k8s.io/v1/namespaces/ktrace/roles/ktrace-connect']);
  assert.doesNotMatch(said, /not there/);
  await run(runGrant, { admin: true, user: 'jane', payloads: true, kube });
  assert.match(
    JSON.stringify(objects.get('/apis/rbac.authorization.k8s.io/v1/clusterroles/ktrace-payload-admin')?.rules),
    /payloads/,
  );
  assert.doesNotMatch(JSON.stringify(objects.get('/apis/rbac.authorization.k8s.io/v1/clusterroles/ktrace-admin')), /payloads/);
});

test('a role that was widened by hand is put right, its labels left', async (t) => {
  const { objects, kube } = await server(t);
  await run(runGrant, { namespace: 'shop', user: 'jane', kube });
  const path = '/apis/rbac.authorization.k8s.io/v1/namespaces/ktrace/roles/ktrace-connect';
  const role = objects.get(path) as Held;
  objects.set(path, { ...role, metadata: { ...role.metadata, labels: { mine: 'x' } }, rules: [] });
  assert.match(await run(runGrant, { namespace: 'shop', user: 'jane', kube }), /role\/ktrace-connect in ktrace changed/);
  assert.deepEqual(objects.get(path)?.rules, role.rules);
  assert.deepEqual(objects.get(path)?.metadata.labels, { mine: 'x' });
});

test('a revoke takes one grant back and leaves others; the last takes the account along; again it changes nothing', async (t) => {
  const { objects, kube } = await server(t);
  await run(runGrant, { namespace: 'shop', user: 'jane', kube });
  const withJane = [...objects.keys()];
  await run(runGrant, { namespace: 'shop', group: 'ops', kube });
  await run(runRevoke, { namespace: 'shop', group: 'ops', kube });
  assert.deepEqual([...objects.keys()], withJane);
  await run(runRevoke, { namespace: 'shop', user: 'jane', kube });
  assert.deepEqual([...objects.keys()], ['/apis/rbac.authorization.k8s.io/v1/namespaces/ktrace/roles/ktrace-connect']);
  const again = await run(runRevoke, { namespace: 'shop', user: 'jane', kube });
  assert.ok(again.split('\n').every((line) => line === '' || line.endsWith(' not there')));
});

test('everything is granted by a cluster role, and what installs with ktrace outlives the last revoke', async (t) => {
  const { objects, kube } = await server(t);
  await run(runGrant, { admin: true, user: 'jane', kube });
  assert.ok(objects.has('/apis/rbac.authorization.k8s.io/v1/clusterroles/ktrace-admin'));
  await run(runRevoke, { admin: true, user: 'jane', kube });
  assert.ok(objects.has('/api/v1/namespaces/ktrace/serviceaccounts/ktrace-admin'));
  assert.ok([...objects.keys()].every((path) => !/rolebindings\/ktrace-(connect|admin-token)/.test(path)));
});

test('a dry run prints YAML and asks no cluster', async () => {
  const yaml = await run(runGrant, { namespace: 'shop', group: 'ops', dryRun: true, kube: { kubeconfig: '/nonexistent' } });
  assert.equal(yaml.split('---\n').length - 1, 7);
  assert.match(yaml, /kind: Group\n\s+name: ops/);
});

test('what is missing or too much is a usage error', async () => {
  for (const options of [
    {},
    { user: 'j' },
    { namespace: 'a' },
    { namespace: 'a', user: 'j', group: 'g' },
    { namespace: 'a', admin: true, user: 'j' },
    { namespace: 'a/b', user: 'j' },
    { namespace: 'a', user: '' },
  ]) {
    await assert.rejects(run(runGrant, options), { code: 'KTRACE_E_ARGUMENT', exitCode: 2 });
  }
});
