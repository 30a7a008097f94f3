import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sliceFact } from '../../../src/kube/index/facts.ts';
import { NamesIndex } from '../../../src/kube/index/names-index.ts';
import { rawSlice } from '../build.ts';

const SERVICE = { namespace: 'default', name: 'collector', port: 'otlp' };

function put(index: NamesIndex, name: string, ports: object[], ips: string[]): void {
  const raw = rawSlice(
    name,
    'collector',
    ips.map((ip) => ({ ip })),
  );
  const fact = sliceFact({ ...raw, ports });
  assert.ok(fact !== undefined);
  index.putSlice(fact);
}

test('a Service’s port is answered at the endpoints’ own port of that name, in each of its slices', () => {
  const index = new NamesIndex({ node: 'host1' });
  const health = { name: 'health', port: 13133, protocol: 'TCP' };
  put(index, 'one', [{ name: 'otlp', port: 14318, protocol: 'TCP' }, health], ['10.244.1.2', '10.244.2.2']);
  put(index, 'two', [{ name: 'otlp', port: 24318, protocol: 'TCP' }], ['10.244.3.2']);
  assert.deepEqual(
    [...index.endpointAddresses(SERVICE)],
    [
      { ip: '10.244.1.2', port: 14318 },
      { ip: '10.244.2.2', port: 14318 },
      { ip: '10.244.3.2', port: 24318 },
    ],
  );
  assert.deepEqual([...index.endpointAddresses({ ...SERVICE, name: 'none' })], []);
});
