import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NamesIndex } from '../../src/kube/index/names-index.ts';
import { resolveTargets } from '../../src/kube/targets.ts';
import { putNode, putPod, putService, putSlice, rawNode, rawService, rawSlice } from './build.ts';

const MINE = new Set(['mine']);
const [POD, FOREIGN_POD, CLUSTER_IP, FOREIGN_CLUSTER_IP, NODE, REMOTE] = [
  '10.244.1.2',
  '10.244.1.3',
  '10.96.0.10',
  '10.96.0.11',
  '192.168.0.1',
  '10.244.9.9',
];

function cluster() {
  const index = new NamesIndex({ node: 'host1' });
  const placeOf = (ip: string) => index.placeOf(ip, MINE);
  putNode(index, rawNode('host1', NODE));
  putPod(index, { name: 'web', namespace: 'mine', ip: POD });
  putPod(index, { name: 'db', namespace: 'theirs', ip: FOREIGN_POD });
  putService(index, rawService('web', { clusterIPs: [CLUSTER_IP], ports: [{ port: 80 }] }, 'mine'));
  putService(index, rawService('db', { clusterIPs: [FOREIGN_CLUSTER_IP], ports: [{ port: 5432 }] }, 'theirs'));
  return { index, placeOf };
}

describe('whose an address is for certain', () => {
  it('say pods of this node, ClusterIPs and nodes, as they are now', () => {
    const { index, placeOf } = cluster();
    index.setLocalAddresses(['10.244.1.1', CLUSTER_IP]);
    assert.deepEqual([POD, CLUSTER_IP].map(placeOf), ['inside', 'inside']);
    const others = [FOREIGN_POD, FOREIGN_CLUSTER_IP, NODE, '10.244.1.1'];
    assert.deepEqual(others.map(placeOf), ['outside', 'outside', 'outside', 'outside']);
    assert.equal(placeOf(REMOTE), 'unknown');
    index.dropPod('uid-db');
    index.dropService('theirs', 'db');
    assert.deepEqual([FOREIGN_POD, FOREIGN_CLUSTER_IP].map(placeOf), ['unknown', 'unknown']);
    putPod(index, { name: 'new', namespace: 'theirs', ip: REMOTE });
    assert.equal(placeOf(REMOTE), 'outside');
  });

  it('say no EndpointSlice and no external address: they neither hide one’s addresses nor make another’s one’s own', () => {
    const { index, placeOf } = cluster();
    const all = [POD, FOREIGN_POD, CLUSTER_IP, FOREIGN_CLUSTER_IP, NODE, REMOTE];
    const before = all.map(placeOf);
    for (const namespace of ['mine', 'theirs']) {
      const claimed = all.map((ip) => ({ ip, pod: 'claimed', node: 'host2' }));
      putSlice(index, rawSlice('s', 's', claimed, namespace));
      putService(index, rawService('s', { clusterIPs: [], externalIPs: all, ports: [{ port: 80 }] }, namespace));
    }
    assert.deepEqual(all.map(placeOf), before);
  });
});

it('a Service of another namespace is not brought along for its EndpointSlice alone', () => {
  const { index } = cluster();
  putSlice(index, rawSlice('web-1', 'web', [{ ip: POD, pod: 'web', node: 'host1' }], 'mine'));
  putSlice(index, rawSlice('db-1', 'db', [{ ip: POD, node: 'host1' }], 'theirs'));
  const target = { kind: 'pod', namespace: 'mine', name: 'web' } as const;
  const ips = (allowed: 'all' | ReadonlySet<string>) =>
    resolveTargets([target], index, [], allowed).serviceAddresses.map(({ ip }) => ip);
  assert.deepEqual(ips(MINE), [CLUSTER_IP]);
  assert.deepEqual(ips('all').sort(), [CLUSTER_IP, FOREIGN_CLUSTER_IP]);
});
