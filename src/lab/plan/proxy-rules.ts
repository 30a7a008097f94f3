import { endpointChain, serviceChains } from '../../kube/chains.ts';
import {
  API_ADDRESS,
  API_PORT,
  FORBIDDEN_PORT,
  type LabNode,
  type LabPod,
  type LabService,
  POD_CIDR,
  POD_CIDR_V6,
} from './plan.ts';

type Family = 4 | 6;

/**
 * One node's rules as `iptables-restore` (family 4) or `ip6tables-restore` (family 6) reads them: what kubelet, kube-proxy
 * 1.36 in iptables mode and flanneld write, comments included, held against the `iptables-save` of a real node. Left out
 * is `-m nfacct`, which kube-proxy leaves out as well where the kernel's accounting objects cannot be made.
 * One rule more: a policy that drops {@link FORBIDDEN_PORT} in FORWARD.
 */
export function proxyRules(node: LabNode, services: readonly LabService[], pods: readonly LabPod[], family: Family): string {
  const ports = services.flatMap((service) => servicePorts(service, pods, family));
  return [...mangleTable(), ...filterTable(ports, family), ...natTable(node, ports, family)].map((line) => `${line}\n`).join('');
}

interface ServicePortRules {
  /** `namespace/name:port` as kube-proxy prints it, without the colon for an unnamed port. */
  title: string;
  clusterIp: string;
  proto: 'tcp' | 'udp';
  port: number;
  nodePort: number | undefined;
  svc: string;
  ext: string;
  endpoints: { ip: string; port: number; sep: string }[];
}

function servicePorts(service: LabService, pods: readonly LabPod[], family: Family): ServicePortRules[] {
  return service.ports.map((port) => {
    const proto = port.protocol === 'UDP' ? 'udp' : 'tcp';
    const title = `${service.namespace}/${service.name}${port.name === '' ? '' : `:${port.name}`}`;
    const addresses =
      service.selector === undefined
        ? family === 4
          ? [{ ip: API_ADDRESS, port: API_PORT }]
          : []
        : selectPods(service.selector, pods).map((pod) => ({ ip: family === 4 ? pod.ip : pod.ip6, port: port.targetPort }));
    const name = { namespace: service.namespace, name: service.name, port: port.name, proto } as const;
    const chains = serviceChains(name);
    return {
      title,
      clusterIp: family === 4 ? service.clusterIp : service.clusterIp6,
      proto,
      port: port.port,
      nodePort: port.nodePort,
      svc: chains.svc,
      ext: chains.ext,
      endpoints: addresses.map((address) => ({ ...address, sep: endpointChain(name, address.ip, address.port) })),
    };
  });
}

/** The pods of a Service, in the order of their addresses as kube-proxy sorts endpoints. */
export function selectPods(selector: Record<string, string>, pods: readonly LabPod[]): LabPod[] {
  return pods
    .filter((pod) => Object.entries(selector).every(([key, value]) => pod.labels[key] === value))
    .sort((a, b) => (a.ip < b.ip ? -1 : 1));
}

function mangleTable(): string[] {
  return ['*mangle', ':KUBE-IPTABLES-HINT - [0:0]', ':KUBE-KUBELET-CANARY - [0:0]', ':KUBE-PROXY-CANARY - [0:0]', 'COMMIT'];
}

