import type { KubeConfig } from '@kubernetes/client-node';
import ipaddr from 'ipaddr.js';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Where the kubeconfig names no `proxy-url`, the environment may name a proxy, as for kubectl: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, in
 * capitals or not (Go `golang.org/x/net/http/httpproxy`).
 */
export function useProxyOfEnvironment(config: KubeConfig, env: Environment): void {
  const cluster = config.getCurrentCluster();
  if (cluster === null || cluster.proxyUrl) return;
  const proxyUrl = proxyFor(cluster.server, env);
  if (proxyUrl === undefined) return;
  config.clusters = config.clusters.map((other) => (other === cluster ? { ...cluster, proxyUrl } : other));
}

/** The proxy that leads to a server; undefined: none, the server is asked itself. */
export function proxyFor(server: string, env: Environment): string | undefined {
  const url = URL.parse(server);
  if (url === null) return undefined;
  const named = url.protocol === 'https:' ? either(env, 'HTTPS_PROXY') : either(env, 'HTTP_PROXY');
  if (named === undefined) return undefined;
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const address = ipaddr.isValid(host) ? ipaddr.parse(host) : undefined;
  // What is on this machine is never asked of another.
  if (host === 'localhost' || address?.range() === 'loopback') return undefined;
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  const excepted = (either(env, 'NO_PROXY') ?? '').split(',').map((one) => one.trim().toLowerCase());
  if (excepted.some((one) => one !== '' && isMeant(one, host, port, address))) return undefined;
  return named.includes('://') ? named : `http://${named}`;
}

function either(env: Environment, name: string): string | undefined {
  return env[name] || env[name.toLowerCase()] || undefined;
}

/** One word of NO_PROXY: `*`, an address, a block of addresses, a domain with what is below it, `.domain` for what is below it alone. */
function isMeant(word: string, host: string, port: string, address: ipaddr.IPv4 | ipaddr.IPv6 | undefined): boolean {
  if (word === '*') return true;
  if (ipaddr.isValidCIDR(word)) {
    const [network, bits] = ipaddr.parseCIDR(word);
    return address?.kind() === network.kind() && (address as ipaddr.IPv4).match(network as ipaddr.IPv4, bits);
  }
  if (ipaddr.isValid(word)) return address?.toString() === ipaddr.parse(word).toString();
  const [, name = word, onPort] = /^(.*?)(?::(\d+))?$/.exec(word) ?? [];
  if (onPort !== undefined && onPort !== port) return false;
  const domain = name.replace(/^\*(?=\.)/, '').replace(/^\[|\]$/g, '');
  return domain.startsWith('.') ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`);
}
