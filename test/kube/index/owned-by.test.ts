import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WorkloadKind } from '../../../src/event/target.ts';
import type { PodRef } from '../../../src/event/types.ts';
import { isOwnedBy } from '../../../src/kube/owned-by.ts';

const HASH = { 'pod-template-hash': '5d9c' };

function owned(
  kind: WorkloadKind,
  name: string,
  owner: string | undefined,
  labels?: PodRef['labels'],
  namespace = 'shop',
): boolean {
  const pod = { namespace, ...(owner === undefined ? {} : { owner }), ...(labels === undefined ? {} : { labels }) };
  return isOwnedBy({ kind, namespace: 'shop', name }, pod);
}

test('a pod is its controller’s, and that controller’s Deployment’s or CronJob’s', () => {
  const cases: [WorkloadKind, string, string | undefined, PodRef['labels']?][] = [
    ['deployment', 'web', 'Deployment/web', HASH],
    ['replicaset', 'web-5d9c', 'Deployment/web', HASH],
    ['replicaset', 'bare', 'ReplicaSet/bare'],
    ['statefulset', 'db', 'StatefulSet/db'],
    ['daemonset', 'log', 'DaemonSet/log'],
    ['job', 'nightly-29922850', 'Job/nightly-29922850'],
    ['cronjob', 'nightly', 'Job/nightly-29922850'],
  ];
  for (const [kind, name, owner, labels] of cases) {
    assert.equal(owned(kind, name, owner, labels), true, `${kind}/${name}`);
    assert.equal(owned(kind, name, owner, labels, 'other'), false, 'a namespace of the same names');
    assert.equal(owned(kind, name, undefined, labels), false, 'a bare pod');
    for (const [other] of cases.filter(([another]) => another !== kind)) {
      assert.equal(owned(other, name, owner, labels), false, `${other}/${name} of ${owner}`);
    }
  }
});

test('names that only begin alike are others', () => {
  const cases: [WorkloadKind, string, string, PodRef['labels']?][] = [
    ['replicaset', 'web', 'Deployment/web', HASH],
    ['replicaset', 'web-5d9d', 'Deployment/web', HASH],
    ['replicaset', 'web-undefined', 'Deployment/web', {}],
    ['replicaset', 'web-undefined', 'Deployment/web'],
    ['cronjob', 'night', 'Job/nightly-29922850'],
    ['cronjob', 'nightly', 'Job/nightly-by-hand'],
    ['cronjob', 'nightly', 'Job/nightly-29922850-again'],
    ['cronjob', 'nightly', 'Job/nightly-1'],
    ['cronjob', 'nightly', 'Job/nightly'],
    ['job', 'nightly', 'Job/nightly-29922850'],
  ];
  for (const [kind, name, owner, labels] of cases)
    assert.equal(owned(kind, name, owner, labels), false, `${kind}/${name} of ${owner}`);
});
