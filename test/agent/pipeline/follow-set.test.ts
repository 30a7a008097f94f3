import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Scope } from '../../../src/access/scope.ts';
import { addressOf, emptyBits, setBit } from '../../../src/agent/kernel/address-bits.ts';
import { servicePortKey } from '../../../src/agent/kernel/target-maps.ts';
import {
  followedSet,
  isSameResolved,
  isWanted,
  kernelTargets,
  MOST_UNKNOWN,
  type Resolve,
} from '../../../src/agent/pipeline/follow-set.ts';
import { ADDRESS } from '../../../src/event/layout.ts';
import type { Subscription } from '../../../src/event/target.ts';
import type { PacketEvent } from '../../../src/event/types.ts';
import type { ServiceAddress } from '../../../src/kube/index/types.ts';
import type { ResolvedTargets } from '../../../src/kube/targets.ts';
import { resolvedTo } from '../../support/resolved.ts';

const POD = { namespace: 'default', name: 'web', uid: 'u', node: 'host1', ips: ['10.244.1.2'] };
const SERVICE: ServiceAddress = { ip: '10.96.0.10', port: 80, proto: 'tcp' };

function set(
  more: Partial<Subscription> = {},
  resolved: Partial<ResolvedTargets> = {},
  newborn: string[] = [],
  within: { allowed: Scope; outside?: string[]; inside?: string[] } = { allowed: 'all' },
) {
  const asked: unknown[] = [];
  const subscription: Subscription = {
    targets: [{ kind: 'pod', namespace: 'default', name: 'web' }],
    addresses: [],
    units: 'flows',
    ...more,
  };
  const resolve: Resolve = (targets, extra, allowed) => {
    asked.push(targets, extra, allowed);
    return resolvedTo({ pods: [POD], addresses: ['10.244.1.2'], serviceAddresses: [SERVICE], ...resolved });
  };
  const { allowed, outside = [], inside = ['10.244.1.2'] } = within;
  const placeOf = (ip: string) => {
    if (outside.includes(ip)) return 'outside';
    return inside.includes(ip) ? 'inside' : 'unknown';
  };
  const followed = followedSet(subscription, { resolve, placeOf, allowed, newborn });
  return { followed, asked };
}

const hex = (ip: string) => Buffer.from(addressOf(ip).bytes).toString('hex');

test('own addresses are told to others, and theirs are followed like own ones', () => {
  const { followed, asked } = set({ addresses: ['10.244.3.3'] });
  assert.deepEqual(followed.resolved, { pods: [POD], addresses: ['10.244.1.2'] });
  assert.deepEqual([...followed.addresses].sort(), ['10.244.1.2', '10.244.3.3']);
  assert.deepEqual(asked[1], ['10.244.3.3'], 'Services of others’ addresses are asked for');
  assert.equal(followed.wantsEveryPacket, false);
  assert.equal(set({ units: 'packets' }).followed.wantsEveryPacket, true);
});

test('targets that stand for nothing on this node are told by their places, as is that they do', () => {
  const nothing = set({}, { unresolved: [1] }).followed;
  assert.deepEqual(nothing.resolved.unresolved, [1]);
  assert.equal(set().followed.resolved.unresolved, undefined);
  assert.ok(!isSameResolved(nothing.resolved, set().followed.resolved));
  assert.ok(isSameResolved(nothing.resolved, set({}, { unresolved: [1] }).followed.resolved));
});

test('an address that other nodes may have as well is followed here, and not told to them', () => {
  const { followed } = set({}, { ownAddresses: ['172.17.0.1'] });
  assert.deepEqual(followed.resolved.addresses, ['10.244.1.2']);
  assert.ok(followed.addresses.has('172.17.0.1'));
});

test('who follows all pods follows new ones before their names are there, and who follows one does not', () => {
  const { followed, asked } = set({ targets: [{ kind: 'all' }] }, {}, ['10.244.1.2', '10.244.1.9']);
  assert.deepEqual(followed.resolved.addresses, ['10.244.1.2', '10.244.1.9']);
  assert.ok(followed.addresses.has('10.244.1.9'));
  assert.deepEqual(asked[1], ['10.244.1.2', '10.244.1.9']);
  assert.ok(!set({}, {}, ['10.244.1.9']).followed.addresses.has('10.244.1.9'));
});

function bitsOf(ips: readonly string[]): Uint8Array {
  const bits = emptyBits();
  for (const ip of ips) setBit(bits, addressOf(ip).bit);
  return bits;
}

