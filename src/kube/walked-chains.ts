import { endpointChain, nftEndpointChain, nftServiceChains, type PortName, serviceChains } from './chains.ts';
import type { ProxyMode, ServicePort } from './index/types.ts';

/**
 * kube-proxy's chains in the order that a packet walks them from a Service's address to an endpoint; undefined where
 * kube-proxy makes none (IPVS), is not there, or its mode is not known. The array is shared: do not change it.
 * @param isInside the initiator is a pod of the cluster or the node itself: `externalTrafficPolicy: Local` does not bind it
 */
export function walkedChains(
  port: ServicePort,
  ip: string,
  portNumber: number,
  isInside: boolean,
  mode: ProxyMode | undefined,
): string[] | undefined {
  if (mode !== 'iptables' && mode !== 'nftables') return undefined;
  const cache = cacheOf(port).chains;
  for (let known = cache.get(ip); known; known = known.next) {
    if (known.portNumber === portNumber && known.isInside === isInside && known.mode === mode) return known.chains;
  }
  if (cache.size >= MAX_ENDPOINTS) cache.clear();
  const chains = (mode === 'iptables' ? iptablesChains : nftablesChains)(port, ip, portNumber, isInside);
  cache.set(ip, { portNumber, isInside, mode, chains, next: cache.get(ip) });
  return chains;
}

/** How many endpoints of one Service's port are kept; SHA-256 for each packet would be too slow. */
const MAX_ENDPOINTS = 5000;

interface Known {
  portNumber: number;
  isInside: boolean;
  mode: ProxyMode;
  chains: string[];
  next: Known | undefined;
}

/** `namespace/name` or `namespace/name:port`, as events name a Service's port. */
export function servicePortName(port: ServicePort): string {
  return cacheOf(port).name;
}

/** What is computed once for a Service's port; goes away with it. */
interface Cache {
  name: string;
  chains: Map<string, Known>;
}

const caches = new WeakMap<ServicePort, Cache>();

function cacheOf(port: ServicePort): Cache {
  let cache = caches.get(port);
  if (!cache) {
    const { namespace, name, port: portName } = port.service;
    cache = { name: `${namespace}/${name}${portName === '' ? '' : `:${portName}`}`, chains: new Map() };
    caches.set(port, cache);
  }
  return cache;
}

function iptablesChains(port: ServicePort, ip: string, portNumber: number, isInside: boolean): string[] {
  const name = portName(port);
  const { svc, svl, ext, fw } = serviceChains(name);
  const endpoint = endpointChain(name, ip, portNumber);
  if (port.via === 'cluster-ip') return [port.localInside ? svl : svc, endpoint];
  const walked = [ext, port.localOutside && !isInside ? svl : svc, endpoint];
  return port.via === 'load-balancer-ip' && port.sourceRanges ? [fw, ...walked] : walked;
}

/** The service chain of nftables mode translates by itself; only session affinity needs a chain for each endpoint. */
function nftablesChains(port: ServicePort, ip: string, portNumber: number, isInside: boolean): string[] {
  const name = portName(port);
  const { service, local, external } = nftServiceChains(name);
  const endpoint = port.affinity ? [nftEndpointChain(name, ip, portNumber)] : [];
  if (port.via === 'cluster-ip') return [port.localInside ? local : service, ...endpoint];
  return [external, port.localOutside && !isInside ? local : service, ...endpoint];
}

function portName(port: ServicePort): PortName {
  return { ...port.service, proto: port.proto };
}
