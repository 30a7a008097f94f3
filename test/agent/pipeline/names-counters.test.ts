import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { namesCounters } from '../../../src/agent/pipeline/names-counters.ts';
import { type Kube, startKube } from '../../../src/kube/start.ts';
import { type FakeApi, fakeApi } from '../../kube/api/fake-api.ts';
import { rawNode, rawPod, rawService, rawSlice } from '../../kube/build.ts';
import { until } from '../../support/until.ts';

let api: FakeApi;
let kube: Kube;

beforeEach(async () => {
  api = await fakeApi();
  api.put('pods', rawPod({ name: 'a', ip: '10.0.0.1' }));
  for (let i = 0; i < 5; i += 1) api.put('services', rawService(`s${i}`, { clusterIP: `10.96.1.${i}`, ports: [{ port: 80 }] }));
  api.put('endpointslices', rawSlice('s-1', 's0', [{ ip: '10.0.2.1', pod: 'far' }]));
  api.put('nodes', rawNode('host1', '192.168.60.11'));
  kube = startKube({ kubeConfig: api.access, node: 'host1', reflector: { pageSize: 2 }, proxyMode: 'iptables' });
  await kube.synced();
  await until('all four kinds are watched', () => api.watchers() === 4);
});

afterEach(async () => {
  kube.close();
  await api.stop();
});

test('the metrics tell what was asked of the API server, by kind and verb', () => {
  assert.equal(value('ktrace_api_requests_total', { kind: 'services', verb: 'list' }), 3);
  assert.equal(value('ktrace_api_requests_total', { kind: 'pods', verb: 'list' }), 1);
  for (const kind of ['pods', 'services', 'endpointslices', 'nodes'])
    assert.equal(value('ktrace_api_requests_total', { kind, verb: 'watch' }), 1);
});

test('the metrics tell what is held, and what came by watches', async () => {
  assert.deepEqual(
    ['pods', 'services', 'endpoints', 'nodes', 'ended'].map((kind) => value('ktrace_names', { kind })),
    [2, 5, 1, 1, 0],
  );
  api.remove('services', 's4');
  await until('four Services are counted', () => value('ktrace_names', { kind: 'services' }) === 4);
  assert.equal(value('ktrace_api_events_total', { kind: 'services' }), 1);
  assert.equal(value('ktrace_api_events_total', { kind: 'nodes' }), 0);
});

test('the metrics tell when names are not up to date', async () => {
  assert.equal(value('ktrace_api_stale', {}), 0);
  await api.stop();
  await until('the names are told to be stale', () => value('ktrace_api_stale', {}) === 1);
  assert.ok((value('ktrace_api_failures_total', { kind: 'pods' }) ?? 0) > 0);
});

function value(name: string, labels: Record<string, string>): number | undefined {
  const { values } = namesCounters(kube).find((one) => one.name === name) ?? { values: [] };
  return values.find((one) => JSON.stringify(one.labels) === JSON.stringify(labels))?.value;
}