test('the kernel gets followed, Service and node addresses, each with its bit', () => {
  const targets = kernelTargets([set().followed], ['192.168.0.1', '127.0.0.1', '::1']);
  assert.deepEqual(
    targets.addresses,
    new Map([
      [hex('10.244.1.2'), ADDRESS.followed],
      [hex('10.96.0.10'), ADDRESS.service],
      [hex('192.168.0.1'), ADDRESS.node],
    ]),
  );
  assert.deepEqual(targets.bits, bitsOf(['10.244.1.2', '10.96.0.10', '192.168.0.1']));
  assert.deepEqual(targets.nodeBits, bitsOf(['192.168.0.1']));
  assert.deepEqual(targets.followedBits, bitsOf(['10.244.1.2']));
  assert.deepEqual([...targets.servicePorts], [servicePortKey(addressOf('10.96.0.10').bytes, 80, 6)]);
  assert.equal(targets.everyPacket, false);
});

test('an address that is several things to the followers is all of them', () => {
  const followed = set(
    {},
    { addresses: ['192.168.0.1'], serviceAddresses: [{ ip: '192.168.0.1', port: 30_080, proto: 'udp' }] },
  ).followed;
  const targets = kernelTargets([followed], ['192.168.0.1']);
  assert.deepEqual([...targets.addresses.values()], [ADDRESS.followed | ADDRESS.service | ADDRESS.node]);
  assert.deepEqual([...targets.servicePorts], [servicePortKey(addressOf('192.168.0.1').bytes, 30_080, 17)]);
  const ports = [...targets.servicePortBits.entries()].filter(([, bits]) => bits !== 0);
  assert.deepEqual(ports, [[30_080 >> 3, 1 << (30_080 & 7)]]);
  assert.deepEqual(targets.followedBits, bitsOf(['192.168.0.1']));
});

test('an address of the node that has a NodePort is looked at as the node’s own: who is behind it the translation says', () => {
  const { followed } = set({}, { addresses: [], serviceAddresses: [{ ip: '192.168.0.1', port: 30_080, proto: 'tcp' }] });
  const targets = kernelTargets([followed], ['192.168.0.1']);
  assert.deepEqual([...targets.addresses.values()].at(0), ADDRESS.service | ADDRESS.node);
  assert.ok(targets.followedBits.every((byte, at) => (byte & (bitsOf(['192.168.0.1'])[at] ?? 0)) === 0));
});

test('several followers are united, and one who wants every packet is enough', () => {
  const targets = kernelTargets([set().followed, set({ addresses: ['fd00::3'], units: 'packets' }).followed], []);
  assert.deepEqual([...targets.addresses.keys()].sort(), ['10.244.1.2', '10.96.0.10', 'fd00::3'].map(hex).sort());
  assert.equal(targets.everyPacket, true);
});

test('nobody to follow is nothing to look for, the node’s addresses neither', () => {
  const nobody = kernelTargets([], ['192.168.0.1']);
  assert.equal(nobody.addresses.size, 0);
  assert.deepEqual(nobody.bits, emptyBits());
  assert.equal(kernelTargets([set({}, { addresses: [], serviceAddresses: [] }).followed], ['192.168.0.1']).addresses.size, 0);
});

const many = (count: number, from = 0) =>
  Array.from({ length: count }, (_, n) => `198.18.${(from + n) >> 8}.${(from + n) & 255}`);

test('addresses of others come into no set of who may see one namespace, whoever named them, and none of their packets are asked for', () => {
  const foreign = ['10.244.1.7', '10.96.0.77', '192.168.0.1', 'fd00::7'];
  const otherwise = ['::ffff:10.244.1.7', '::ffff:af4:107', 'FD00:0:0::0007'];
  const within = { allowed: new Set(['default']), outside: foreign };
  const bySlice = { addresses: ['10.244.1.2', '10.244.1.7'], ownAddresses: ['192.168.0.1'] };
  const { followed, asked } = set({ addresses: [...foreign, ...otherwise, '10.244.3.3'], units: 'packets' }, bySlice, [], within);
  assert.deepEqual([...followed.addresses].sort(), ['10.244.1.2', '10.244.3.3']);
  assert.deepEqual(followed.resolved.addresses, ['10.244.1.2']);
  assert.equal(asked[2], within.allowed);
  const targets = kernelTargets([followed], ['192.168.0.1']);
  for (const ip of foreign) assert.equal((targets.addresses.get(hex(ip)) ?? 0) & (ADDRESS.followed | ADDRESS.every), 0, ip);
  assert.equal(targets.addresses.get(hex('10.244.3.3')), ADDRESS.followed | ADDRESS.every);
  assert.ok(set({ addresses: foreign }).followed.addresses.has('10.244.1.7'), 'who may see everything follows what they name');
});

test('who may see one namespace has so many addresses of unknown owners and no more, and their own besides', () => {
  const { followed } = set({ addresses: many(MOST_UNKNOWN + 7) }, {}, [], { allowed: new Set(['default']) });
  assert.equal(followed.addresses.size, MOST_UNKNOWN + 1);
  assert.ok(followed.addresses.has('10.244.1.2'));
  assert.equal(followed.leftOut, 7);
  assert.equal(set({ addresses: many(MOST_UNKNOWN + 7) }).followed.leftOut, 0);
});

