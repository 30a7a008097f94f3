import { API_ADDRESS, type LabNode, type LabPod, labNodes, macOf, nodeNamed, POD_CIDR } from '../plan/plan.ts';
import { run } from './run.ts';
import { allDone, waitFor } from './wait.ts';

/** The network namespace of a node, a pod, or the switch between the nodes. */
export function namespaceOf(lab: string, member: LabNode | LabPod | 'switch'): string {
  if (member === 'switch') return `kt-${lab}-switch`;
  return 'index' in member ? `kt-${lab}-${member.name}` : `kt-${lab}-pod-${member.name}`;
}

/** What every namespace of a lab begins with. A lab's name holds no dash, so no other lab's namespace does. */
export function namespacePrefix(lab: string): string {
  return `kt-${lab}-`;
}

/** Creates the switch, the nodes and the pods' networks. Nothing of it is ever in the root namespace. */
export async function createNetwork(lab: string, pods: readonly LabPod[]): Promise<void> {
  const nodes = labNodes();
  const all = [
    namespaceOf(lab, 'switch'),
    ...nodes.map((node) => namespaceOf(lab, node)),
    ...pods.map((pod) => namespaceOf(lab, pod)),
  ];
  await run(['ip', '-batch', '-'], { input: lines(all.map((name) => `netns add ${name}`)) });
  await allDone([setSwitchSysctls(lab), ...nodes.map((node) => setNodeSysctls(lab, node))]);
  await batch(namespaceOf(lab, 'switch'), switchCommands());
  await allDone(nodes.map((node) => createNode(lab, node, nodes)));
  await allDone(
    nodes.map((node) =>
      connectPods(
        lab,
        node,
        pods.filter((pod) => pod.node === node.name),
      ),
    ),
  );
}

/** Creates one more pod's namespace and connects it to its node. */
export async function createPodNetwork(lab: string, pod: LabPod): Promise<void> {
  const node = nodeNamed(pod.node);
  await run(['ip', 'netns', 'add', namespaceOf(lab, pod)]);
  await setPodSysctls(lab, pod);
  await connectPods(lab, node, [pod]);
  await announce(lab, node, pod);
}

/**
 * Tells the neighbours the pod's hardware address once the bridge forwards, as the bridge plugin does: another pod may have had
 * the same address a moment ago. Setting the address it has makes the kernel send a gratuitous ARP and neighbour advertisement.
 */
async function announce(lab: string, node: LabNode, pod: LabPod): Promise<void> {
  const port = ['bridge', '-n', namespaceOf(lab, node), 'link', 'show', 'dev', pod.veth];
  await waitFor(async () => /state forwarding/.test(await run(port)), 3000);
  const link = await run(['ip', '-n', namespaceOf(lab, pod), '-o', 'link', 'show', 'eth0']);
  const mac = /link\/ether (\S+)/.exec(link)?.[1] ?? '';
  await run(['ip', '-n', namespaceOf(lab, pod), 'link', 'set', 'eth0', 'address', mac]);
}

/** Removes a pod's namespace, and with it both ends of its veth pair. */
export async function deletePodNetwork(lab: string, pod: LabPod): Promise<void> {
  await run(['ip', '-n', namespaceOf(lab, nodeNamed(pod.node)), 'link', 'del', pod.veth]);
  await run(['ip', 'netns', 'del', namespaceOf(lab, pod)]);
}

/** The uplinks' other ends become ports of the switch's bridge as the nodes are created. */
function switchCommands(): string[] {
  return [
    'link set lo up',
    'link add br0 type bridge',
    'link set br0 up',
    'address add 192.168.60.1/24 dev br0',
    `address add ${API_ADDRESS}/24 dev br0`,
    'address add fd00:192:168:60::1/64 dev br0 nodad',
  ];
}

async function createNode(lab: string, node: LabNode, nodes: readonly LabNode[]): Promise<void> {
  const peers = nodes.filter((peer) => peer.index !== node.index);
  const port = `port${node.index}`;
  const name = namespaceOf(lab, node);
  await batch(name, [
    'link set lo up',
    `link add eth0 type veth peer name ${port} netns ${namespaceOf(lab, 'switch')}`,
    'link set eth0 up',
    `address add ${node.ip}/24 dev eth0`,
    `address add ${node.ip6}/64 dev eth0 nodad`,
    'route add default via 192.168.60.1',
    'route add default via fd00:192:168:60::1',
    `link add cni0 address ${macOf(`cni0 ${node.name}`)} type bridge`,
    'link set cni0 mtu 1450 up',
    `address add 10.244.${node.index}.1/24 dev cni0`,
    `address add fd00:10:244:${node.index}::1/64 dev cni0 nodad`,
    ...flannelCommands(node, peers),
  ]);
  await allDone([
    batch(namespaceOf(lab, 'switch'), [`link set ${port} master br0 up`]),
    run(['bridge', '-n', name, '-batch', '-'], { input: lines(flannelForwarding(peers)) }),
  ]);
}

