import type { ProxyMode } from './types.ts';

/** Where kube-proxy's metrics are by default, on every node (`metricsBindAddress`). */
const PROXY_MODE_URL = 'http://127.0.0.1:10249/proxyMode';

const MODES: readonly string[] = ['iptables', 'nftables', 'ipvs'] satisfies ProxyMode[];

/** Asks this node's kube-proxy for its mode; undefined when it does not answer or answers something else. Never throws. */
export async function detectProxyMode(signal: AbortSignal, url = PROXY_MODE_URL): Promise<ProxyMode | undefined> {
  try {
    const response = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(2000)]), redirect: 'error' });
    const mode = (await response.text()).trim();
    return response.ok && MODES.includes(mode) ? (mode as ProxyMode) : undefined;
  } catch {
    return undefined;
  }
}
