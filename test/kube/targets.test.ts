import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Target } from '../../src/event/target.ts';
import { NamesIndex } from '../../src/kube/index/names-index.ts';
import { resolveTargets } from '../../src/kube/targets.ts';
import { capturedIndex, putNode, putPod, putService, putSlice, rawNode, rawService, rawSlice } from './build.ts';

const index = capturedIndex('iptables', 'host1');

function podsOf(...targets: Target[]): string[] {
  return resolveTargets(targets, index)
    .pods.map((pod) => pod.name.replace(/-[a-z0-9]{5}$/, ''))
    .sort();
}

describe('targets on a node of the real cluster', () => {
  it('are its pods by workload, label, namespace, node or all', () => {
    assert.deepEqual(podsOf({ kind: 'deployment', namespace: 'default', name: 'frontend' }), ['frontend-9fb79bd4b']);
    assert.deepEqual(podsOf({ kind: 'daemonset', namespace: 'shop', name: 'on-host' }), ['on-host']);
    assert.deepEqual(podsOf({ kind: 'job', namespace: 'shop', name: 'nightly-29922850' }), ['nightly-29922850']);
    assert.deepEqual(podsOf({ kind: 'cronjob', namespace: 'shop', name: 'nightly' }), ['nightly-29922850']);
    assert.deepEqual(podsOf({ kind: 'replicaset', namespace: 'default', name: 'frontend-9fb79bd4b' }), ['frontend-9fb79bd4b']);
    for (const name of ['frontend', 'frontend-9fb79bd4', '-9fb79bd4b'])
      assert.deepEqual(podsOf({ kind: 'replicaset', namespace: 'default', name }), [], name);
    assert.deepEqual(podsOf({ kind: 'selector', selector: 'app=redis' }), ['redis-slave-6cb65547f']);
    assert.deepEqual(podsOf({ kind: 'selector', namespace: 'shop', selector: 'app=redis' }), []);
    assert.deepEqual(podsOf({ kind: 'namespace', name: 'kube-system' }), ['coredns-6c4cf68df9']);
    assert.deepEqual(podsOf({ kind: 'pod', namespace: 'default', name: 'frontend-9fb79bd4b-mfzvn' }), ['frontend-9fb79bd4b']);
    assert.equal(podsOf({ kind: 'node', name: 'host1' }).length, 5);
    assert.equal(podsOf({ kind: 'all' }).length, 5);
    assert.equal(podsOf({ kind: 'all' }, { kind: 'namespace', name: 'shop' }).length, 5);
  });

  it('are addresses: of pods, but never the node’s for a pod on its network', () => {
    const onHost = resolveTargets([{ kind: 'daemonset', namespace: 'shop', name: 'on-host' }], index);
    assert.deepEqual([onHost.pods[0]?.ips, onHost.addresses, onHost.serviceAddresses], [[], [], []]);
    assert.equal(onHost.pods[0]?.hostNetwork, true);
    const frontend = resolveTargets([{ kind: 'deployment', namespace: 'default', name: 'frontend' }], index);
    assert.deepEqual(frontend.addresses, ['10.244.0.2']);
    assert.equal(frontend.pods[0]?.hostNetwork, undefined);
  });

  it('bring the Services’ addresses along by which their pods are reached, node ports on every node', () => {
    const { serviceAddresses } = resolveTargets([{ kind: 'deployment', namespace: 'default', name: 'frontend' }], index);
    const text = serviceAddresses.map((one) => `${one.ip}:${one.port}/${one.proto}`);
    assert.ok(text.includes('10.108.228.232:80/tcp'));
    for (const ip of ['192.168.60.11', '192.168.60.12', '192.168.60.13', '10.244.0.1'])
      assert.ok(text.includes(`${ip}:31817/tcp`), ip);
  });

  it('bring them along for addresses that other nodes resolved, too', () => {
    const { serviceAddresses, addresses } = resolveTargets([], index, ['10.244.1.2']);
    assert.deepEqual(serviceAddresses, [{ ip: '10.98.9.147', port: 6379, proto: 'tcp' }]);
    assert.deepEqual(addresses, []);
  });

  it('are a Service’s addresses and all its endpoints’, on any node', () => {
    const { addresses, serviceAddresses } = resolveTargets(
      [{ kind: 'service', namespace: 'default', name: 'redis-slave' }],
      index,
    );
    assert.deepEqual(addresses.sort(), ['10.101.225.229', '10.244.0.3', '10.244.2.2']);
    assert.deepEqual(serviceAddresses, [{ ip: '10.101.225.229', port: 6379, proto: 'tcp' }]);
    const hosts = resolveTargets([{ kind: 'service', namespace: 'shop', name: 'hosts' }], index);
    assert.deepEqual(hosts.addresses, ['10.101.169.25']);
    const headless = resolveTargets([{ kind: 'service', namespace: 'shop', name: 'headless' }], index);
    assert.deepEqual(headless.addresses.sort(), ['10.244.1.4', '10.244.2.4']);
  });

  it('are a node’s addresses; what other nodes may have as well counts on the node itself only', () => {
    const node = new NamesIndex({ node: 'host1' });
    putNode(node, rawNode('host1', '192.168.60.11', '10.244.0.0/24'));
    putNode(node, rawNode('host2', '192.168.60.12'));
    putService(node, rawService('s', { clusterIP: '10.96.0.5', ports: [{ port: 80 }] }));
    const everyHostHas = ['127.0.0.1', '::1', 'fe80::ecee:eeff:feee:eeee', '169.254.1.1'];
    // A docker bridge's and a second network's; a Service's on kube-ipvs0; the pod bridge's.
    const others = ['172.17.0.1', '10.1.0.5', '10.96.0.5', '192.168.60.11', '10.244.0.1'];
    node.setLocalAddresses([...everyHostHas, ...others]);
    const here = resolveTargets([{ kind: 'node', name: 'host1' }], node);
    assert.deepEqual(here.addresses.sort(), ['10.244.0.1', '192.168.60.11']);
    assert.deepEqual(here.ownAddresses.sort(), ['10.1.0.5', '172.17.0.1']);
    assert.deepEqual(resolveTargets([{ kind: 'node', name: 'host2' }], node).ownAddresses, []);
  });

  it('are a Service’s cluster IPs whatever interface has them, but no node’s address', () => {
    const ipvs = new NamesIndex({ node: 'host1' });
    putNode(ipvs, rawNode('host1', '192.168.60.11'));
    ipvs.setLocalAddresses(['192.168.60.11', '10.96.0.5', '10.96.0.6']);
    putService(ipvs, rawService('s', { clusterIP: '10.96.0.5', externalIPs: ['192.168.60.11'], ports: [{ port: 80 }] }));
    putService(ipvs, rawService('t', { clusterIP: '10.96.0.6', ports: [{ port: 80 }] }));
    const { addresses } = resolveTargets([{ kind: 'service', namespace: 'default', name: 's' }], ipvs);
    assert.deepEqual(addresses, ['10.96.0.5']);
  });

  it('are no pod’s address that a node’s annotations say it has, and all that is a node’s by more', () => {
    const calico = new NamesIndex({ node: 'host1' });
    const tunnel = (ip: string) => ({ 'projectcalico.org/IPv4VXLANTunnelAddr': ip });
    putNode(calico, rawNode('host2', '192.168.60.12', undefined, undefined, tunnel('10.5.0.1')));
    putNode(calico, rawNode('evil', '192.168.60.66', undefined, undefined, tunnel('10.0.2.1')));
    putNode(calico, rawNode('worse', '192.168.60.67', undefined, undefined, tunnel('192.168.60.12')));
    putSlice(calico, rawSlice('s-1', 's', [{ ip: '10.0.2.1', pod: 'far', node: 'host2' }]));
    const of = (name: string) => resolveTargets([{ kind: 'node', name }], calico).addresses.sort();
    assert.deepEqual(of('evil'), ['192.168.60.66']);
    assert.deepEqual(of('worse'), ['192.168.60.67']);
    assert.deepEqual(of('host2'), ['10.5.0.1', '192.168.60.12']);
  });

  it('are no address that two nodes are told to have, but on the node itself', () => {
    const node = new NamesIndex({ node: 'host1' });
    putNode(node, rawNode('host1', '192.168.60.11', undefined, '203.0.113.7'));
    putNode(node, rawNode('host2', '192.168.60.12', undefined, '203.0.113.7'));
    const here = resolveTargets([{ kind: 'node', name: 'host1' }], node);
    assert.deepEqual([here.addresses, here.ownAddresses], [['192.168.60.11'], ['203.0.113.7']]);
    const there = resolveTargets([{ kind: 'node', name: 'host2' }], node);
    assert.deepEqual([there.addresses, there.ownAddresses], [['192.168.60.12'], []]);
  });

  it('are a node’s addresses, and only on that node its pods', () => {
    const far = resolveTargets([{ kind: 'node', name: 'host3' }], index);
    assert.deepEqual([far.addresses.sort(), far.pods], [['10.244.2.0', '10.244.2.1', '192.168.60.13'], []]);
    assert.ok(resolveTargets([{ kind: 'node', name: 'host1' }], index).addresses.includes('10.244.0.2'));
  });

  it('that stand for nothing here are said', () => {
    const missing: Target[] = [
      { kind: 'pod', namespace: 'default', name: 'nobody' },
      { kind: 'service', namespace: 'default', name: 'nobody' },
      { kind: 'node', name: 'host9' },
      { kind: 'namespace', name: 'nowhere' },
    ];
    const known: Target = { kind: 'namespace', name: 'default' };
    const twice: Target = { kind: 'deployment', namespace: 'default', name: 'frontend' };
    assert.deepEqual(resolveTargets([known, ...missing, twice], index).unresolved, [1, 2, 3, 4]);
  });
});

