import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import type { Target } from '../../../src/event/target.ts';
import { type Change, Changes } from '../../../src/kube/index/changes.ts';
import { NamesIndex } from '../../../src/kube/index/names-index.ts';
import { isTouched, resolveTargets } from '../../../src/kube/targets.ts';
import { fc } from '../../support/fast-check.ts';
import { putNode, putPod, putService, putSlice, rawNode, rawService, rawSlice } from '../build.ts';

/** Few addresses, so that they change hands; one that each host has. */
const IPS = [...Array.from({ length: 7 }, (_, n) => `10.0.0.${n + 1}`), 'fe80::1'];
const NODES = ['host1', 'host2', 'host3'];
const SPACES = ['a', 'b'];

const ip = fc.constantFrom(...IPS.slice(0, 7));
const ips = fc.uniqueArray(fc.constantFrom(...IPS), { maxLength: 3 });
const place = { namespace: fc.constantFrom(...SPACES), name: fc.constantFrom('x', 'y', 'z') };

/** What happens to an index. */
const event: fc.Arbitrary<(index: NamesIndex) => void> = fc.oneof(
  fc
    .record({
      ...place,
      ip,
      app: fc.constantFrom('one', 'two'),
      phase: fc.constantFrom('Running', 'Succeeded'),
      own: fc.boolean(),
    })
    .map(({ namespace, name, ip, app, phase, own }) => (index: NamesIndex) => {
      const owner = { kind: 'StatefulSet', name: app };
      putPod(index, { namespace, name, uid: `${namespace}-${name}`, ip, phase, labels: { app }, ...(own ? { owner } : {}) });
    }),
  fc.record(place).map(
    ({ namespace, name }) =>
      (index: NamesIndex) =>
        index.dropPod(`${namespace}-${name}`),
  ),
  fc
    .record({ ...place, clusterIP: ip, externalIPs: ips, nodePort: fc.constantFrom(undefined, 30_000) })
    .map(({ namespace, name, clusterIP, externalIPs, nodePort }) => (index: NamesIndex) => {
      putService(index, rawService(name, { clusterIP, externalIPs, ports: [{ port: 80, nodePort }] }, namespace));
    }),
  fc.record(place).map(
    ({ namespace, name }) =>
      (index: NamesIndex) =>
        index.dropService(namespace, name),
  ),
  fc
    .record({
      ...place,
      of: place.name,
      ips: fc.array(ip, { maxLength: 3 }),
      node: fc.constantFrom(...NODES),
      ready: fc.boolean(),
    })
    .map(({ namespace, name, of, ips, node, ready }) => (index: NamesIndex) => {
      const endpoints = ips.map((ip, at) => ({ ip, node, ready, ...(at === 0 ? { pod: 'far' } : {}) }));
      putSlice(index, rawSlice(name, of, endpoints, namespace));
    }),
  fc.record(place).map(
    ({ namespace, name }) =>
      (index: NamesIndex) =>
        index.dropSlice(namespace, name),
  ),
  fc
    .record({ name: fc.constantFrom(...NODES), ip, tunnel: ip, cidr: fc.constantFrom(undefined, '10.0.0.0/30') })
    .map(({ name, ip, tunnel, cidr }) => (index: NamesIndex) => {
      putNode(index, rawNode(name, ip, cidr, undefined, { 'projectcalico.org/IPv4VXLANTunnelAddr': tunnel }));
    }),
  fc.constantFrom(...NODES).map((name) => (index: NamesIndex) => index.dropNode(name)),
  ips.map((ips) => (index: NamesIndex) => index.setLocalAddresses(ips)),
);

const target: fc.Arbitrary<Target> = fc.oneof(
  fc.record({ kind: fc.constantFrom('pod' as const, 'service' as const), ...place }),
  fc.record({ kind: fc.constant('statefulset' as const), namespace: place.namespace, name: fc.constant('one') }),
  fc.record({ kind: fc.constant('node' as const), name: fc.constantFrom(...NODES) }),
  fc.record({ kind: fc.constant('namespace' as const), name: place.namespace }),
  fc.constantFrom<Target>({ kind: 'selector', selector: 'app=one' }, { kind: 'all' }),
);

/** What a resolution gave; the order of addresses is nobody's concern. */
function given(targets: Target[], index: NamesIndex, extra: string[], allowed: 'all' | ReadonlySet<string>) {
  const { pods, addresses, ownAddresses, serviceAddresses, unresolved, basis } = resolveTargets(targets, index, extra, allowed);
  const services = serviceAddresses.map(({ ip, port, proto }) => `${ip} ${port} ${proto}`).sort();
  return { basis, set: { pods, unresolved, services, addresses: addresses.sort(), ownAddresses: ownAddresses.sort() } };
}

