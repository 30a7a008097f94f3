import { setTimeout as delay } from 'node:timers/promises';
import { KtraceError } from '../../util/errors.ts';
import { type Api, ApiError } from '../cluster/api.ts';
import { type KubeObject, objectPath, titleOf } from '../cluster/kube-object.ts';
import type { Manifest } from './manifests.ts';

export type Deletion = 'deleted' | 'not there' | 'not ours, left';

interface DeleteOptions {
  /** The API server checks and changes nothing. */
  isDry: boolean;
  propagationPolicy: 'Background' | 'Foreground';
}

const POLL_MS = 500;

/** Deletes an object that carries our label: what somebody else made stays. */
export async function removeOurs(api: Api, object: KubeObject, { isDry, propagationPolicy }: DeleteOptions): Promise<Deletion> {
  try {
    const path = objectPath(object);
    const { metadata } = (await api.get(path)) as Manifest;
    if (metadata.labels?.['app.kubernetes.io/name'] !== 'ktrace') return 'not ours, left';
    await api.send('DELETE', `${path}${isDry ? '?dryRun=All' : ''}`, { propagationPolicy });
    return 'deleted';
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return 'not there';
    throw error;
  }
}

export async function stateOf(api: Api, object: KubeObject): Promise<'gone' | 'ending' | 'kept'> {
  try {
    const { metadata } = (await api.get(objectPath(object))) as { metadata: { deletionTimestamp?: string } };
    return metadata.deletionTimestamp === undefined ? 'kept' : 'ending';
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return 'gone';
    throw error;
  }
}

/**
 * Until an object that was deleted is gone, with what belongs to it.
 * @returns false when the user interrupted
 * @throws KtraceError KTRACE_E_INSTALL after `timeoutMs`
 */
export async function awaitGone(api: Api, object: KubeObject, timeoutMs: number, interrupt: AbortSignal): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  while ((await stateOf(api, object)) === 'ending') {
    if (performance.now() > endMs) {
      const { kind, metadata } = object;
      const where = metadata.namespace === undefined ? '' : `-n ${metadata.namespace} `;
      throw new KtraceError('KTRACE_E_INSTALL', `After ${timeoutMs / 1000} s ${titleOf(object)} is still ending`, {
        hint: `Look with: kubectl ${where}get ${kind.toLowerCase()} ${metadata.name} -o yaml`,
      });
    }
    await delay(POLL_MS, undefined, { signal: interrupt }).catch(() => undefined);
    if (interrupt.aborted) return false;
  }
  return true;
}
