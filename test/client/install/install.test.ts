import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { createApi } from '../../../src/client/cluster/api.ts';
import { kubeSurroundings, loadKubeConfig } from '../../../src/client/cluster/kubeconfig.ts';
import { runInstall } from '../../../src/client/install/install.ts';
import { runStatus } from '../../../src/client/install/status.ts';

const OPTIONS = {
  image: undefined,
  leastPrivilege: false,
  record: undefined,
  monitoring: false,
  wait: false,
  timeoutMs: 10_000,
  dryRun: false,
};
const IO = {
  stdout: new PassThrough(),
  stderr: new PassThrough(),
  interrupt: new AbortController().signal,
  findLab: () => undefined,
};

/** An API server that answers as a test says, by a kubeconfig without a user. */
async function fakeServer(
  t: TestContext,
  answer: (method: string, path: string, body: string) => [status: number, body: object],
): Promise<{ kubeconfig: string }> {
  const http = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const [status, object] = answer(request.method ?? '', (request.url ?? '').split('?')[0] ?? '', body);
    response.writeHead(status).end(JSON.stringify(object));
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-install-'));
  t.after(() => {
    http.close();
    rmSync(folder, { recursive: true });
  });
  const kubeconfig = join(folder, 'config');
  const cluster = { server: `http://127.0.0.1:${(http.address() as AddressInfo).port}` };
  const contexts = [{ name: 'x', context: { cluster: 'c', user: '' } }];
  writeFileSync(kubeconfig, JSON.stringify({ clusters: [{ name: 'c', cluster }], contexts, 'current-context': 'x' }));
  return { kubeconfig };
}

test('install leaves a namespace alone that somebody else made, and a DELETE has a whole body', async (t) => {
  const asked: string[] = [];
  const { kubeconfig } = await fakeServer(t, (method, path, body) => {
    asked.push(`${method} ${path} ${body}`);
    return [200, { kind: 'Namespace', metadata: { name: 'team-a', labels: { team: 'a' } } }];
  });
  await assert.rejects(runInstall({ ...OPTIONS, ktraceNamespace: 'team-a', kubeconfig, context: undefined }, IO), {
    code: 'KTRACE_E_INSTALL',
    exitCode: 2,
    message: /got team-a, which is there already/,
  });
  assert.deepEqual(asked, ['GET /api/v1/namespaces/team-a ']);

  const around = kubeSurroundings(
    () => undefined,
    () => undefined,
  );
  await createApi(loadKubeConfig({ kubeconfig }, around)).send('DELETE', '/api/v1/namespaces/x', {
    propagationPolicy: 'Background',
  });
  assert.equal(asked[1], 'DELETE /api/v1/namespaces/x {"propagationPolicy":"Background"}');
});

test('install takes the agents of an earlier version out of the gates’ namespace before it makes new ones', async (t) => {
  const ours = { labels: { 'app.kubernetes.io/name': 'ktrace' } };
  const earlier = '/apis/apps/v1/namespaces/ktrace/daemonsets/ktrace-agent';
  const objects = new Map<string, object>([
    ['/api/v1/namespaces/ktrace', { metadata: { name: 'ktrace', ...ours } }],
    [earlier, { metadata: { name: 'ktrace-agent', ...ours } }],
  ]);
  const asked: string[] = [];
  let polls = 0;
  const { kubeconfig } = await fakeServer(t, (method, path, body) => {
    if (method !== 'GET') asked.push(`${method} ${path}${method === 'DELETE' ? ` ${body}` : ''}`);
    if (method === 'DELETE') objects.set(path, { metadata: { name: 'ktrace-agent', ...ours, deletionTimestamp: 'now' } });
    if (method === 'GET' && asked.length === 1 && path === earlier && ++polls > 1) objects.delete(path);
    if (method === 'PATCH') return [200, JSON.parse(body)];
    const object = objects.get(path);
    return object === undefined ? [404, { reason: 'NotFound' }] : [200, object];
  });
  const stdout = new PassThrough();
  assert.equal(await runInstall({ ...OPTIONS, ktraceNamespace: 'ktrace', kubeconfig, context: undefined }, { ...IO, stdout }), 0);
  assert.equal(asked[0], `DELETE ${earlier} {"propagationPolicy":"Foreground"}`);
  assert.equal(polls, 2, 'it waited until the agents were gone');
  assert.ok(asked.length > 10 && asked.slice(1).every((one) => one.startsWith('PATCH ')));
  assert.ok(asked.some((one) => one.startsWith('PATCH /apis/apps/v1/namespaces/ktrace-agents/daemonsets/ktrace-agent')));
  stdout.end();
  assert.match(await text(stdout), /^daemonset\/ktrace-agent in ktrace deleted\nnamespace\/ktrace (?:un)?changed\n/);
});