describe('targets that change', () => {
  it('are told anew after a pod moved, and the change is announced', () => {
    const moving = new NamesIndex({ node: 'host1' });
    const changes: string[] = [];
    const stop = moving.onChange(({ kind }) => changes.push(kind));
    putNode(moving, rawNode('host1', '192.168.60.11'));
    putService(moving, rawService('s', { clusterIP: '10.96.0.5', ports: [{ port: 80 }] }));
    putPod(moving, { name: 'a', ip: '10.0.0.1', labels: { app: 'x' } });
    putSlice(moving, rawSlice('s-1', 's', [{ ip: '10.0.0.1', pod: 'a', node: 'host1' }]));
    const resolve = () => resolveTargets([{ kind: 'selector', selector: 'app=x' }], moving);
    assert.deepEqual(resolve().serviceAddresses, [{ ip: '10.96.0.5', port: 80, proto: 'tcp' }]);
    moving.dropPod('uid-a');
    const { basis: _, ...nothing } = resolve();
    assert.deepEqual(nothing, {
      pods: [],
      addresses: [],
      ownAddresses: [],
      serviceAddresses: [],
      unresolved: [0],
    });
    assert.deepEqual(changes, ['node', 'service', 'pod', 'endpoints', 'pod']);
    stop();
    putPod(moving, { name: 'b', ip: '10.0.0.1' });
    assert.equal(changes.length, 5);
  });

  it('do not tell every node port of every node of a large cluster', () => {
    const large = new NamesIndex({ node: 'host1' });
    large.replaceNodes(
      Array.from({ length: 5000 }, (_, i) => ({
        name: `host${i}`,
        ips: [`192.168.${i >> 8}.${i & 255}`],
        networkIps: [],
        annotatedIps: [],
        podCidrs: [],
      })),
    );
    const ports = Array.from({ length: 50 }, (_, i) => ({ name: `p${i}`, port: 80 + i, nodePort: 30000 + i }));
    putService(large, rawService('s', { type: 'NodePort', clusterIP: '10.96.0.5', ports }));
    putSlice(large, rawSlice('s-1', 's', [{ ip: '10.0.0.1', node: 'host2' }]));
    const { serviceAddresses } = resolveTargets([], large, ['10.0.0.1']);
    assert.ok(serviceAddresses.length <= 16_384 + 50);
    assert.ok(serviceAddresses.some((one) => one.ip === '192.168.0.1' && one.port === 30049));
  });
});
