import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { createApi } from '../../src/client/api.ts';
import { runInstall } from '../../src/client/install/install.ts';
import { kubeSurroundings, loadKubeConfig } from '../../src/client/kubeconfig.ts';

test('install leaves a namespace alone that somebody else made, and a DELETE has a whole body', async (t) => {
  const asked: string[] = [];
  const http = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    asked.push(`${request.method} ${request.url} ${body}`);
    response.end(JSON.stringify({ kind: 'Namespace', metadata: { name: 'team-a', labels: { team: 'a' } } }));
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

  const options = {
    image: undefined,
    leastPrivilege: false,
    wait: false,
    timeoutMs: 1000,
    dryRun: false,
    ktraceNamespace: 'team-a',
  };
  const io = {
    stdout: new PassThrough(),
    stderr: new PassThrough(),
    interrupt: new AbortController().signal,
    findLab: () => undefined,
  };
  await assert.rejects(runInstall({ ...options, kubeconfig, context: undefined }, io), {
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