test('an interrupt while earlier agents end makes nothing beside them', async (t) => {
  const ours = { labels: { 'app.kubernetes.io/name': 'ktrace' } };
  const interruption = new AbortController();
  const asked: string[] = [];
  const { kubeconfig } = await fakeServer(t, (method, path) => {
    if (method !== 'GET') asked.push(`${method} ${path}`);
    if (method === 'DELETE') interruption.abort();
    const metadata = { name: 'ktrace', ...ours, ...(asked.length === 0 ? {} : { deletionTimestamp: 'now' }) };
    return [200, { metadata }];
  });
  const io = { ...IO, interrupt: interruption.signal };
  assert.equal(await runInstall({ ...OPTIONS, ktraceNamespace: 'ktrace', kubeconfig, context: undefined }, io), 130);
  assert.deepEqual(asked, ['DELETE /apis/apps/v1/namespaces/ktrace/daemonsets/ktrace-agent']);
});

test('install has pods made again that were refused before, and changes nothing else of their DaemonSets', async (t) => {
  const ours = { labels: { 'app.kubernetes.io/name': 'ktrace' } };
  const of = (count: number) => ({
    desiredNumberScheduled: 3,
    currentNumberScheduled: count,
    updatedNumberScheduled: count,
    numberReady: count,
  });
  const lacking = '/apis/apps/v1/namespaces/ktrace-agents/daemonsets/ktrace-agent';
  const retried: [path: string, body: object][] = [];
  const { kubeconfig } = await fakeServer(t, (method, path, body) => {
    if (method === 'PATCH') {
      const sent = JSON.parse(body);
      if (sent.metadata.annotations?.['ktrace.dev/retried-at'] !== undefined) retried.push([path, sent]);
      return [200, sent];
    }
    if (path === '/apis/apps/v1/namespaces/ktrace/daemonsets/ktrace-agent') return [404, { reason: 'NotFound' }];
    const isDone = path !== lacking || retried.length > 0;
    return [
      200,
      {
        metadata: { name: path.split('/').at(-1), generation: 1, ...ours },
        status: { observedGeneration: 1, ...of(isDone ? 3 : 2) },
      },
    ];
  });
  const stderr = new PassThrough();
  const options = { ...OPTIONS, wait: true, ktraceNamespace: 'ktrace', kubeconfig, context: undefined };
  assert.equal(await runInstall(options, { ...IO, stderr }), 0);
  stderr.end();
  assert.match(await text(stderr), /ktrace-agent 2 of 3 ready.*ktrace-agent 3 of 3 ready/s);
  const [[path, sent] = ['', {}], ...more] = retried;
  assert.deepEqual([path, more], [lacking, []]);
  const { metadata, ...rest } = sent as { metadata: { name: string; namespace: string; annotations: Record<string, string> } };
  assert.deepEqual(rest, { apiVersion: 'apps/v1', kind: 'DaemonSet' });
  assert.deepEqual(
    { ...metadata, annotations: Object.keys(metadata.annotations) },
    {
      name: 'ktrace-agent',
      namespace: 'ktrace-agents',
      annotations: ['ktrace.dev/retried-at'],
    },
  );
});

test('status where the API server lets no pod be made says so, and that there is no installation where there is none', async (t) => {
  const sets = [{ metadata: { name: 'ktrace-agent' }, status: { desiredNumberScheduled: 1, currentNumberScheduled: 0 } }];
  const events = [
    { involvedObject: { name: 'ktrace-agent' }, message: 'exceeded quota: ktrace-agent', lastTimestamp: '2026-11-29T10:00:00Z' },
  ];
  const objects: Record<string, object[]> = {
    '/api/v1/nodes': [{ metadata: { name: 'host1' }, status: { nodeInfo: { kernelVersion: '6.1.0' } } }],
    '/apis/apps/v1/namespaces/ktrace-agents/daemonsets': sets,
    '/api/v1/namespaces/ktrace-agents/events': events,
  };
  const { kubeconfig } = await fakeServer(t, (_, path) => [200, { items: objects[path] ?? [] }]);
  const options = { ktraceNamespace: 'ktrace', kubeconfig, context: undefined };
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  assert.equal(await runStatus({ ...options, output: 'text' }, { ...IO, stdout }), 1);
  assert.equal(await runStatus({ ...options, output: 'json' }, { ...IO, stdout: new PassThrough(), stderr }), 1);
  stdout.end();
  stderr.end();
  const refusal = 'ktrace-agent: no pod can be made: exceeded quota: ktrace-agent\n';
  assert.match(
    await text(stdout),
    new RegExp(`^host1 +missing +missing .*\n(.*no pod\n){2}${refusal}0 of 1 nodes ready\n$`, 'm'),
  );
  assert.equal(await text(stderr), `ktrace: ${refusal}`);
  sets.length = 0;
  await assert.rejects(runStatus({ ...options, output: 'text' }, IO), { code: 'KTRACE_E_NO_AGENT', exitCode: 3 });
});
