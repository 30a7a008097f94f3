import { isDeepStrictEqual } from 'node:util';
import type { ApiObject, Resource } from '../../plan/types.ts';
import { applyConfiguration } from './apply.ts';
import { rejectBadName } from './names.ts';
import { applyPatch } from './patch.ts';
import type { ResourcePath } from './request.ts';
import { badRequest, invalid } from './status.ts';
import { findResource, type Store } from './store.ts';

/** What a request that changes something asks for. */
export interface WriteRequest {
  target: ResourcePath;
  body: unknown;
  contentType: string;
  isDry: boolean;
  fieldManager: string;
  isForced: boolean;
}

export interface Written {
  status: number;
  body: ApiObject | Record<string, unknown>;
}

/** A POST. */
export function create(store: Store, { target, body, isDry }: WriteRequest): Written {
  const object = checked(store, body, target);
  return { status: 201, body: store.create(target.resource, withDefaults(object), isDry) };
}

/** A PUT. */
export function replace(store: Store, { target, body, isDry }: WriteRequest): Written {
  return { status: 200, body: store.replace(target.resource, checked(store, body, target), isDry) };
}

/** A PATCH of any type; a server-side apply also makes what is not there. */
export function patch(store: Store, { target, body, contentType, isDry, fieldManager, isForced }: WriteRequest): Written {
  const { resource, namespace, name = '' } = target;
  if (contentType.split(';')[0]?.trim() !== APPLY) {
    const patched = applyPatch(store.get(resource, namespace, name), contentType, body);
    return { status: 200, body: store.replace(resource, checked(store, patched, target), isDry) };
  }
  if (fieldManager === '') {
    const manager = { group: 'meta.k8s.io', kind: 'PatchOptions', name: '' };
    throw invalid(manager, { field: 'fieldManager', reason: 'Required', text: 'is required for apply patch' });
  }
  const present = store.find(resource, namespace, name);
  const object = checked(store, body, target);
  const applied = applyConfiguration(present, object, fieldManager, isForced, new Date());
  if (present === undefined) return { status: 201, body: store.create(resource, withDefaults(applied), isDry) };
  return { status: 200, body: isDeepStrictEqual(applied, present) ? present : store.replace(resource, applied, isDry) };
}

/** A DELETE. A pod first gets its `deletionTimestamp`, as from a kubelet that then ends it; a namespace takes along what is in it. */
export function remove(store: Store, { target, isDry }: WriteRequest): Written {
  const { resource, namespace, name = '' } = target;
  const object = store.get(resource, namespace, name);
  const deletionTimestamp = `${new Date().toISOString().slice(0, 19)}Z`;
  if (resource.plural === 'pods') {
    const ending = { ...object, metadata: { ...object.metadata, deletionTimestamp, deletionGracePeriodSeconds: 1 } };
    if (isDry) return { status: 200, body: ending };
    store.replace(resource, ending);
    return { status: 200, body: store.delete(resource, namespace, name) };
  }
  if (resource.plural === 'namespaces') {
    const metadata = { ...object.metadata, deletionTimestamp };
    const ending = { ...object, metadata, status: { phase: 'Terminating' } };
    if (isDry) return { status: 200, body: ending };
    const told = store.replace(resource, ending);
    store.empty(name);
    store.delete(resource, undefined, name);
    return { status: 200, body: told };
  }
  if (!isDry) store.delete(resource, namespace, name);
  const { group, plural: kind } = resource;
  const details = { name, ...(group === '' ? {} : { group }), kind, uid: object.metadata.uid };
  return { status: 200, body: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details } };
}

const APPLY = 'application/apply-patch+yaml';

/** The body as an object of the resource, with what the URL says filled in. */
function checked(store: Store, body: unknown, { resource, namespace, name }: ResourcePath): ApiObject {
  const object = body as ApiObject | undefined;
  if (typeof object !== 'object' || object === null) throw badRequest('the body is no object');
  if (object.kind !== undefined && object.kind !== resource.kind)
    throw badRequest(`${object.kind} in version "${object.apiVersion}" cannot be handled as a ${resource.kind}`);
  const given = object.metadata ?? {};
  if (namespace !== undefined && given.namespace !== undefined && given.namespace !== namespace)
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  if (name !== undefined && given.name !== undefined && given.name !== name)
    throw badRequest(`the name of the object (${given.name}) does not match the name on the URL (${name})`);
  if (namespace !== undefined) store.get(findResource('/api/v1', 'namespaces') as Resource, undefined, namespace);
  rejectBadName(resource, given.name);
  const metadata = { ...given, ...(namespace === undefined ? {} : { namespace }) };
  return { ...object, apiVersion: resource.apiVersion, kind: resource.kind, metadata };
}

/** What the server itself puts into an object of which it is read again. */
function withDefaults(object: ApiObject): ApiObject {
  if (object.kind !== 'Namespace') return object;
  const labels = { ...object.metadata.labels, 'kubernetes.io/metadata.name': object.metadata.name };
  return {
    ...object,
    metadata: { ...object.metadata, labels },
    spec: { finalizers: ['kubernetes'] },
    status: { phase: 'Active' },
  };
}
