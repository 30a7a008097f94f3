import { type Api, ApiError, listAll } from '../cluster/api.ts';
import { type DaemonSet, lacksPods } from './daemon-set.ts';

interface Event {
  message?: string;
  involvedObject?: { name?: string };
  lastTimestamp?: string | null;
  eventTime?: string | null;
}

/**
 * Why the API server lets pods of ktrace's DaemonSets not be made: a policy of Pod Security, a quota. The newest word on each that lacks pods, e.g.
 * `ktrace-agent: no pod can be made: …`; events stay for an hour, also of what was mended since.
 * Where the API server fails on the question, that it did.
 */
export async function refusalsOf(api: Api, namespace: string, signal: AbortSignal): Promise<string[]> {
  const name = encodeURIComponent(namespace);
  try {
    const sets = await listAll<DaemonSet>(api, `/apis/apps/v1/namespaces/${name}/daemonsets`, {}, signal);
    const lacking = sets.filter(({ metadata, status }) => metadata.name.startsWith('ktrace-') && lacksPods(status)).map(nameOf);
    if (lacking.length === 0) return [];
    const query = { fieldSelector: 'reason=FailedCreate,involvedObject.kind=DaemonSet' };
    const events = await listAll<Event>(api, `/api/v1/namespaces/${name}/events`, query, signal);
    const newest = events.sort((a, b) => timeOf(b).localeCompare(timeOf(a)));
    return lacking.flatMap((set) => {
      const found = newest.find(({ involvedObject }) => involvedObject?.name === set);
      return found === undefined ? [] : [`${set}: no pod can be made: ${found.message ?? 'no reason is given'}`];
    });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // Who may not read these, or gets no answer, still learns of the pods.
    return error.status === 403 ? [] : [`why pods are missing is not known: ${error.message}`];
  }
}

function nameOf({ metadata }: DaemonSet): string {
  return metadata.name;
}

function timeOf({ lastTimestamp, eventTime }: Event): string {
  return lastTimestamp ?? eventTime ?? '';
}
