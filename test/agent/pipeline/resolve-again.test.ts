import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Scope } from '../../../src/access/scope.ts';
import type { Target } from '../../../src/event/target.ts';
import { NamesIndex } from '../../../src/kube/index/names-index.ts';
import { resolveTargets } from '../../../src/kube/targets.ts';
import { putNode, putPod, putService, putSlice, rawNode, rawService, rawSlice } from '../../kube/build.ts';
import { listener, openPipeline } from './pipeline-fixture.ts';

const [WEB, DB, FAR, STRANGER] = ['10.244.0.2', '10.244.0.3', '10.244.1.2', '10.9.0.9'];
const ALL = ['pod', 'namespace', 'service', 'node', 'all', 'addresses'];

function web(index: NamesIndex, more: Partial<Parameters<typeof putPod>[1]> = {}): void {
  putPod(index, { name: 'web-0', namespace: 'a', ip: WEB, labels: { app: 'web' }, ...more });
}

/** A node that is followed in all ways, and counts which subscriptions are resolved. */
function followed(t: TestContext) {
  const index = new NamesIndex({ node: 'host1' });
  putNode(index, rawNode('host1', '192.168.0.1'));
  putNode(index, rawNode('host2', '192.168.0.2'));
  index.setLocalAddresses(['192.168.0.1']);
  web(index);
  putPod(index, { name: 'db-0', namespace: 'b', ip: DB, labels: { app: 'db' } });
  putService(index, rawService('web', { clusterIP: '10.96.0.1', ports: [{ port: 80 }] }, 'a'));
  putSlice(index, rawSlice('web-1', 'web', [{ ip: WEB, pod: 'web-0', node: 'host1' }], 'a'));
  putService(index, rawService('far', { clusterIP: '10.96.0.2', ports: [{ port: 80 }] }, 'c'));
  putSlice(index, rawSlice('far-1', 'far', [{ ip: FAR, pod: 'far-0' }], 'c'));

  let resolved: string[] = [];
  let newborn: string[] = [];
  const { pipeline } = openPipeline(t, {
    naming: {
      resolve: (targets, extra, allowed) => {
        resolved.push(targets[0]?.kind ?? 'addresses');
        return resolveTargets(targets, index, extra, allowed);
      },
      placeOf: (ip, namespaces) => index.placeOf(ip, namespaces),
    },
    interfaces: { newPodAddresses: () => newborn },
  });
  const follow = (targets: Target[], addresses: string[] = [], allowed: Scope = 'all') =>
    pipeline.follow({ targets, addresses, units: 'flows' }, listener(), allowed);
  follow([{ kind: 'pod', namespace: 'a', name: 'web-0' }]);
  follow([{ kind: 'namespace', name: 'b' }]);
  follow([{ kind: 'service', namespace: 'c', name: 'far' }]);
  follow([{ kind: 'node', name: 'host2' }]);
  follow([{ kind: 'all' }]);
  follow([], [STRANGER], new Set(['a']));
  index.onChange((change) => pipeline.resolveAgain(change));

  /** Which subscriptions are resolved again for it. */
  const resolvedFor = (change: () => void) => {
    resolved = [];
    change();
    t.mock.timers.tick(1000);
    return resolved;
  };
  return {
    index,
    resolvedFor,
    found(ips: string[]) {
      newborn = ips;
      pipeline.resolveAgain({ kind: 'pod-addresses' });
    },
  };
}

test('what nobody’s targets were made from resolves none again', (t) => {
  const { index, resolvedFor, found } = followed(t);
  const none = (change: () => void, what: string) => assert.deepEqual(resolvedFor(change), [], what);
  none(() => web(index), 'a pod is told again as it was');
  none(() => putService(index, rawService('other', { clusterIP: '10.96.0.3', ports: [{ port: 80 }] }, 'd')), 'a Service');
  none(() => putSlice(index, rawSlice('other-1', 'other', [{ ip: '10.244.1.9', pod: 'o' }], 'd')), 'endpoints');
  const both = [
    { ip: WEB, pod: 'web-0', node: 'host1' },
    { ip: '10.244.1.3', pod: 'web-1' },
  ];
  none(() => putSlice(index, rawSlice('web-1', 'web', both, 'a')), 'another endpoint of a followed pod’s Service');
  none(() => putSlice(index, rawSlice('far-1', 'far', [{ ip: FAR, pod: 'far-0', ready: false }], 'c')), 'readiness');
  none(() => putNode(index, rawNode('host3', '192.168.0.3')), 'a node');
  none(() => index.setLocalAddresses(['192.168.0.1', 'fe80::1']), 'the address of another veth’s side');
  none(() => found([]), 'nothing was found in new pods');
});

test('a change resolves again what was made from it', (t) => {
  const { index, resolvedFor, found } = followed(t);
  assert.deepEqual(
    resolvedFor(() => web(index, { labels: { app: 'www' } })),
    ['pod', 'all'],
    'labels',
  );
  assert.deepEqual(
    resolvedFor(() => putPod(index, { name: 'db-1', namespace: 'b', ip: '10.244.0.4' })),
    ['namespace', 'all'],
    'a pod comes',
  );
  assert.deepEqual(
    resolvedFor(() => putService(index, rawService('web', { clusterIP: '10.96.0.1', ports: [{ port: 8080 }] }, 'a'))),
    ['pod', 'all'],
    'a port of a followed pod’s Service',
  );
  assert.deepEqual(
    resolvedFor(() => putSlice(index, rawSlice('far-1', 'far', [{ ip: '10.244.1.3', pod: 'far-1' }], 'c'))),
    ['service'],
    'an endpoint of a followed Service',
  );
  assert.deepEqual(
    resolvedFor(() => putNode(index, rawNode('host2', '192.168.0.22'))),
    ['node'],
    'a followed node',
  );
  assert.deepEqual(
    resolvedFor(() => putPod(index, { name: 'new', namespace: 'z', ip: STRANGER })),
    ['all', 'addresses'],
    'an address that somebody named is a pod’s now',
  );
  assert.deepEqual(
    resolvedFor(() => found(['10.244.0.9'])),
    ['all'],
    'an address inside a new pod',
  );
  assert.deepEqual(
    resolvedFor(() => index.replaceServices([])),
    ALL,
    'a list',
  );
});

test('an address that was refused is followed when it is another one’s', (t) => {
  const { index, resolvedFor } = followed(t);
  putPod(index, { name: 'theirs', namespace: 'z', ip: STRANGER });
  t.mock.timers.tick(1000);
  assert.deepEqual(
    resolvedFor(() => index.dropPod('uid-theirs')),
    ['all', 'addresses'],
  );
});

test('a burst of changes resolves once what they touch', (t) => {
  const { index, resolvedFor } = followed(t);
  const burst = () => {
    for (let n = 0; n < 100; n++) web(index, { labels: { app: `web${n}` } });
    for (let n = 0; n < 100; n++) putSlice(index, rawSlice(`s-${n}`, `s${n}`, [{ ip: `10.244.9.${n}` }], 'd'));
  };
  assert.deepEqual(resolvedFor(burst), ['pod', 'all']);
});
