import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uplinksOf } from '../../../src/agent/kernel/uplinks.ts';
import type { Link } from '../../../src/native/types.ts';
import { link, openInterfaces } from './interfaces-fixture.ts';

const card = (ifindex: number, name: string, more: Partial<Link> = {}): Link =>
  link({ ifindex, name, kind: '', link: 0, linkNetnsId: -1, ...more });
const address = (ifindex: number, ip = `192.0.2.${ifindex}`) => ({ ifindex, ip, prefixLength: 24 });

/** Names of the uplinks; every link has an address unless it is among those without. */
function uplinks(
  links: Link[],
  { without = [], defaultRoutes = [], node = [] }: { without?: number[]; defaultRoutes?: number[]; node?: string[] } = {},
): string[] {
  const found = uplinksOf({
    links: new Map(links.map((one) => [one.ifindex, one])),
    addresses: links.flatMap(({ ifindex }) => [
      address(ifindex, `fe80::${ifindex}`),
      ...(without.includes(ifindex) ? [] : [address(ifindex)]),
    ]),
    defaultRoutes,
    nodeAddresses: new Set(node),
  });
  return links.flatMap(({ ifindex, name }) => (found.has(ifindex) ? [name] : []));
}

test('every card, bond, team and VLAN with an address is an uplink; what is a part of another one, or leads elsewhere, is none', () => {
  const cards = [card(2, 'eth0'), card(3, 'eth1'), card(4, 'eth2', { master: 9 }), card(5, 'eth3')];
  const others = [
    card(9, 'bond0', { kind: 'bond' }),
    card(10, 'team0', { kind: 'team' }),
    card(11, 'eth3.7', { kind: 'vlan', link: 5 }),
    card(12, 'kube-ipvs0', { kind: 'dummy' }),
    card(13, 'ib0', { arpType: 32 }),
    card(14, 'br0', { kind: 'bridge' }),
    link({ ifindex: 15, name: 'veth1' }),
    link({ ifindex: 16, name: 'veth2', kind: '', linkNetnsId: 3 }),
  ];
  assert.deepEqual(uplinks([...cards, ...others], { without: [5] }), ['eth0', 'eth1', 'bond0', 'team0', 'eth3.7']);
});

test('a default route and the node’s address make an uplink of anything', () => {
  const links = [card(2, 'br0', { kind: 'bridge' }), link({ ifindex: 3, name: 'eth0' }), card(4, 'wg0', { kind: 'wireguard' })];
  assert.deepEqual(uplinks(links), []);
  assert.deepEqual(uplinks(links, { defaultRoutes: [4], node: ['192.0.2.2', '192.0.2.99'] }), ['br0', 'wg0']);
});

test('of uplinks that lie on one another the lowest is one', () => {
  const eth0 = card(2, 'eth0');
  const vlan = card(3, 'eth0.5', { kind: 'vlan', link: 2 });
  const inner = card(4, 'eth0.5.6', { kind: 'vlan', link: 3 });
  assert.deepEqual(uplinks([eth0, vlan], { defaultRoutes: [3] }), ['eth0']);
  assert.deepEqual(uplinks([eth0, vlan, inner], { without: [3] }), ['eth0']);
  assert.deepEqual(uplinks([eth0, vlan, inner], { without: [2] }), ['eth0.5']);
  assert.deepEqual(uplinks([eth0, vlan], { without: [2], defaultRoutes: [3] }), ['eth0.5']);
  const below = card(5, 'vlan5', { kind: 'vlan', link: 2, linkNetnsId: 1 });
  assert.deepEqual(uplinks([eth0, below]), ['eth0', 'vlan5'], 'its lower device is another namespace’s, whatever its index');
});

test('uplinks follow addresses, default routes, and what becomes of a link', (t) => {
  const eth1 = card(3, 'eth1');
  const dummy = card(4, 'dummy0', { kind: 'dummy' });
  const { interfaces, kernel, clock } = openInterfaces(t, { links: [card(2, 'eth0'), eth1, dummy], addresses: [address(2)] });
  interfaces.setActive(true);
  const attached = () => [...kernel.attached].map(([ifindex, kind]) => `${ifindex} ${kind}`).sort();
  assert.deepEqual(attached(), ['2 uplink']);
  kernel.addresses = [address(2), address(3)];
  kernel.tell({ kind: 'address', ifindex: 3 });
  clock.advance(100);
  assert.deepEqual(attached(), ['2 uplink', '3 uplink']);
  kernel.routes = [4];
  kernel.tell({ kind: 'route' });
  clock.advance(100);
  assert.deepEqual(attached(), ['2 uplink', '3 uplink', '4 uplink']);
  kernel.routes = [];
  kernel.tell({ kind: 'new', link: { ...dummy, up: false } });
  clock.advance(100);
  assert.deepEqual(attached(), ['2 uplink', '3 uplink'], 'its routes went without a word');
  kernel.tell({ kind: 'new', link: { ...eth1, master: 9 } });
  kernel.tell({ kind: 'gone', ifindex: 2, name: 'eth0' });
  assert.deepEqual(attached(), []);
});