function filterTable(ports: readonly ServicePortRules[], family: Family): string[] {
  const chains = [
    'FLANNEL-FWD',
    'KUBE-EXTERNAL-SERVICES',
    'KUBE-FIREWALL',
    'KUBE-FORWARD',
    'KUBE-KUBELET-CANARY',
    'KUBE-NODEPORTS',
    'KUBE-PROXY-CANARY',
    'KUBE-PROXY-FIREWALL',
    'KUBE-SERVICES',
  ];
  const isNew = '-m conntrack --ctstate NEW';
  const firewall = `${isNew} ${comment('kubernetes load balancer firewall')} -j KUBE-PROXY-FIREWALL`;
  const portals = `${isNew} ${comment('kubernetes service portals')} -j KUBE-SERVICES`;
  const external = `${isNew} ${comment('kubernetes externally-visible service portals')} -j KUBE-EXTERNAL-SERVICES`;
  const cidr = family === 4 ? POD_CIDR : POD_CIDR_V6;
  const reject = family === 4 ? 'icmp-port-unreachable' : 'icmp6-port-unreachable';
  return [
    '*filter',
    ...chains.map((chain) => `:${chain} - [0:0]`),
    `-A INPUT ${firewall}`,
    `-A INPUT ${comment('kubernetes health check service ports')} -j KUBE-NODEPORTS`,
    `-A INPUT ${external}`,
    '-A INPUT -j KUBE-FIREWALL',
    `-A FORWARD -p tcp -m tcp --dport ${FORBIDDEN_PORT} ${comment('guestbook policy: nobody reaches this port')} -j DROP`,
    `-A FORWARD ${firewall}`,
    `-A FORWARD ${comment('kubernetes forwarding rules')} -j KUBE-FORWARD`,
    `-A FORWARD ${portals}`,
    `-A FORWARD ${external}`,
    `-A FORWARD ${comment('flanneld forward')} -j FLANNEL-FWD`,
    `-A OUTPUT ${firewall}`,
    `-A OUTPUT ${portals}`,
    '-A OUTPUT -j KUBE-FIREWALL',
    `-A FLANNEL-FWD -s ${cidr} ${comment('flanneld forward')} -j ACCEPT`,
    `-A FLANNEL-FWD -d ${cidr} ${comment('flanneld forward')} -j ACCEPT`,
    ...(family === 4
      ? [
          `-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 ${comment('block incoming localnet connections')} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP`,
        ]
      : []),
    '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP',
    `-A KUBE-FORWARD ${comment('kubernetes forwarding rules')} -m mark --mark 0x4000/0x4000 -j ACCEPT`,
    `-A KUBE-FORWARD ${comment('kubernetes forwarding conntrack rule')} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    ...ports
      .filter((port) => port.endpoints.length === 0)
      .map(
        (port) =>
          `-A KUBE-SERVICES -d ${host(port.clusterIp)} -p ${port.proto} ${comment(`${port.title} has no endpoints`)} -m ${port.proto} --dport ${port.port} -j REJECT --reject-with ${reject}`,
      ),
    'COMMIT',
  ];
}

function natTable(node: LabNode, ports: readonly ServicePortRules[], family: Family): string[] {
  const served = ports.filter((port) => port.endpoints.length > 0);
  const withNodePort = served.filter((port) => port.nodePort !== undefined);
  const chains = [
    'FLANNEL-POSTRTG',
    ...withNodePort.map((port) => port.ext),
    'KUBE-KUBELET-CANARY',
    'KUBE-MARK-MASQ',
    'KUBE-NODEPORTS',
    'KUBE-POSTROUTING',
    'KUBE-PROXY-CANARY',
    ...served.flatMap((port) => port.endpoints.map((endpoint) => endpoint.sep)),
    'KUBE-SERVICES',
    ...served.map((port) => port.svc),
  ];
  return [
    '*nat',
    ...chains.map((chain) => `:${chain} - [0:0]`),
    `-A PREROUTING ${comment('kubernetes service portals')} -j KUBE-SERVICES`,
    `-A OUTPUT ${comment('kubernetes service portals')} -j KUBE-SERVICES`,
    `-A POSTROUTING ${comment('kubernetes postrouting rules')} -j KUBE-POSTROUTING`,
    `-A POSTROUTING ${comment('flanneld masq')} -j FLANNEL-POSTRTG`,
    ...flannelMasquerade(node, family),
    ...withNodePort.flatMap((port) => [
      `-A ${port.ext} ${comment(`masquerade traffic for ${port.title} external destinations`)} -j KUBE-MARK-MASQ`,
      `-A ${port.ext} -j ${port.svc}`,
      `-A KUBE-NODEPORTS -p ${port.proto} ${comment(port.title)} -m ${port.proto} --dport ${port.nodePort} -j ${port.ext}`,
    ]),
    '-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000',
    '-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN',
    '-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0',
    `-A KUBE-POSTROUTING ${comment('kubernetes service traffic requiring SNAT')} -j MASQUERADE --random-fully`,
    ...served.flatMap((port) => servicePortRules(port, family)),
    `-A KUBE-SERVICES ${comment('kubernetes service nodeports; NOTE: this must be the last rule in this chain')} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS`,
    'COMMIT',
  ];
}

function servicePortRules(port: ServicePortRules, family: Family): string[] {
  const cidr = family === 4 ? POD_CIDR : POD_CIDR_V6;
  const toClusterIp = `-d ${host(port.clusterIp)} -p ${port.proto} ${comment(`${port.title} cluster IP`)} -m ${port.proto} --dport ${port.port}`;
  return [
    ...port.endpoints.flatMap((endpoint) => [
      `-A ${endpoint.sep} -s ${host(endpoint.ip)} ${comment(port.title)} -j KUBE-MARK-MASQ`,
      `-A ${endpoint.sep} -p ${port.proto} ${comment(port.title)} -m ${port.proto} -j DNAT --to-destination ${socketText(endpoint)}`,
    ]),
    `-A KUBE-SERVICES ${toClusterIp} -j ${port.svc}`,
    `-A ${port.svc} ! -s ${cidr} ${toClusterIp} -j KUBE-MARK-MASQ`,
    ...port.endpoints.map((endpoint, index) => {
      const left = port.endpoints.length - index;
      const chance = left > 1 ? ` -m statistic --mode random --probability ${(1 / left).toFixed(10)}` : '';
      return `-A ${port.svc} ${comment(`${port.title} -> ${socketText(endpoint)}`)}${chance} -j ${endpoint.sep}`;
    }),
  ];
}

function flannelMasquerade(node: LabNode, family: Family): string[] {
  const all = family === 4 ? POD_CIDR : POD_CIDR_V6;
  const own = family === 4 ? node.podCidr : node.podCidr6;
  const multicast = family === 4 ? '224.0.0.0/4' : 'ff00::/8';
  const rule = (match: string, target: string) => `-A FLANNEL-POSTRTG ${match} ${comment('flanneld masq')} -j ${target}`;
  return [
    rule('-m mark --mark 0x4000/0x4000', 'RETURN'),
    rule(`-s ${own} -d ${all}`, 'RETURN'),
    rule(`-s ${all} -d ${own}`, 'RETURN'),
    rule(`! -s ${all} -d ${own}`, 'RETURN'),
    rule(`-s ${all} ! -d ${multicast}`, 'MASQUERADE --random-fully'),
    rule(`! -s ${all} -d ${all}`, 'MASQUERADE --random-fully'),
  ];
}

function comment(text: string): string {
  return `-m comment --comment "${text}"`;
}

function host(ip: string): string {
  return ip.includes(':') ? `${ip}/128` : `${ip}/32`;
}

function socketText(endpoint: { ip: string; port: number }): string {
  return endpoint.ip.includes(':') ? `[${endpoint.ip}]:${endpoint.port}` : `${endpoint.ip}:${endpoint.port}`;
}
