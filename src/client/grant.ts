import type { Writable } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import { type Grant, type GrantObject, grantObjects } from '../access/grant-objects.ts';
import { badArgument } from '../util/errors.ts';
import { type Api, ApiError, createApi, listAll } from './api.ts';
import { kubeSurroundings, loadKubeConfig } from './kubeconfig.ts';

export interface GrantOptions {
  /** Undefined with `admin`. */
  namespace: string | undefined;
  admin: boolean;
  user: string | undefined;
  group: string | undefined;
  dryRun: boolean;
  ktraceNamespace: string;
  kubeconfig: string | undefined;
  context: string | undefined;
}

export interface GrantIo {
  stdout: Writable;
  stderr: Writable;
  findLab(): { name: string; kubeconfig: string } | undefined;
}

/** `ktrace grant`: lets somebody see a namespace, or everything. Doing it again changes nothing. Gives the exit code. */
export async function runGrant(options: GrantOptions, io: GrantIo): Promise<number> {
  const { shared, own } = grantObjects(grantOf(options));
  if (options.dryRun) return printYaml([...shared, ...own], io);
  const api = openApi(options, io);
  for (const object of [...shared, ...own]) io.stdout.write(`${titleOf(object)} ${await put(api, object)}\n`);
  return 0;
}

/** `ktrace revoke`: takes back what a grant gave; the last one of a namespace takes its service account along. */
export async function runRevoke(options: GrantOptions, io: GrantIo): Promise<number> {
  const grant = grantOf(options);
  const { shared, own } = grantObjects(grant);
  if (options.dryRun) return printYaml(own, io);
  const api = openApi(options, io);
  for (const object of own.toReversed()) io.stdout.write(`${titleOf(object)} ${await remove(api, object)}\n`);
  const { namespace, ktraceNamespace } = grant;
  if (namespace === undefined || namespace === ktraceNamespace || (await isStillGranted(api, own))) return 0;
  const ofNamespace = shared.filter(({ metadata }) => metadata.namespace === namespace);
  for (const object of ofNamespace.toReversed()) io.stdout.write(`${titleOf(object)} ${await remove(api, object)}\n`);
  return 0;
}

function grantOf({ namespace, admin, user, group, ktraceNamespace }: GrantOptions): Grant {
  if (admin === (namespace !== undefined))
    throw badArgument('NAMESPACE', 'a namespace, or --admin for everything', namespace ?? '');
  if (namespace !== undefined && !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(namespace))
    throw badArgument('NAMESPACE', 'the name of a namespace', namespace);
  const name = user ?? group ?? '';
  if ((user === undefined) === (group === undefined) || name === '')
    throw badArgument('--user or --group', 'one of the two', user !== undefined && group !== undefined ? 'both' : name);
  return { namespace, ktraceNamespace, grantee: { kind: user === undefined ? 'Group' : 'User', name } };
}

async function printYaml(objects: readonly GrantObject[], { stdout }: GrantIo): Promise<number> {
  const { dumpYaml } = await import('@kubernetes/client-node');
  stdout.write(objects.map((object) => `---\n${dumpYaml(object)}`).join(''));
  return 0;
}

function openApi({ kubeconfig, context }: GrantOptions, { findLab, stderr }: GrantIo): Api {
  const note = (text: string) => void stderr.write(`ktrace: ${text}\n`);
  return createApi(loadKubeConfig({ kubeconfig, context }, kubeSurroundings(findLab, note)));
}

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

const PLURALS: Record<GrantObject['kind'], string> = {
  ServiceAccount: 'serviceaccounts',
  Role: 'roles',
  RoleBinding: 'rolebindings',
  ClusterRole: 'clusterroles',
  ClusterRoleBinding: 'clusterrolebindings',
};

function collectionPath({ apiVersion, kind, metadata: { namespace } }: GrantObject): string {
  const root = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`;
  return `${root}${namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`}/${PLURALS[kind]}`;
}

function objectPath(object: GrantObject): string {
  return `${collectionPath(object)}/${encodeURIComponent(object.metadata.name)}`;
}

/** As kubectl names it, with its namespace. */
function titleOf({ kind, metadata: { name, namespace } }: GrantObject): string {
  return `${kind.toLowerCase()}/${name}${namespace === undefined ? '' : ` in ${namespace}`}`;
}

function isStatus(error: unknown, status: number): boolean {
  return error instanceof ApiError && error.status === status;
}