test('every packet and more than the headers are asked of a follower’s own addresses alone', () => {
  const flows = set().followed;
  const packets = set({ units: 'packets', addresses: ['10.244.3.3'] }, { addresses: [] }).followed;
  const bytes = set({ snapBytes: 500, addresses: ['10.244.3.4'] }, { addresses: [] }).followed;
  const { addresses } = kernelTargets([flows, packets, bytes], []);
  assert.equal(addresses.get(hex('10.244.1.2')), ADDRESS.followed);
  assert.equal(addresses.get(hex('10.244.3.3')), ADDRESS.followed | ADDRESS.every);
  assert.equal(addresses.get(hex('10.244.3.4')), ADDRESS.followed | ADDRESS.snap);
  assert.equal(addresses.get(hex('10.96.0.10')), ADDRESS.service);
});

test('two who follow as much as there is room for leave the others’ addresses in, and are told what is left out', () => {
  const room = 1000;
  const full = (from: number) => set({ addresses: many(room, from) }, { addresses: [], serviceAddresses: [] }).followed;
  const sets = [full(0), full(room), set().followed];
  const targets = kernelTargets(sets, ['192.168.0.1'], [], room);
  assert.equal(targets.addresses.size, room);
  for (const ip of ['10.244.1.2', '10.96.0.10', '192.168.0.1']) assert.ok(targets.addresses.has(hex(ip)), ip);
  assert.equal(targets.servicePorts.size, 1);
  assert.equal(targets.leftOut.get(2), undefined);
  assert.equal((targets.leftOut.get(0) ?? 0) + (targets.leftOut.get(1) ?? 0), 2 * room - (room - 3));
  const shared = kernelTargets([sets[0]!, sets[0]!], [], [], room);
  assert.deepEqual([shared.addresses.size, shared.leftOut.size], [room, 0], 'what two follow takes room once');
});

test('who follows often has no more room than who follows once, and each of their follows has a part of it', () => {
  const room = 1000;
  const full = (from: number, owner: string) => ({
    ...set({ addresses: many(room, from) }, { addresses: [], serviceAddresses: [] }).followed,
    owner,
  });
  const often = Array.from({ length: 8 }, (_, place) => full(place * room, 'often'));
  const small = { ...set({ addresses: ['10.0.0.1'] }, { addresses: [], serviceAddresses: [] }).followed, owner: 'often' };
  const once = { ...set({ addresses: many(450, 9 * room) }, { addresses: [], serviceAddresses: [] }).followed, owner: 'once' };
  const targets = kernelTargets([...often, small, once], [], [], room);
  assert.equal(targets.addresses.size, room);
  assert.equal(targets.leftOut.get(9), undefined, 'half of the room is enough');
  assert.equal(targets.leftOut.get(8), undefined, 'the small one has its part');
  for (const place of often.keys()) assert.ok((targets.leftOut.get(place) ?? 0) <= room - 55, `${place}`);
  const nobodys = kernelTargets([full(0, ''), full(room, ''), full(2 * room, 'one')], [], [], room);
  assert.deepEqual([...nobodys.leftOut.values()], [room - 334, room - 333, room - 333]);
});

test('a packet that died before its translation is told to who follows its Service, or a pod that it might have reached', () => {
  const nodePort: ServiceAddress = { ip: '192.168.0.3', port: 30_080, proto: 'tcp' };
  const sixth: ServiceAddress = { ip: 'fd00::3', port: 30_053, proto: 'udp' };
  const { followed } = set({}, { serviceAddresses: [SERVICE, nodePort, sixth] });
  const died: PacketEvent = {
    v: 1,
    kind: 'packet',
    id: 'x',
    time: '2026-11-22T18:10:30Z',
    nodes: ['host3'],
    proto: 'tcp',
    len: 60,
    dir: 'request',
    src: { ip: '192.168.0.100', port: 40_000 },
    dst: { ip: nodePort.ip, port: nodePort.port },
    hops: [],
    verdict: 'dropped',
    fingerprint: 'x',
  };
  const to = ({ ip, port, proto }: ServiceAddress, more: Partial<PacketEvent> = {}) =>
    isWanted(followed, { ...died, proto, dst: { ip, port }, ...more });
  for (const one of [SERVICE, nodePort, sixth]) assert.ok(to(one), JSON.stringify(one));
  assert.ok(!to({ ...nodePort, proto: 'udp' }), 'the same port of another protocol is another Service’s');
  assert.ok(!to({ ...nodePort, port: 22 }), 'what else the node serves is nobody’s');
  assert.ok(!to(nodePort, { verdict: 'delivered' }));
  const other = { ip: '10.244.9.9', port: 80 };
  const nat = [{ kind: 'dnat' as const, before: died.dst, after: other, seenBy: 'conntrack' as const }];
  assert.ok(!to(nodePort, { nat }), 'translated to another pod it is that pod’s');
});
