import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Cluster, KubeConfig } from '@kubernetes/client-node';
import { KtraceError, messageOf } from '../../util/errors.ts';

/** A kubeconfig's `exec`: a program that prints credentials. */
interface ExecPlugin {
  apiVersion?: string;
  command?: string;
  env?: { name: string; value: string }[] | null;
  provideClusterInfo?: boolean;
}

const EXEC_INFO = 'KUBERNETES_EXEC_INFO';

/** A command with a slash in it, and not at its beginning, is meant from the kubeconfig's own folder. */
export function placePlugins(config: KubeConfig, file: string): void {
  for (const { exec } of config.users as { exec?: ExecPlugin }[]) {
    if (exec?.command?.includes('/') === true && !exec.command.startsWith('/')) exec.command = join(dirname(file), exec.command);
  }
}

/**
 * Tells the plugin of the current user what kubectl tells it in `KUBERNETES_EXEC_INFO`: an ExecCredential, with the cluster where the plugin
 * asks for it. The library does not, and plugins that are written with client-go refuse to run without. Throws KTRACE_E_KUBECONFIG.
 */
export function informPlugin(config: KubeConfig): void {
  const exec = (config.getCurrentUser() as { exec?: ExecPlugin } | null)?.exec;
  const cluster = config.getCurrentCluster();
  if (!exec || cluster === null || exec.env?.some(({ name }) => name === EXEC_INFO)) return;
  const info = {
    kind: 'ExecCredential',
    apiVersion: exec.apiVersion ?? 'client.authentication.k8s.io/v1',
    spec: { interactive: false, ...(exec.provideClusterInfo === true ? { cluster: clusterInfo(cluster) } : {}) },
  };
  exec.env = [...(exec.env ?? []), { name: EXEC_INFO, value: JSON.stringify(info) }];
}

function clusterInfo({ server, caData, caFile, skipTLSVerify, tlsServerName, proxyUrl }: Cluster): object {
  const authority = caData ?? (caFile === undefined ? undefined : authorityOf(caFile));
  return {
    server,
    ...(authority === undefined ? {} : { 'certificate-authority-data': authority }),
    ...(skipTLSVerify ? { 'insecure-skip-tls-verify': true } : {}),
    ...(tlsServerName === undefined ? {} : { 'tls-server-name': tlsServerName }),
    ...(proxyUrl === undefined ? {} : { 'proxy-url': proxyUrl }),
  };
}

/** Plugins are told the certificates themselves, also where the kubeconfig names a file. */
function authorityOf(file: string): string {
  try {
    return readFileSync(file).toString('base64');
  } catch (cause) {
    throw new KtraceError('KTRACE_E_KUBECONFIG', `The certificate authority ${file} cannot be read: ${messageOf(cause)}`, {
      cause,
    });
  }
}
