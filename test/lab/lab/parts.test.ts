import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fieldSelector, labelSelector } from '../../../src/lab/api/objects/selectors.ts';
import { withRootLock } from '../../../src/lab/machine/lock.ts';
import { identify, isRunning, signal } from '../../../src/lab/machine/proc.ts';
import { labDirectory } from '../../../src/lab/machine/state.ts';
import type { ApiObject } from '../../../src/lab/plan/types.ts';
import { answer } from '../../../src/lab/workload/dns-message.ts';
import { fc } from '../../support/fast-check.ts';

const POD: ApiObject = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'default', name: 'a', labels: { app: 'redis', role: 'slave', 'k8s.io/x': '' } },
  spec: { nodeName: 'host1' },
};

test('label selectors of every form match as Kubernetes matches them', () => {
  const matching = [
    '',
    'app=redis',
    'app==redis',
    'role!=master',
    'app,role',
    '!tier',
    'app in (redis,x)',
    'tier notin (a)',
    'k8s.io/x=',
  ];
  const failing = ['app=x', 'role!=slave', '!app', 'app in (x)', 'app notin (redis)', 'tier', 'app=redis,role=master'];
  for (const text of matching) assert.ok(labelSelector(text)(POD), text);
  for (const text of failing) assert.ok(!labelSelector(text)(POD), text);
  for (const text of ['a in b', '=x', 'a=b=c', 'a b']) assert.throws(() => labelSelector(text), { status: 400 }, text);
});

test('field selectors know names, nodes and phases and refuse the rest', () => {
  assert.ok(fieldSelector('spec.nodeName=host1,metadata.name!=b', 'pods')(POD));
  assert.ok(!fieldSelector('metadata.name=b', 'pods')(POD));
  assert.throws(() => fieldSelector('spec.colour=red', 'pods'), { status: 400 });
  assert.throws(() => fieldSelector('spec.nodeName=host1', 'configmaps'), { status: 400 });
});

test('the DNS answers addresses of the asked family, and NXDOMAIN for names it does not know', () => {
  const zone = { 'redis.default.svc.cluster.local': ['10.96.0.63', 'fd00:10:96::3f'] };
  const a = answer(query('Redis.default.svc.cluster.local', 1), zone);
  assert.equal(a?.readUInt16BE(6), 1);
  assert.deepEqual([...(a?.subarray(-4) ?? [])], [10, 96, 0, 63]);
  const aaaa = answer(query('redis.default.svc.cluster.local', 28), zone);
  assert.equal(aaaa?.subarray(-16).toString('hex'), 'fd00001000960000000000000000003f');
  const none = answer(query('x.default.svc.cluster.local', 1), zone);
  assert.equal((none?.readUInt16BE(2) ?? 0) & 0xf, 3);
});

test('the DNS survives whatever is sent to it', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const reply = answer(Buffer.from(bytes), {});
      assert.ok(reply === undefined || reply.length >= 12);
    }),
  );
});

test('a process is known by its start time too: a number used again is another process', () => {
  const self = identify(process.pid);
  assert.ok(self !== undefined && isRunning(self));
  const other = { pid: process.pid, startTime: '1' };
  assert.ok(!isRunning(other));
  // Were it sent, this test would not go on.
  signal(other, 'SIGKILL');
});

test('names that could leave the labs’ directory or be mistaken for another’s are refused', () => {
  for (const name of ['', 'A', 'a-b', '../x', '1a', 'a'.repeat(21)]) {
    assert.throws(() => labDirectory(name, '/run/x'), { code: 'KTRACE_E_ARGUMENT' }, name);
  }
});

test('two starts never work on the same root at once', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'ktrace-lab-lock-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  let inside = 0;
  let most = 0;
  let done = 0;
  const work = () =>
    withRootLock(root, async () => {
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setImmediate(resolve));
      inside--;
      done++;
    });
  await Promise.all([work(), work(), work()]);
  assert.deepEqual([most, done], [1, 3]);
});

function query(name: string, type: number): Buffer {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  const header = Buffer.from('123401000001000000000000', 'hex');
  return Buffer.concat([header, ...labels, Buffer.from([0, type >> 8, type & 0xff, 0, 1])]);
}
