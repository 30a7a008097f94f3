import { join } from 'node:path';
import { agentNamespace } from '../../protocol/constants.ts';
import { EXIT } from '../../util/errors.ts';
import { type Api, listAll } from '../cluster/api.ts';
import { type KubeObject, titleOf } from '../cluster/kube-object.ts';
import type { KubeOptions } from '../cluster/kubeconfig.ts';
import { escapeText } from '../render/style/escape.ts';
import { type InstallIo, type InstallOptions, openApi } from './install.ts';
import { deployFolder, type Manifest, renderManifests } from './manifests.ts';
import { awaitGone, removeOurs, stateOf } from './remove.ts';

export type UninstallOptions = Pick<InstallOptions, 'wait' | 'timeoutMs' | 'dryRun' | 'ktraceNamespace' | keyof KubeOptions> & {
  /** Take away what `ktrace grant` made in all namespaces, too. */
  revokeGrants: boolean;
};

const GRANT_LABEL = 'app.kubernetes.io/managed-by=ktrace-grant';
const RBAC = 'rbac.authorization.k8s.io/v1';

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
    const deletion = await removeOurs(api, object, { isDry: options.dryRun, propagationPolicy: 'Background' });
    io.stdout.write(`${escapeText(titleOf(object))} ${deletion}${options.dryRun ? ' (dry run)' : ''}\n`);
  }
  if (!options.revokeGrants) tellGrants(grants, io);
  if (options.dryRun || !options.wait) return EXIT.ok;
  return awaitAbsence(api, manifests, options, io);
}

/** What `ktrace grant` made outside of ktrace's own namespaces, which go as a whole. */
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
  const own = [ktraceNamespace, agentNamespace(ktraceNamespace)];
  return lists.flat().filter(({ metadata }) => !own.includes(metadata.namespace ?? ''));
}

function tellGrants(grants: readonly KubeObject[], { stderr }: InstallIo): void {
  const namespaces = [...new Set(grants.map(({ metadata }) => metadata.namespace ?? ''))].sort();
  if (namespaces.length === 0) return;
  stderr.write(`ktrace: grants are left in ${escapeText(namespaces.join(', '))}; ktrace uninstall --all takes them away\n`);
}

/** Pods end, then their namespace: until then an installation cannot be made anew. */
async function awaitAbsence(
  api: Api,
  manifests: readonly Manifest[],
  { timeoutMs }: UninstallOptions,
  { interrupt, stderr }: InstallIo,
): Promise<number> {
  const namespaces = manifests.filter(({ kind }) => kind === 'Namespace');
  const states = await Promise.all(namespaces.map((namespace) => stateOf(api, namespace)));
  if (states.includes('ending')) stderr.write('ktrace: waiting until its pods have ended\n');
  const gone = await Promise.all(namespaces.map((namespace) => awaitGone(api, namespace, timeoutMs, interrupt)));
  return gone.every(Boolean) ? EXIT.ok : EXIT.interrupted;
}
