import assert from 'node:assert/strict';
import { untilHolds } from '../../support/until.ts';
import type { Pod, World } from './world.ts';

/** How the cluster's nodes are joined and how Services are translated: found out on a node, not told. */
export interface Network {
  proxy: 'iptables' | 'nftables';
  /** The bridge of the pods, where there is one. */
  bridge: string | undefined;
  /** The tunnel's interface, where there is one. */
  tunnel: string | undefined;
  /** Does the outer packet show that it carries another (VXLAN)? flannel's udp backend's does not. */
  isTunnelTold: boolean;
  uplink: string;
}

export async function findNetwork(world: World): Promise<Network> {
  const node = world.nodeA;
  const links = JSON.parse(await world.onNode(node, 'ip', '-j', '-d', 'link')) as {
    ifname: string;
    linkinfo?: { info_kind?: string };
  }[];
  const route = JSON.parse(await world.onNode(node, 'ip', '-j', 'route', 'get', world.nodes.get(world.nodeB) ?? '')) as {
    dev: string;
  }[];
  const toPod = JSON.parse(await world.onNode(node, 'ip', '-j', 'route', 'get', world.server.ip)) as { dev: string }[];
  const uplink = route[0]?.dev ?? '';
  const way = toPod[0]?.dev ?? '';
  const rules = await world.onNode(node, 'iptables-save', '-t', 'nat');
  return {
    proxy: rules.includes('KUBE-SEP-') ? 'iptables' : 'nftables',
    bridge: links.find(({ ifname, linkinfo }) => linkinfo?.info_kind === 'bridge' && ifname === 'cni0')?.ifname,
    tunnel: way === uplink ? undefined : way,
    isTunnelTold: links.find(({ ifname }) => ifname === way)?.linkinfo?.info_kind === 'vxlan',
    uplink,
  };
}

/** All places of a packet from a pod to one on another node, as `NODE/INTERFACE DIRECTION`. */
export async function wayBetween(world: World, network: Network, from: Pod, to: Pod): Promise<string[]> {
  const { bridge, tunnel, isTunnelTold, uplink } = network;
  const [first, last] = await Promise.all([world.hostInterface(from), world.hostInterface(to)]);
  const out = [first, bridge].flatMap((name) => (name === undefined ? [] : [`${from.node}/${name} in`]));
  const between = [
    ...(tunnel === undefined ? [] : [`${from.node}/${tunnel} out`]),
    ...(tunnel === undefined || isTunnelTold ? [`${from.node}/${uplink} out`, `${to.node}/${uplink} in`] : []),
    ...(tunnel === undefined ? [] : [`${to.node}/${tunnel} in`]),
  ];
  const into = [bridge, last].flatMap((name) => (name === undefined ? [] : [`${to.node}/${name} out`]));
  return [...out, ...between, ...into];
}

/** kube-proxy's chains on a node for a Service's port that lead to an endpoint, read from its rules. */
export async function chainsOnNode(
  world: World,
  network: Network,
  node: string,
  service: { clusterIp: string; port: number; protocol: 'tcp' | 'udp' },
  endpoint: string,
): Promise<string[]> {
  return network.proxy === 'iptables'
    ? iptablesChains(await world.onNode(node, 'iptables-save', '-t', 'nat'), service, endpoint)
    : nftablesChains(await world.onNode(node, 'nft', 'list', 'table', 'ip', 'kube-proxy'), service, endpoint);
}

/** The chains of the Service `server`, once the client's node leads to its present pod, and no more to the one before. */
export function chainsToServer(world: World, network: Network, before: Pod): Promise<string[]> {
  const service = { clusterIp: world.clusterIp, port: 80, protocol: 'tcp' } as const;
  const chainsTo = ({ ip }: Pod) => chainsOnNode(world, network, world.nodeA, service, `${ip}:8080`);
  return untilHolds('the node leads to the new pod alone', async () => {
    assert.match((await chainsTo(before)).join(), /no chain of the endpoint|does not lead/);
    const chains = await chainsTo(world.server);
    assert.doesNotMatch(chains.join(), /no chain|does not lead/);
    return chains;
  });
}

/** kube-proxy's chain on a node that a NodePort leads to. */
export async function externalChain(world: World, network: Network, node: string, nodePort: number): Promise<string> {
  const found =
    network.proxy === 'iptables'
      ? new RegExp(`-A KUBE-NODEPORTS .*--dport ${nodePort} -j (KUBE-EXT-\\S+)`).exec(
          await world.onNode(node, 'iptables-save', '-t', 'nat'),
        )
      : new RegExp(`tcp \\. ${nodePort} : goto (\\S+?),?\\s`).exec(
          await world.onNode(node, 'nft', 'list', 'map', 'ip', 'kube-proxy', 'service-nodeports'),
        );
  return found?.[1] ?? 'no chain of the NodePort';
}

interface ServicePort {
  clusterIp: string;
  port: number;
  protocol: 'tcp' | 'udp';
}

function iptablesChains(rules: string, { clusterIp, port, protocol }: ServicePort, endpoint: string): string[] {
  const lines = rules.split('\n');
  const toService = lines.find(
    (line) =>
      line.startsWith('-A KUBE-SERVICES') &&
      line.includes(`-d ${clusterIp}/32 -p ${protocol} `) &&
      line.includes(`--dport ${port} -j KUBE-SVC-`),
  );
  const svc = /-j (KUBE-SVC-\S+)/.exec(toService ?? '')?.[1];
  const sep = lines
    .filter((line) => svc !== undefined && line.startsWith(`-A ${svc} `))
    .flatMap((line) => /-j (KUBE-SEP-\S+)/.exec(line)?.[1] ?? [])
    .find((chain) => lines.some((line) => line.startsWith(`-A ${chain} `) && line.endsWith(`--to-destination ${endpoint}`)));
  return [svc ?? 'no chain of the Service', sep ?? 'no chain of the endpoint'];
}

/** There is one chain a Service's port in nftables mode; it picks the endpoint itself. */
function nftablesChains(table: string, { clusterIp, port, protocol }: ServicePort, endpoint: string): string[] {
  const chain = new RegExp(`${clusterIp.replaceAll('.', '\\.')} \\. ${protocol} \\. ${port} : goto (\\S+?),?\\s`).exec(
    table,
  )?.[1];
  const body = table.split(/^\tchain /m).find((text) => chain !== undefined && text.startsWith(`${chain} {`)) ?? '';
  const [ip = '', endpointPort = ''] = endpoint.split(':');
  const leadsThere = body.includes(`${ip} . ${endpointPort}`);
  return [chain ?? 'no chain of the Service', ...(leadsThere ? [] : ['which does not lead to the endpoint'])];
}
