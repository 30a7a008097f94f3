import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NamesIndex } from '../../../src/kube/index/names-index.ts';
import { putService, putSlice, rawService, rawSlice } from '../build.ts';

/** Counts what is asked of it. */
class CountedSet extends Set<string> {
  asked = 0;

  override has(ip: string): boolean {
    this.asked += 1;
    return super.has(ip);
  }
}

const ipOf = (n: number) => `10.244.${n >> 8}.${n & 255}`;

test('the Services behind an address are found without a look at all endpoints', () => {
  const index = new NamesIndex({ node: 'host1' });
  for (let n = 0; n < 100; n++) {
    putService(index, rawService(`s${n}`, { clusterIPs: [`10.96.0.${n}`], ports: [{ port: 80 }] }));
    const endpoints = Array.from({ length: 20 }, (_, at) => ({ ip: ipOf(n * 20 + at), pod: `p${n}-${at}` }));
    putSlice(index, rawSlice(`s${n}-1`, `s${n}`, endpoints));
  }
  const followed = new CountedSet([ipOf(45)]);
  assert.deepEqual([...index.servicesBehind(followed)], ['default/s2']);
  assert.equal(followed.asked, 0);
});

test('an endpoint belongs to a Service for as long as one of its slices has it', () => {
  const index = new NamesIndex({ node: 'host1' });
  const behind = (ip: string) => [...index.servicesBehind([ip])].map((key) => key.replace('default/', '')).sort();
  const [one, other] = ['10.244.0.1', '10.244.0.2'];
  for (const name of ['web', 'all']) putService(index, rawService(name, { clusterIPs: [], ports: [{ port: 80 }] }));
  putSlice(index, rawSlice('web-1', 'web', [{ ip: one }, { ip: one }, { ip: other }]));
  putSlice(index, rawSlice('web-2', 'web', [{ ip: one }]));
  putSlice(index, rawSlice('all-1', 'all', [{ ip: one }]));
  assert.deepEqual([behind(one), behind(other)], [['all', 'web'], ['web']]);
  putSlice(index, rawSlice('web-1', 'web', [{ ip: other }]));
  assert.deepEqual(behind(one), ['all', 'web']);
  index.dropSlice('default', 'web-2');
  assert.deepEqual(behind(one), ['all']);
  putSlice(index, rawSlice('all-1', 'web', [{ ip: one }]));
  assert.deepEqual(behind(one), ['web'], 'the slice is another Service’s now');
  index.replaceSlices([]);
  assert.deepEqual([behind(one), behind(other)], [[], []]);
});