describe('what an index tells of a change', () => {
  it('touches targets whenever they stand for something else after it', () => {
    const before = fc.array(event, { minLength: 10, maxLength: 40, size: 'max' });
    const input = fc.record({
      before,
      event,
      targets: fc.array(target, { maxLength: 2, size: 'max' }),
      extra: ips,
      isScoped: fc.boolean(),
    });
    fc.assert(
      fc.property(input, ({ before, event, targets, extra, isScoped }) => {
        const index = new NamesIndex({ node: 'host1' });
        for (const happens of before) happens(index);
        const allowed = isScoped ? new Set(['a']) : 'all';
        const was = given(targets, index, extra, allowed);
        const changes = new Changes();
        index.onChange((change) => changes.add(change));
        event(index);
        const followed = new Set([...was.set.addresses, ...was.set.ownAddresses, ...extra]);
        if (isTouched(was.basis, (ip) => followed.has(ip), changes)) return;
        assert.deepEqual(given(targets, index, extra, allowed).set, was.set);
      }),
      { numRuns: 4000 },
    );
  });

  it('names every address that is another one’s after it', () => {
    fc.assert(
      fc.property(fc.array(event, { minLength: 10, maxLength: 40, size: 'max' }), event, (before, event) => {
        const index = new NamesIndex({ node: 'host1' });
        for (const happens of before) happens(index);
        const placesOf = (ip: string) => [
          index.placeOf(ip, new Set(['a'])),
          index.isNodeAddress(ip),
          index.isServiceAddress(ip),
          [...index.servicesBehind([ip])].sort().join(),
        ];
        const were = IPS.map(placesOf);
        const changes = new Changes();
        index.onChange((change) => changes.add(change));
        event(index);
        for (const [at, ip] of IPS.entries()) if (!changes.ips.has(ip)) assert.deepEqual(placesOf(ip), were[at], ip);
      }),
      { numRuns: 4000 },
    );
  });

  it('is nothing where an object is told again as it was', () => {
    const index = new NamesIndex({ node: 'host1' });
    const tell = () => {
      putPod(index, { name: 'p', ip: '10.0.0.1', labels: { app: 'x' } });
      putService(index, rawService('s', { clusterIP: '10.96.0.5', ports: [{ port: 80 }] }));
      putSlice(index, rawSlice('s-1', 's', [{ ip: '10.0.0.1', pod: 'p', node: 'host1' }]));
      putNode(index, rawNode('host1', '192.168.60.11'));
      index.setLocalAddresses(['192.168.60.11']);
    };
    tell();
    const changes: Change[] = [];
    index.onChange((change) => changes.push(change));
    tell();
    assert.deepEqual(changes, []);
  });

  it('names of a slice the endpoints alone that are others', () => {
    const index = new NamesIndex({ node: 'host1' });
    const many = Array.from({ length: 100 }, (_, n) => ({ ip: `10.1.0.${n}`, pod: `p${n}` }));
    putSlice(index, rawSlice('s-1', 's', many));
    const changes: Change[] = [];
    index.onChange((change) => changes.push(change));
    putSlice(index, rawSlice('s-1', 's', [...many.slice(1), { ip: '10.1.1.1', pod: 'new' }]));
    const unready = many.slice(1).map((one) => ({ ...one, ready: false }));
    putSlice(index, rawSlice('s-1', 's', [...unready, { ip: '10.1.1.1', pod: 'new' }]));
    putSlice(index, rawSlice('s-1', 't', [{ ip: '10.1.1.1', pod: 'new' }]));
    const told = changes.map((change) => change.kind === 'endpoints' && [change.services, [...change.ips].sort().slice(0, 3)]);
    assert.deepEqual(told, [
      [['default/s'], ['10.1.0.0', '10.1.1.1']],
      [['default/s'], []],
      [
        ['default/s', 'default/t'],
        ['10.1.0.1', '10.1.0.10', '10.1.0.11'],
      ],
    ]);
  });
});

test('more changes than are kept are a change of everything', () => {
  const changes = new Changes();
  for (let n = 0; n < 20_000; n++)
    changes.add({ kind: 'endpoints', services: [`a/s${n % 3}`], ips: [`10.0.${n >> 8}.${n & 255}`] });
  assert.deepEqual([changes.isEverything, changes.ips.size, changes.endpoints.size], [true, 0, 0]);
  changes.add({ kind: 'node', node: 'host1', ips: [] });
  assert.equal(changes.nodes.size, 0);
});
