import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { inClusterAccess } from '../../../src/kube/api/in-cluster.ts';

describe('a pod’s own service account', () => {
  let root: string;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'ktrace-kube-'));
    await writeFile(join(root, 'ca.crt'), 'CA');
    await writeFile(join(root, 'token'), 'first\n');
  });
  after(() => rm(root, { recursive: true }));

  it('gives address, certificate and token, and reads the token again after a minute', async () => {
    let at = 0;
    const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };
    const access = inClusterAccess({ root, env, now: () => at });
    assert.deepEqual(access.getCurrentCluster(), { server: 'https://[fd00::1]:443' });
    const ask = async () => {
      const options: RequestOptions = {};
      await access.applyToHTTPSOptions(options);
      return options;
    };
    const first = await ask();
    assert.deepEqual(first.headers, { authorization: 'Bearer first' });
    await writeFile(join(root, 'token'), 'second\n');
    assert.deepEqual((await ask()).headers, { authorization: 'Bearer first' });
    at = 61_000;
    const second = await ask();
    assert.deepEqual(second.headers, { authorization: 'Bearer second' });
    assert.equal(second.agent, first.agent);
  });

  it('outside of a cluster is a clear error', () => {
    assert.throws(() => inClusterAccess({ root, env: {} }), { code: 'KTRACE_E_KUBECONFIG' });
  });
});
