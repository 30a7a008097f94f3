import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { API_ADDRESS, API_PORT } from '../plan/plan.ts';
import { writeAtomically } from './state.ts';
import { readTokens, type Tokens, type UserTokens } from './tokens.ts';

/**
 * Writes `kubeconfig` (from the machine itself, by 127.0.0.1; contexts `ktrace-lab`, `ktrace-lab-viewer` and
 * `ktrace-lab-nobody`), and the agents' service account: `kubeconfig-agent` (from the nodes' namespaces), and the folder that a pod has it in.
 */
export function writeKubeconfigs(directory: string, apiPort: number): void {
  const tokens = readTokens(directory);
  const ca = readFileSync(join(directory, 'ca.crt')).toString('base64');
  const users = ['admin', 'viewer', 'nobody'] as const;
  writeAtomically(join(directory, 'kubeconfig'), configText(`https://127.0.0.1:${apiPort}`, ca, tokens, users));
  writeAtomically(join(directory, 'kubeconfig-agent'), configText(`https://${API_ADDRESS}:${API_PORT}`, ca, tokens, ['agent']));
  mkdirSync(serviceAccountOf(directory), { recursive: true, mode: 0o700 });
  writeAtomically(join(serviceAccountOf(directory), 'token'), tokens.agent);
  writeAtomically(join(serviceAccountOf(directory), 'ca.crt'), readFileSync(join(directory, 'ca.crt'), 'utf8'));
}

/** The folder of the agents' service account, as Kubernetes mounts one into a pod. */
export function serviceAccountOf(directory: string): string {
  return join(directory, 'agent-account');
}

function configText(server: string, ca: string, tokens: Tokens, users: readonly (keyof UserTokens)[]): string {
  const contextName = (user: keyof UserTokens, index: number) => (index === 0 ? 'ktrace-lab' : `ktrace-lab-${user}`);
  return JSON.stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'ktrace-lab',
      clusters: [{ name: 'ktrace-lab', cluster: { server, 'certificate-authority-data': ca } }],
      users: users.map((user) => ({ name: user, user: { token: tokens[user] } })),
      contexts: users.map((user, index) => ({
        name: contextName(user, index),
        context: { cluster: 'ktrace-lab', user, namespace: 'default' },
      })),
    },
    null,
    2,
  );
}
