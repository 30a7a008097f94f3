import type { EndpointPorts, EndpointState, ServiceState } from '../../event/service.ts';
import type { ToldService } from '../merge/told-services.ts';

/** As text, not escaped: a line for each state of the Service, below them one for each endpoint. */
export function serviceLines({ namespace, name, states, endpoints }: ToldService): string[] {
  const told = states.map((state) => [`${namespace}/${name}`, ...stateWords(state), during(state)].join('  '));
  const lines = told.length === 0 ? [`${namespace}/${name}`] : told;
  const below = endpoints.map((one) => `  ${[...endpointWords(one), during(one)].join('  ')}`);
  return [...lines, ...(below.length === 0 ? ['  no endpoint is recorded'] : below)];
}

function stateWords({ type, ips, externalIps, balancerIps, ports }: ServiceState): string[] {
  const more = [
    ...(externalIps === undefined ? [] : [`external ${externalIps.join(', ')}`]),
    ...(balancerIps === undefined ? [] : [`load balancer ${balancerIps.join(', ')}`]),
  ];
  const words = ports.map((port) => `${portWords(port)}${port.nodePort === undefined ? '' : ` (node port ${port.nodePort})`}`);
  return [type ?? '', ips.length === 0 ? 'no address' : ips.join(', '), ...more, words.join(', ')].filter((word) => word !== '');
}

function endpointWords({ ip, pod, node, ready, ports }: EndpointState & { ports: EndpointPorts }): string[] {
  const [port, ...others] = ports;
  const address =
    port !== undefined && others.length === 0
      ? `${ip.includes(':') ? `[${ip}]` : ip}:${port.port}`
      : `${ip} (${ports.map(portWords).join(', ')})`;
  return [
    address,
    ...(pod === undefined ? [] : [`${pod.namespace}/${pod.name}`]),
    ...(node === undefined ? [] : [node]),
    ...(ready === false ? ['not ready'] : []),
  ];
}

function portWords({ name, proto, port }: { name: string; proto: string; port: number }): string {
  return `${name === '' ? '' : `${name} `}${port}/${proto}`;
}

function during({ from, to }: { from: string; to?: string }): string {
  return `from ${from}${to === undefined ? '' : ` to ${to}`}`;
}
