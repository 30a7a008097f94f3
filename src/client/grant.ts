import type { Writable } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import { type Grant, type GrantObject, grantObjects } from '../access/grant-objects.ts';
import { badArgument, EXIT, KtraceError } from '../util/errors.ts';
import { type Api, ApiError, createApi, listAll } from './cluster/api.ts';
import { hostNetworkText, podsOnHostNetwork } from './cluster/host-network.ts';
import { collectionPath, objectPath, titleOf } from './cluster/kube-object.ts';
import { type KubeOptions, kubeSurroundings, loadKubeConfig } from './cluster/kubeconfig.ts';

export interface GrantOptions {
  /** Undefined with `admin`. */
  namespace: string | undefined;
  admin: boolean;
  /** Granting: what is behind the headers, too. Revoking: that alone. */
  payloads: boolean;
  user: string | undefined;
  group: string | undefined;
  dryRun: boolean;
  ktraceNamespace: string;
  /** Who grants, and in which cluster. */
  kube: KubeOptions;
}

export interface GrantIo {
  stdout: Writable;
  stderr: Writable;
  findLab(): { name: string; kubeconfig: string } | undefined;
}

/** `ktrace grant`: lets somebody see a namespace, or everything. Doing it again changes nothing. Gives the exit code. */
export async function runGrant(options: GrantOptions, io: GrantIo): Promise<number> {
  const grant = grantOf(options);
  const parts = [grantObjects(grant), ...(options.payloads ? [grantObjects({ ...grant, payloads: true })] : [])];
  const objects = parts.flatMap(({ shared, own }) => [...shared, ...own]);
  if (options.dryRun) return printYaml(objects, io);
  const api = openApi(options, io);
  await rejectOpenNodes(api, options.ktraceNamespace);
  for (const object of objects) io.stdout.write(`${titleOf(object)} ${await put(api, object)}\n`);
  return 0;
}

/**
 * `ktrace revoke`: takes back what a grant gave, payloads with it or those alone; the last one of a namespace takes its service account
 * along.
 */
export async function runRevoke(options: GrantOptions, io: GrantIo): Promise<number> {
  const grant = grantOf(options);
  const grants = [{ ...grant, payloads: true }, ...(options.payloads ? [] : [grant])];
  if (options.dryRun)
    return printYaml(
      grants.toReversed().flatMap((one) => grantObjects(one).own),
      io,
    );
  const api = openApi(options, io);
  for (const one of grants) await revoke(api, one, options.payloads || one.payloads !== true, io);
  return 0;
}

/** `tellsAbsence`: says also of what is not there that it is not. */
async function revoke(api: Api, grant: Grant, tellsAbsence: boolean, { stdout }: GrantIo): Promise<void> {
  const { shared, own } = grantObjects(grant);
  let hasChanged = false;
  const removeAll = async (objects: readonly GrantObject[]): Promise<void> => {
    for (const object of objects.toReversed()) {
      const outcome = await remove(api, object);
      hasChanged ||= outcome === 'deleted';
      if (tellsAbsence || outcome === 'deleted') stdout.write(`${titleOf(object)} ${outcome}\n`);
    }
  };
  await removeAll(own);
  const { namespace, ktraceNamespace } = grant;
  if (!tellsAbsence && !hasChanged) return;
  if (namespace === undefined || namespace === ktraceNamespace || (await isStillGranted(api, own))) return;
  await removeAll(shared.filter(({ metadata }) => metadata.namespace === namespace));
}

/** Whoever may forward ports into a pod on the host's network reaches the node's loopback: nothing is granted where there is one. */
async function rejectOpenNodes(api: Api, ktraceNamespace: string): Promise<void> {
  const names = await podsOnHostNetwork(api, ktraceNamespace);
  if (names.length === 0) return;
  throw new KtraceError('KTRACE_E_UNSAFE_GRANT', `Nothing is granted: ${hostNetworkText(names, ktraceNamespace)}`, {
    hint: 'Agents of an earlier version are moved to a namespace of their own by: ktrace install. Other pods belong elsewhere.',
  });
}

function grantOf({ namespace, admin, user, group, ktraceNamespace }: GrantOptions): Grant {
  if (admin === (namespace !== undefined))
    throw new KtraceError('KTRACE_E_ARGUMENT', 'Expected either a namespace, or --admin for everything', {
      exitCode: EXIT.usage,
    });
  if (namespace !== undefined && !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(namespace))
    throw badArgument('NAMESPACE', 'the name of a namespace', namespace);
  const name = user ?? group ?? '';
  if ((user === undefined) === (group === undefined) || name === '')
    throw badArgument('--user or --group', 'one of the two', user !== undefined && group !== undefined ? 'both' : name);
  return { namespace, ktraceNamespace, grantee: { kind: user === undefined ? 'Group' : 'User', name } };
}

async function printYaml(objects: readonly GrantObject[], { stdout }: GrantIo): Promise<number> {
  const { dump: dumpYaml } = await import('js-yaml');
  stdout.write(objects.map((object) => `---\n${dumpYaml(object)}`).join(''));
  return 0;
}

function openApi({ kube }: GrantOptions, { findLab, stderr }: GrantIo): Api {
  const note = (text: string) => void stderr.write(`ktrace: ${text}\n`);
  return createApi(loadKubeConfig(kube, kubeSurroundings(findLab, note)), kube.requestTimeoutMs);
}

/** No server-side apply: it would take over the labels of what an installation made, by which `uninstall` chooses. */
async function put(api: Api, object: GrantObject): Promise<'created' | 'changed' | 'unchanged'> {
  try {
    await api.send('POST', collectionPath(object), object);
    return 'created';
  } catch (error) {
    if (!isStatus(error, 409)) throw error;
  }
  // What is told of it beside its meaning (labels, annotations) stays as it is: an installation brings some of these, too.
  const present = (await api.get(objectPath(object))) as GrantObject;
  const { rules, roleRef, subjects } = object;
  const isSame = isDeepStrictEqual([present.rules, present.roleRef, present.subjects], [rules, roleRef, subjects]);
  if (isSame || object.kind === 'ServiceAccount') return 'unchanged';
  const meaning = rules === undefined ? { roleRef, subjects } : { rules };
  const { apiVersion, kind } = object;
  await api.send('PUT', objectPath(object), { ...present, apiVersion, kind, ...meaning });
  return 'changed';
}

async function remove(api: Api, object: GrantObject): Promise<'deleted' | 'not there'> {
  try {
    await api.send('DELETE', objectPath(object));
    return 'deleted';
  } catch (error) {
    if (isStatus(error, 404)) return 'not there';
    throw error;
  }
}

/** Whether somebody else may still mint tokens for the namespace's account. */
async function isStillGranted(api: Api, [binding]: GrantObject[]): Promise<boolean> {
  if (binding === undefined) return true;
  const all = await listAll<GrantObject>(api, collectionPath(binding));
  return all.some(({ roleRef, metadata }) => roleRef?.name === binding.roleRef?.name && metadata.name !== binding.metadata.name);
}

function isStatus(error: unknown, status: number): boolean {
  return error instanceof ApiError && error.status === status;
}
