import { type Api, ApiError } from '../cluster/api.ts';
import { objectPath } from '../cluster/kube-object.ts';
import type { Manifest } from './manifests.ts';

export type Outcome = 'created' | 'changed' | 'unchanged';

/** Who set a field, as server-side apply remembers it. */
const FIELD_MANAGER = 'ktrace';
/** Of the annotation alone: what the manifests do not say would be taken away by the next apply. */
const RETRY_MANAGER = 'ktrace-retry';
const RETRY_ANNOTATION = 'ktrace.dev/retried-at';

/**
 * Makes an object what the manifest says, by server-side apply; fields that others set and the manifest does not name stay. What somebody else set
 * otherwise (a `kubectl apply` of the same files) is taken over. With `isDry` the API server checks and changes nothing.
 */
export async function applyManifest(api: Api, manifest: Manifest, isDry: boolean): Promise<Outcome> {
  const path = objectPath(manifest);
  const before = await present(api, path);
  const query = new URLSearchParams({ fieldManager: FIELD_MANAGER, force: 'true', ...(isDry ? { dryRun: 'All' } : {}) });
  const after = (await api.send('PATCH', `${path}?${query}`, manifest)) as Versioned;
  if (before === undefined) return 'created';
  return contentOf(before) === contentOf(after) ? 'unchanged' : 'changed';
}

/**
 * Has a DaemonSet's controller make missing pods now. Each time that it is refused one it waits twice as long, up to 1000 s, also when what stood in the
 * way is gone: only a change of the DaemonSet has it try at once (client-go's `DefaultTypedControllerRateLimiter`; measured on Kubernetes 1.36).
 * The pods that are there stay as they are. Where it cannot be had, the controller tries by itself, later.
 */
export async function retryPods(
  api: Api,
  { apiVersion, kind, metadata: { name, namespace } }: Manifest,
  now: Date,
): Promise<void> {
  const annotations = { [RETRY_ANNOTATION]: now.toISOString() };
  const patch: Manifest = { apiVersion, kind, metadata: { name, ...(namespace && { namespace }), annotations } };
  const query = new URLSearchParams({ fieldManager: RETRY_MANAGER, force: 'true' });
  try {
    await api.send('PATCH', `${objectPath(patch)}?${query}`, patch);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
}

interface Versioned {
  metadata: { generation?: number; resourceVersion?: string; managedFields?: unknown };
  [field: string]: unknown;
}

async function present(api: Api, path: string): Promise<Versioned | undefined> {
  try {
    return (await api.get(path)) as Versioned;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return undefined;
    throw error;
  }
}

/** What an object says, without who said it, its version, and what its controller reports. */
function contentOf({ status: _status, metadata, ...rest }: Versioned): string {
  const { managedFields: _fields, resourceVersion: _version, generation: _generation, ...named } = metadata;
  return JSON.stringify({ ...rest, metadata: named });
}
