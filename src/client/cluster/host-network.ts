import { type Api, listAll } from './api.ts';

interface Pod {
  metadata: { name: string };
  spec?: { hostNetwork?: boolean };
}

/**
 * Names of the pods of a namespace that use their node's network. In ktrace's own namespace there may be none: a grant lets people forward ports
 * into its pods, and a port of such a pod is a port of the node's loopback.
 */
export async function podsOnHostNetwork(api: Api, namespace: string, signal?: AbortSignal): Promise<string[]> {
  const pods = await listAll<Pod>(api, `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`, {}, signal);
  return pods.filter(({ spec }) => spec?.hostNetwork === true).map(({ metadata }) => metadata.name);
}

/** What is wrong with that, and what to do, as a sentence. */
export function hostNetworkText(names: readonly string[], namespace: string): string {
  const which = names.length > 3 ? `${names.slice(0, 3).join(', ')} and ${names.length - 3} more` : names.join(', ');
  return `pods of namespace ${namespace} use their node's network (${which}): whoever is granted anything could reach the loopback ports of these nodes`;
}
