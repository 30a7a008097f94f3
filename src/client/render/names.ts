import type { Endpoint } from '../../event/types.ts';
import type { Palette } from './colors.ts';
import { escapeText } from './escape.ts';

/** Whom an endpoint belongs to: `default/web`, `svc default/web`, `node host1`; undefined for an address that has no name. */
export function ownerText({ pod, service, node }: Endpoint, paint: Palette): string | undefined {
  if (pod !== undefined) return paint.pod(escapeText(`${pod.namespace}/${pod.name}`));
  if (service !== undefined) return paint.service(escapeText(`svc ${service.namespace}/${service.name}`));
  if (node !== undefined) return paint.node(escapeText(`node ${node}`));
  return undefined;
}

/** The name with its port, e.g. `default/web:80`, else the address: `192.0.2.1:443`. */
export function endpointText(endpoint: Endpoint, paint: Palette): string {
  const owner = ownerText(endpoint, paint);
  if (owner === undefined) return addressText(endpoint);
  return endpoint.port === undefined ? owner : `${owner}:${endpoint.port}`;
}

/** The name and the address behind it, e.g. `default/web (10.244.1.2:80)`. */
export function fullEndpointText(endpoint: Endpoint, paint: Palette): string {
  const owner = ownerText(endpoint, paint);
  return owner === undefined ? addressText(endpoint) : `${owner} ${paint.dim(`(${addressText(endpoint)})`)}`;
}

/** `10.244.1.2:80`, `[fd00::1]:80`, or without a port the bare address. */
export function addressText({ ip, port }: Endpoint): string {
  const address = escapeText(ip);
  if (port === undefined) return address;
  return `${address.includes(':') ? `[${address}]` : address}:${port}`;
}
