import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasLinkLayer, hasPeer, interfaceKind, isIpTunnel } from '../../../src/agent/kernel/interface-kind.ts';
import type { Link } from '../../../src/native/types.ts';

const ETHERNET = 1;
const NONE = 65_534;
const IPIP = 768;
const LOOPBACK = 772;

function link(name: string, fields: Partial<Link> = {}): Link {
  return {
    ifindex: 7,
    name,
    kind: '',
    up: true,
    mtu: 1500,
    link: 0,
    linkNetnsId: -1,
    master: 0,
    vxlanPort: 0,
    genevePort: 0,
    arpType: ETHERNET,
    ...fields,
  };
}
/** A veth whose other end is in another namespace. */
const pod = (name: string, fields: Partial<Link> = {}) => link(name, { kind: 'veth', link: 2, linkNetnsId: 0, ...fields });
/** Both ends in the host. */
const plumbing = (name: string) => link(name, { kind: 'veth', link: 8 });

const kindOf = (of: Link, context: { uplinks?: number[]; podMasters?: number[] } = {}) =>
  interfaceKind(of, { uplinks: new Set(context.uplinks ?? []), podMasters: new Set(context.podMasters ?? []) });

test('every pod network’s interfaces are known for what they are', () => {
  const table: [string, Link, string | undefined][] = [
    ['flannel: pod', pod('veth3f2a91bc', { master: 4 }), 'pod'],
    ['flannel: bridge', link('cni0', { kind: 'bridge' }), 'bridge'],
    ['flannel: VXLAN', link('flannel.1', { kind: 'vxlan', vxlanPort: 8472 }), 'tunnel'],
    ['flannel: VXLAN for IPv6', link('flannel-v6.1', { kind: 'vxlan', vxlanPort: 8472 }), 'tunnel'],
    ['flannel: UDP, a tun', link('flannel0', { kind: 'tun', arpType: NONE }), 'tunnel'],
    ['Calico: pod', pod('cali0123456789a'), 'pod'],
    ['Calico: pod in the making', pod('calico_tmp_A'), undefined],
    ['Calico: pod in the making', pod('calico_tmp_B'), undefined],
    ['Calico: IPIP', link('tunl0', { kind: 'ipip', arpType: IPIP }), 'tunnel'],
    ['Calico: VXLAN', link('vxlan.calico', { kind: 'vxlan', vxlanPort: 4789 }), 'tunnel'],
    ['Calico: WireGuard', link('wireguard.cali', { kind: 'wireguard', arpType: NONE }), 'tunnel'],
    ['Weave: bridge', link('weave', { kind: 'bridge' }), 'bridge'],
    ['Weave: bridge’s veth', plumbing('vethwe-bridge'), 'bridge'],
    ['Weave: datapath’s veth', plumbing('vethwe-datapath'), 'bridge'],
    ['Weave: pod', pod('vethwepl1a2b3c4'), 'pod'],
    ['Weave: VXLAN', link('vxlan-6784', { kind: 'vxlan', vxlanPort: 6784 }), 'tunnel'],
    ['Docker: bridge', link('docker0', { kind: 'bridge' }), 'bridge'],
    ['Docker: network', link('br-0123456789ab', { kind: 'bridge' }), 'bridge'],
    ['EKS: pod', pod('eni0a1b2c3d4e5'), 'pod'],
    ['GKE: pod', pod('gke0123456789a'), 'pod'],
    ['Cilium: pod', pod('lxc0123456789ab'), 'pod'],
    ['Cilium: netkit pod', pod('lxc0123456789ab', { kind: 'netkit' }), 'pod'],
    ['Cilium: VXLAN', link('cilium_vxlan', { kind: 'vxlan', vxlanPort: 8472 }), 'tunnel'],
    ['any name that leads elsewhere', pod('weird-name'), 'pod'],
    ['loopback', link('lo', { arpType: LOOPBACK }), undefined],
    ['a network card that is no uplink', link('eth1'), undefined],
    ['a card named like a pod’s', link('eni0'), undefined],
    ['a veth with both ends here', plumbing('veth0'), undefined],
    ['a bridge of somebody else', link('virbr0', { kind: 'bridge' }), undefined],
    ['a Docker network’s name, but longer', link('br-0123456789abc', { kind: 'bridge' }), undefined],
  ];
  for (const [what, of, kind] of table) assert.equal(kindOf(of), kind, `${what}: ${of.name}`);
});

test('the uplink is one, whatever it is made of', () => {
  assert.equal(kindOf(link('eth0'), { uplinks: [7] }), 'uplink');
  assert.equal(kindOf(pod('eth0'), { uplinks: [7] }), 'uplink', 'a node that is itself a namespace');
  assert.equal(kindOf(link('br0', { kind: 'bridge' }), { uplinks: [7] }), 'uplink');
  assert.equal(kindOf(pod('veth0'), { uplinks: [8] }), 'pod');
});

test('a bridge of any name counts when a pod’s interface is enslaved to it', () => {
  assert.equal(kindOf(link('kubenet', { kind: 'bridge' }), { podMasters: [7] }), 'bridge');
});

test('a tunnel is one by its kind, whatever its name', () => {
  for (const kind of ['vxlan', 'ipip', 'sit', 'ip6tnl', 'geneve', 'wireguard'])
    assert.equal(kindOf(link('x0', { kind })), 'tunnel');
});

test('only Ethernet has a link layer: tun, IPIP and WireGuard do not', () => {
  assert.deepEqual(
    [ETHERNET, NONE, IPIP, 778].map((arpType) => hasLinkLayer(link('x', { arpType }))),
    [true, false, false, false],
  );
});

test('IP in IP is of the devices that make it', () => {
  for (const kind of ['ipip', 'sit', 'ip6tnl']) assert.ok(isIpTunnel(link('tunl0', { kind })), kind);
  for (const kind of ['vxlan', 'geneve', 'wireguard', 'bridge', '']) assert.ok(!isIpTunnel(link('tunl0', { kind })), kind);
});

test('what has an end in a pod is asked for the pod’s namespace: veth and netkit, and no other kind', () => {
  const kinds = ['veth', 'netkit', 'macvlan', 'bridge', ''];
  assert.deepEqual(
    kinds.filter((kind) => hasPeer(link('lxc0', { kind }))),
    ['veth', 'netkit'],
  );
});
