import { readFile } from 'node:fs/promises';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { KtraceError } from '../../util/errors.ts';
import type { KubeAccess } from './api.ts';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The kubelet renews the token long before it ends; it is read again when this old. */
const TOKEN_AGE_MS = 60_000;

/**
 * Access by the pod's own service account: what `KubeConfig.loadFromCluster` of `@kubernetes/client-node` gives, without
 * the memory that loading that package takes (33 MB of it at least). The certificate is read again with the token, for it is renewed too.
 * @param options where the account is mounted, the environment, Unix milliseconds: for tests
 * @throws KtraceError KTRACE_E_KUBECONFIG outside of a cluster
 */
export function inClusterAccess(options: { root?: string; env?: NodeJS.ProcessEnv; now?: () => number } = {}): KubeAccess {
  const { root = SERVICE_ACCOUNT, env = process.env, now = Date.now } = options;
  const host = env['KUBERNETES_SERVICE_HOST'];
  const port = env['KUBERNETES_SERVICE_PORT'];
  if (!host || !port) {
    throw new KtraceError(
      'KTRACE_E_KUBECONFIG',
      'Expected KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT in the environment',
      {
        hint: 'Outside of a pod, give a kubeconfig',
      },
    );
  }
  const server = `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
  let read: { atMs: number; token: string; ca: string; agent: Agent } | undefined;
  return {
    getCurrentCluster: () => ({ server }),
    async applyToHTTPSOptions(request) {
      if (!read || now() - read.atMs > TOKEN_AGE_MS) {
        const [token, ca] = await Promise.all([readFile(join(root, 'token'), 'utf8'), readFile(join(root, 'ca.crt'), 'utf8')]);
        const agent = read?.ca === ca ? read.agent : new Agent({ ca });
        read = { atMs: now(), token: token.trim(), ca, agent };
      }
      request.headers = { ...request.headers, authorization: `Bearer ${read.token}` };
      request.agent = read.agent;
    },
  };
}
