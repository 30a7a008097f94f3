import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { EXIT, KtraceError } from '../../util/errors.ts';
import { type Api, ApiError, listAll } from '../api.ts';
import { type KubeObject, objectPath, titleOf } from '../kube-object.ts';
import { escapeText } from '../render/escape.ts';
import { type InstallIo, type InstallOptions, openApi } from './install.ts';
import { deployFolder, type Manifest, renderManifests } from './manifests.ts';

export type UninstallOptions = Pick<
  InstallOptions,
  'wait' | 'timeoutMs' | 'dryRun' | 'ktraceNamespace' | 'kubeconfig' | 'context'
> & {
  /** Take away what `ktrace grant` made in all namespaces, too. */
  revokeGrants: boolean;
};

type Deletion = 'deleted' | 'not there' | 'not ours, left';

const GRANT_LABEL = 'app.kubernetes.io/managed-by=ktrace-grant';
const RBAC = 'rbac.authorization.k8s.io/v1';
const POLL_MS = 500;

/** `ktrace uninstall`: takes away what `install` made and nothing else. Gives the exit code. */
export async function runUninstall(options: UninstallOptions, io: InstallIo): Promise<number> {
  const api = openApi(options, io);
  const manifests = renderManifests({
    folder: join(deployFolder(), 'base'),
    namespace: options.ktraceNamespace,
    image: undefined,
  });
  const grants = await grantsBeside(api, options.ktraceNamespace);
  const doomed = [...(options.revokeGrants ? grants : []), ...manifests.toReversed()];
  for (const object of doomed) {
    const deletion = await remove(api, object, options.dryRun);
    io.stdout.write(`${escapeText(titleOf(object))} ${deletion}${options.dryRun ? ' (dry run)' : ''}\n`);
  }
  if (!options.revokeGrants) tellGrants(grants, io);
  if (options.dryRun || !options.wait) return EXIT.ok;
  return awaitAbsence(api, manifests, options, io);
}

/** Only what carries our label: a namespace that somebody else made, and ktrace was installed into, stays. */
async function remove(api: Api, object: KubeObject, isDry: boolean): Promise<Deletion> {
  try {
    const path = objectPath(object);
    const { metadata } = (await api.get(path)) as Manifest;
    if (metadata.labels?.['app.kubernetes.io/name'] !== 'ktrace') return 'not ours, left';
    await api.send('DELETE', `${path}${isDry ? '?dryRun=All' : ''}`, { propagationPolicy: 'Background' });
    return 'deleted';
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return 'not there';
    throw error;
  }
}

/** What `ktrace grant` made outside of ktrace's own namespace, which goes as a whole. */
async function grantsBeside(api: Api, ktraceNamespace: string): Promise<KubeObject[]> {
  const kinds: [path: string, apiVersion: string, kind: string][] = [
    [`/apis/${RBAC}/rolebindings`, RBAC, 'RoleBinding'],
    [`/apis/${RBAC}/roles`, RBAC, 'Role'],
    ['/api/v1/serviceaccounts', 'v1', 'ServiceAccount'],
  ];
  const lists = await Promise.all(
    kinds.map(async ([path, apiVersion, kind]) => {
      const items = await listAll<{ metadata: KubeObject['metadata'] }>(api, path, { labelSelector: GRANT_LABEL });
      return items.map(
        ({ metadata: { name, namespace = '' } }): KubeObject => ({ apiVersion, kind, metadata: { name, namespace } }),
      );
    }),
  );
  return lists.flat().filter(({ metadata }) => metadata.namespace !== ktraceNamespace);
}

function tellGrants(grants: readonly KubeObject[], { stderr }: InstallIo): void {
  const namespaces = [...new Set(grants.map(({ metadata }) => metadata.namespace ?? ''))].sort();
  if (namespaces.length === 0) return;
  stderr.write(
    `ktrace: grants are left in ${escapeText(namespaces.join(', '))}; ktrace uninstall --revoke-grants takes them away\n`,
  );
}

/** Pods end, then the namespace: until then an installation cannot be made anew. */
async function awaitAbsence(
  api: Api,
  manifests: readonly Manifest[],
  { timeoutMs }: UninstallOptions,
  { interrupt, stderr }: InstallIo,
): Promise<number> {
  const namespace = manifests.find(({ kind }) => kind === 'Namespace');
  if (namespace === undefined) return EXIT.ok;
  const endMs = performance.now() + timeoutMs;
  for (let isTold = false; ; isTold = true) {
    const state = await stateOf(api, namespace);
    if (state !== 'ending') return EXIT.ok;
    if (!isTold) stderr.write('ktrace: waiting until its pods have ended\n');
    if (performance.now() > endMs) {
      throw new KtraceError(
        'KTRACE_E_INSTALL',
        `After ${timeoutMs / 1000} s namespace ${namespace.metadata.name} is still ending`,
        {
          hint: `Look with: kubectl get namespace ${namespace.metadata.name} -o yaml`,
        },
      );
    }
    await delay(POLL_MS, undefined, { signal: interrupt }).catch(() => undefined);
    if (interrupt.aborted) return EXIT.interrupted;
  }
}

async function stateOf(api: Api, namespace: Manifest): Promise<'gone' | 'ending' | 'kept'> {
  try {
    const { metadata } = (await api.get(objectPath(namespace))) as { metadata: { deletionTimestamp?: string } };
    return metadata.deletionTimestamp === undefined ? 'kept' : 'ending';
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return 'gone';
    throw error;
  }
}
