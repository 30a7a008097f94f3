import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';
import { createApi } from '../../../src/client/cluster/api.ts';
import { startLocalAgent } from '../../../src/client/cluster/local-agent.ts';

test('an agent of its own needs root, which is said before anything is asked or started', async () => {
  const config = new KubeConfig();
  config.loadFromClusterAndUser({ name: 'c', server: 'http://127.0.0.1:9', skipTLSVerify: false }, { name: 'u' });
  const options = { api: createApi(config), config, command: ['false'], env: {}, signal: new AbortController().signal };
  for (const [uid, got] of [
    [65_534, 'user 65534'],
    [undefined, process.platform],
  ] as const) {
    await assert.rejects(startLocalAgent({ ...options, uid }), {
      code: 'KTRACE_E_LOCAL_ROOT',
      exitCode: 2,
      message: `Expected root on a Linux node for --local, got ${got}`,
    });
  }
});