/** What flanneld writes: one VXLAN device per address family, a permanent neighbour and an onlink route per peer. */
function flannelCommands(node: LabNode, peers: readonly LabNode[]): string[] {
  return [
    `link add flannel.1 address ${macOf(`flannel.1 ${node.name}`)} type vxlan id 1 local ${node.ip} dev eth0 dstport 8472 nolearning`,
    'link set flannel.1 mtu 1450 up',
    `address add 10.244.${node.index}.0/32 dev flannel.1`,
    `link add flannel-v6.1 address ${macOf(`flannel-v6.1 ${node.name}`)} type vxlan id 1 local ${node.ip6} dev eth0 dstport 8472 nolearning`,
    'link set flannel-v6.1 mtu 1430 up',
    `address add fd00:10:244:${node.index}::/128 dev flannel-v6.1 nodad`,
    ...peers.flatMap((peer) => [
      `neigh add 10.244.${peer.index}.0 lladdr ${macOf(`flannel.1 ${peer.name}`)} dev flannel.1 nud permanent`,
      `route add ${peer.podCidr} via 10.244.${peer.index}.0 dev flannel.1 onlink`,
      `neigh add fd00:10:244:${peer.index}:: lladdr ${macOf(`flannel-v6.1 ${peer.name}`)} dev flannel-v6.1 nud permanent`,
      `route add ${peer.podCidr6} via fd00:10:244:${peer.index}:: dev flannel-v6.1 onlink`,
    ]),
  ];
}

function flannelForwarding(peers: readonly LabNode[]): string[] {
  return peers.flatMap((peer) => [
    `fdb append ${macOf(`flannel.1 ${peer.name}`)} dev flannel.1 dst ${peer.ip} self permanent`,
    `fdb append ${macOf(`flannel-v6.1 ${peer.name}`)} dev flannel-v6.1 dst ${peer.ip6} self permanent`,
  ]);
}

/** What the bridge plugin does: eth0 in the pod, its peer on cni0 in hairpin mode, default routes to cni0. */
async function connectPods(lab: string, node: LabNode, pods: readonly LabPod[]): Promise<void> {
  await batch(
    namespaceOf(lab, node),
    pods.flatMap((pod) => [
      `link add ${pod.veth} mtu 1450 type veth peer name eth0 mtu 1450 netns ${namespaceOf(lab, pod)}`,
      `link set ${pod.veth} master cni0 up`,
      `link set ${pod.veth} type bridge_slave hairpin on`,
    ]),
  );
  await allDone(
    pods.map((pod) =>
      batch(namespaceOf(lab, pod), [
        'link set lo up',
        `address add ${pod.ip}/24 dev eth0`,
        `address add ${pod.ip6}/64 dev eth0 nodad`,
        'link set eth0 up',
        `route add default via 10.244.${node.index}.1`,
        `route add ${POD_CIDR} via 10.244.${node.index}.1`,
        `route add default via fd00:10:244:${node.index}::1`,
      ]),
    ),
  );
}

/** As kubelet, kube-proxy and the CNI need them on a real node. Without duplicate address detection nothing waits a second. */
function setNodeSysctls(lab: string, node: LabNode): Promise<string> {
  return setSysctls(namespaceOf(lab, node), {
    'net/ipv4/ip_forward': '1',
    'net/ipv6/conf/all/forwarding': '1',
    'net/bridge/bridge-nf-call-iptables': '1',
    'net/bridge/bridge-nf-call-ip6tables': '1',
    'net/ipv6/conf/default/accept_dad': '0',
    'net/ipv6/conf/default/accept_ra': '0',
  });
}

/** See {@link announce}. */
function setPodSysctls(lab: string, pod: LabPod): Promise<string> {
  return setSysctls(namespaceOf(lab, pod), {
    'net/ipv4/conf/default/arp_notify': '1',
    'net/ipv6/conf/default/ndisc_notify': '1',
    'net/ipv6/conf/default/accept_dad': '0',
  });
}

/** The switch is no router, and no firewall looks at what it bridges. */
function setSwitchSysctls(lab: string): Promise<string> {
  return setSysctls(namespaceOf(lab, 'switch'), {
    'net/bridge/bridge-nf-call-iptables': '0',
    'net/bridge/bridge-nf-call-ip6tables': '0',
    'net/bridge/bridge-nf-call-arptables': '0',
    'net/ipv6/conf/default/accept_dad': '0',
  });
}

/** A process must be inside the namespace to write its sysctls; names without a file (a kernel without that part) are skipped. */
function setSysctls(namespace: string, values: Record<string, string>): Promise<string> {
  const script = Object.entries(values).map(
    ([key, value]) => `if [ -e /proc/sys/${key} ]; then echo ${value} > /proc/sys/${key}; fi`,
  );
  return run(['nsenter', `--net=/run/netns/${namespace}`, 'sh', '-ec', script.join('\n')]);
}

async function batch(namespace: string, commands: readonly string[]): Promise<void> {
  if (commands.length > 0) await run(['ip', '-n', namespace, '-batch', '-'], { input: lines(commands) });
}

function lines(items: readonly string[]): string {
  return items.map((item) => `${item}\n`).join('');
}
