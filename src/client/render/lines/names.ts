import type { Endpoint } from '../../../event/types.ts';
import type { Palette } from '../style/colors.ts';
import { escapeText } from '../style/escape.ts';

/**
 * Whom an endpoint belongs to: `default/web`, `svc default/web`, `node host1`; undefined for an address that has no name.
 * @param here the namespace that goes without saying
 */
export function ownerText({ pod, service, node }: Endpoint, paint: Palette, here?: string): string | undefined {
  if (pod !== undefined) return podText(escapeText(nameText(pod, here)), paint);
  if (service !== undefined) return paint.service(escapeText(`svc ${nameText(service, here)}`));
  if (node !== undefined) return paint.node(escapeText(`node ${node}`));
  return undefined;
}

function nameText({ namespace, name }: { namespace: string; name: string }, here: string | undefined): string {
  return namespace === here ? name : `${namespace}/${name}`;
}

/** What the cluster puts behind the workload's name: a ReplicaSet's hash, and five letters without vowels. */
const GENERATED = /(-[0-9bcdfghjklmnpqrstvwxz]{6,10})?-[2-9bcdfghjklmnpqrstvwxz]{5}$/;

function podText(name: string, paint: Palette): string {
  const at = name.search(GENERATED);
  return at <= 0 ? paint.pod(name) : `${paint.pod(name.slice(0, at))}${paint.dim(paint.pod(name.slice(at)))}`;
}

/** ` (gone 10s)` for a pod that the address had lost by then; without a time ` (gone)`. Else nothing. */
export function goneText({ pod }: Endpoint, paint: Palette, time?: string): string {
  if (pod?.gone === undefined) return '';
  const sinceS = time === undefined ? Number.NaN : (Date.parse(time) - Date.parse(pod.gone)) / 1000;
  const since = Number.isNaN(sinceS) ? '' : sinceS < 120 ? ` ${Math.round(sinceS)}s` : ` ${Math.round(sinceS / 60)}m`;
  return paint.warning(` (gone${since})`);
}

/**
 * The name with its port, e.g. `default/web:80`, else the address: `192.0.2.1:443`.
 * @param time the packet's, RFC 3339
 * @param here the namespace that goes without saying
 */
export function endpointText(endpoint: Endpoint, paint: Palette, time?: string, here?: string): string {
  const owner = ownerText(endpoint, paint, here);
  if (owner === undefined) return addressText(endpoint);
  return `${owner}${endpoint.port === undefined ? '' : `:${endpoint.port}`}${goneText(endpoint, paint, time)}`;
}

/** The name and the address behind it, e.g. `default/web (10.244.1.2:80)`. */
export function fullEndpointText(endpoint: Endpoint, paint: Palette, time?: string): string {
  const owner = ownerText(endpoint, paint);
  if (owner === undefined) return addressText(endpoint);
  return `${owner} ${paint.dim(`(${addressText(endpoint)})`)}${goneText(endpoint, paint, time)}`;
}

/** `10.244.1.2:80`, `[fd00::1]:80`, or without a port the bare address. */
export function addressText({ ip, port }: Endpoint): string {
  const address = escapeText(ip);
  if (port === undefined) return address;
  return `${address.includes(':') ? `[${address}]` : address}:${port}`;
}
