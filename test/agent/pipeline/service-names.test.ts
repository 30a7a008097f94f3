import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ServiceNames } from '../../../src/agent/record/names/service-names.ts';
import { NamesIndex } from '../../../src/kube/index/names-index.ts';
import type { ServiceLine } from '../../../src/store/services.ts';
import { putService, putSlice, rawService, rawSlice } from '../../kube/build.ts';

const PORT = { name: 'http', port: 80, protocol: 'TCP' };
const SPEC = { type: 'NodePort', clusterIPs: ['10.96.0.1'], ports: [{ ...PORT, nodePort: 30080 }] };

function made(most = 100): { index: NamesIndex; names: ServiceNames } {
  const index = new NamesIndex({ node: 'host1' });
  const names = new ServiceNames({ node: 'host1', run: 'r', services: () => index.servicesWithSlices(), most });
  index.onChange(() => names.changed());
  return { index, names };
}

/** A line in few words: what, from, to. */
function told(lines: Iterable<ServiceLine>): string[] {
  return [...lines].map((line) => {
    const during = 'fromMs' in line ? `${line.fromMs}-${line.toMs ?? ''}` : '';
    if ('service' in line) return `${line.service.name} ${line.service.ips.join()} ${during}`;
    if (!('of' in line)) return 'run';
    const ends = line.endpoints.map(
      ({ ip, pod, ready }) => `${ip}${pod === undefined ? '' : `=${pod.name}`}${ready === false ? '!' : ''}`,
    );
    return `${line.of}: ${ends.join(' ')} ${during}`;
  });
}

suite('the Services that a node’s recorder takes down', () => {
  test('have type, uid, addresses and ports', () => {
    const { index, names } = made();
    putService(index, { ...rawService('web', SPEC), metadata: { name: 'web', namespace: 'shop', uid: 'u1' } });
    const ports = [{ name: 'http', proto: 'tcp', port: 80, nodePort: 30080 }];
    const service = { namespace: 'shop', name: 'web', uid: 'u1', type: 'NodePort', ips: ['10.96.0.1'], ports };
    assert.deepEqual(names.take(5), [{ service, fromMs: 5, run: 'r' }]);
  });

  test('are written when they change, and then what changed alone', () => {
    const { index, names } = made();
    putService(index, rawService('web', SPEC));
    putSlice(
      index,
      rawSlice('web-1', 'web', [
        { ip: '10.0.0.1', pod: 'a', node: 'host1' },
        { ip: '10.0.0.2', pod: 'b' },
      ]),
    );
    assert.deepEqual(told(names.take(1)), ['web 10.96.0.1 1-', 'default/web: 10.0.0.1=a 10.0.0.2=b 1-']);
    assert.deepEqual(names.take(2), []);
    names.changed();
    assert.deepEqual(names.take(3), []);
    putSlice(
      index,
      rawSlice('web-1', 'web', [
        { ip: '10.0.0.1', pod: 'a', node: 'host1' },
        { ip: '10.0.0.3', pod: 'c' },
      ]),
    );
    assert.deepEqual(told(names.take(4)), ['default/web: 10.0.0.2=b 1-4', 'default/web: 10.0.0.3=c 4-']);
    putService(index, rawService('web', { ...SPEC, clusterIPs: ['10.96.0.9'] }));
    assert.deepEqual(told(names.take(5)), ['web 10.96.0.1 1-5', 'web 10.96.0.9 5-']);
    assert.deepEqual(told(names.all()), ['web 10.96.0.9 5-', 'default/web: 10.0.0.1=a 1-', 'default/web: 10.0.0.3=c 4-']);
    index.dropService('default', 'web');
    assert.deepEqual(told(names.take(6)), ['web 10.96.0.9 5-6', 'default/web: 10.0.0.1=a 1-6', 'default/web: 10.0.0.3=c 4-6']);
    assert.deepEqual([...names.all()], []);
  });

  test('have an endpoint that is not ready as such, and a pod of this node that takes another’s address as another', () => {
    const { index, names } = made();
    putService(index, rawService('web', SPEC));
    const slice = (pod: string, ready?: boolean) =>
      putSlice(
        index,
        rawSlice('web-1', 'web', [{ ip: '10.0.0.1', pod, node: 'host1', ...(ready === undefined ? {} : { ready }) }]),
      );
    slice('a', false);
    assert.deepEqual(told(names.take(1)).slice(1), ['default/web: 10.0.0.1=a! 1-']);
    slice('a', true);
    assert.deepEqual(told(names.take(2)), ['default/web: 10.0.0.1=a! 1-2', 'default/web: 10.0.0.1=a 2-']);
    slice('b');
    assert.deepEqual(told(names.take(3)), ['default/web: 10.0.0.1=a 2-3', 'default/web: 10.0.0.1=b 3-']);
  });

  test('have endpoints where one is on this node or on none, or a record names them, and keep them from then on', () => {
    const { index, names } = made();
    for (const name of ['far', 'near', 'outside']) putService(index, rawService(name, SPEC));
    putSlice(index, rawSlice('far-1', 'far', [{ ip: '10.0.0.2', pod: 'b' }]));
    putSlice(index, rawSlice('near-1', 'near', [{ ip: '10.0.0.1', pod: 'a', node: 'host1' }]));
    const raw = rawSlice('outside-1', 'outside', [{ ip: '192.0.2.1' }]);
    putSlice(index, { ...raw, endpoints: [{ addresses: ['192.0.2.1'] }] });
    assert.deepEqual(
      told(names.take(1)).filter((line) => line.includes(':')),
      ['default/near: 10.0.0.1=a 1-', 'default/outside: 192.0.2.1 1-'],
    );
    names.use('default/far');
    assert.deepEqual(told(names.take(2)), ['default/far: 10.0.0.2=b 2-']);
    putSlice(index, rawSlice('near-1', 'near', [{ ip: '10.0.0.3', pod: 'c' }]));
    assert.deepEqual(told(names.take(3)), ['default/near: 10.0.0.1=a 1-3', 'default/near: 10.0.0.3=c 3-']);
  });

  test('of which there are too many are left out and counted, and taken when there is room', () => {
    const { index, names } = made(2);
    for (const name of ['a', 'b', 'c']) putService(index, rawService(name, SPEC));
    const many = [1, 2, 3].map((at) => ({ ip: `10.0.0.${at}`, pod: `p${at}`, node: 'host1' }));
    putSlice(index, rawSlice('a-1', 'a', many));
    assert.deepEqual(told(names.take(1)), ['a 10.96.0.1 1-', 'default/a: 10.0.0.1=p1 10.0.0.2=p2 1-', 'b 10.96.0.1 1-']);
    assert.equal(names.leftOut, 2);
    index.dropService('default', 'b');
    putSlice(index, rawSlice('a-1', 'a', many.slice(1)));
    assert.deepEqual(told(names.take(2)), ['default/a: 10.0.0.1=p1 1-2', 'default/a: 10.0.0.3=p3 2-', 'b 10.96.0.1 1-2']);
    names.changed();
    assert.deepEqual(told(names.take(3)), ['c 10.96.0.1 3-']);
    assert.equal(names.leftOut, 0);
  });
});
