import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PodTrouble } from '../../../src/event/incident.ts';
import { type PodFact, podFact } from '../../../src/kube/index/facts.ts';
import { PodTroubles } from '../../../src/kube/index/pod-troubles.ts';
import { rawPod } from '../build.ts';
import type { RawObject } from '../fixtures.ts';

const NOW_MS = Date.UTC(2026, 10, 22, 3, 12);
const [FIRST, SECOND] = ['2026-11-22T03:11:00Z', '2026-11-22T03:11:30Z'];
const RUNNING = { state: { running: {} } };

interface Status {
  containers?: RawObject[];
  init?: RawObject[];
  /** Since when the pod has not been ready. */
  notReady?: string;
  deleted?: boolean;
  phase?: string;
  hostNetwork?: boolean;
}

function container(restartCount: number, ...states: RawObject[]): RawObject {
  return Object.assign({ name: 'app', restartCount }, ...states);
}

function ended(exitCode: number, finishedAt = FIRST, reason = 'Error'): RawObject {
  return { state: { terminated: { exitCode, finishedAt, reason } } };
}

/** That it ended so is its last state; what it does now is another. */
function endedBefore(exitCode: number, finishedAt = FIRST, reason = 'Error'): RawObject {
  return { lastState: { terminated: { exitCode, finishedAt, reason } } };
}

function pod({ containers = [container(0, RUNNING)], init = [], notReady, deleted, phase, hostNetwork }: Status = {}): PodFact {
  const raw = rawPod({ name: 'web', ip: '10.244.1.2', ...(phase && { phase }), ...(hostNetwork && { hostNetwork }) }) as {
    metadata: RawObject;
    status: RawObject;
  };
  if (deleted) raw.metadata['deletionTimestamp'] = FIRST;
  Object.assign(raw.status, { containerStatuses: containers, initContainerStatuses: init });
  raw.status['conditions'] = [
    notReady === undefined ? { type: 'Ready', status: 'True' } : { type: 'Ready', status: 'False', lastTransitionTime: notReady },
  ];
  const fact = podFact(raw);
  assert.ok(fact);
  return fact;
}

/** What is told of a pod that is so, one state after the other; the first is that of the first list. */
function toldOf(...states: (Status | 'removed')[]): string[][] {
  const told: PodTrouble[] = [];
  const troubles = new PodTroubles(
    () => NOW_MS,
    (trouble) => told.push(trouble),
  );
  let last = pod();
  for (const [at, state] of states.entries()) {
    if (state !== 'removed') last = pod(state);
    if (state === 'removed') troubles.drop(last);
    else if (at === 0) troubles.replace([last]);
    else troubles.put(last);
  }
  for (const { pod: ref, atMs } of told)
    assert.deepEqual([ref.name, ref.namespace, ref.uid, atMs], ['web', 'default', 'uid-web', NOW_MS]);
  return told.map(({ causes }) => causes.map(({ kind, text }) => `${kind}: ${text}`));
}

describe('what goes wrong with a pod', () => {
  it('is a container that ends with an error, once, whatever is told of the pod afterwards', () => {
    assert.deepEqual(
      toldOf(
        {},
        { containers: [container(0, ended(1))] },
        { containers: [container(0, ended(1))], notReady: FIRST },
        { containers: [container(1, RUNNING, endedBefore(1))] },
        { containers: [container(1, RUNNING, endedBefore(1))] },
      ),
      [['exited: container app ended with exit code 1']],
    );
  });

  it('is told where its end alone was seen, or its restart alone, and again when it ends again', () => {
    assert.deepEqual(toldOf({}, { containers: [container(1, RUNNING, endedBefore(3))] }), [
      ['exited: container app ended with exit code 3'],
    ]);
    assert.deepEqual(
      toldOf({}, { containers: [container(0, ended(1))] }, { containers: [container(1, ended(2, SECOND), endedBefore(1))] }),
      [['exited: container app ended with exit code 1'], ['exited: container app ended with exit code 2']],
    );
  });

  it('is a container that was OOM-killed, and one that was restarted though it ended well', () => {
    assert.deepEqual(toldOf({}, { containers: [container(0, ended(137, FIRST, 'OOMKilled'))] }), [
      ['oom-killed: container app was OOM-killed'],
    ]);
    assert.deepEqual(
      toldOf(
        {},
        { containers: [container(0, ended(0, FIRST, 'Completed'))] },
        { containers: [container(1, RUNNING, endedBefore(0, FIRST, 'Completed'))] },
      ),
      [['restarted: container app was restarted after it had ended with exit code 0']],
    );
    assert.deepEqual(toldOf({}, { containers: [container(1, RUNNING)] }), [['restarted: container app was restarted']]);
  });

  it('is an init container that fails, and all containers that do are told together', () => {
    const init = { ...container(0, ended(9)), name: 'migrate' };
    assert.deepEqual(toldOf({}, { init: [init], containers: [container(0, ended(1))] }), [
      ['exited: container migrate ended with exit code 9', 'exited: container app ended with exit code 1'],
    ]);
  });

  it('is a pod that is not ready until it is removed, gently or at once', () => {
    const text = 'not-ready: not ready for 60 s, until it was removed';
    assert.deepEqual(toldOf({}, { notReady: FIRST }, { notReady: FIRST, deleted: true }, 'removed'), [[text]]);
    assert.deepEqual(toldOf({ notReady: FIRST }, 'removed'), [[text]]);
  });

  it('is not the removal of one that was ready, was ready again, was just begun, or had ended', () => {
    assert.deepEqual(toldOf({}, { deleted: true }, { deleted: true, notReady: FIRST }, 'removed'), []);
    assert.deepEqual(toldOf({}, { notReady: FIRST }, {}, { deleted: true }, 'removed'), []);
    assert.deepEqual(toldOf({}, { notReady: '2026-11-22T03:11:55Z' }, 'removed'), []);
    const done = { phase: 'Succeeded', notReady: FIRST, containers: [container(0, ended(0))] };
    assert.deepEqual(toldOf({}, done, 'removed'), []);
  });

  it('is not how the kubelet ends the containers of a pod that is removed, unless they fail otherwise', () => {
    for (const code of [0, 137, 143]) {
      assert.deepEqual(toldOf({}, { deleted: true }, { deleted: true, containers: [container(0, ended(code))] }, 'removed'), []);
    }
    assert.equal(toldOf({}, { deleted: true }, { deleted: true, containers: [container(0, ended(2))] }).length, 1);
    assert.equal(toldOf({}, { containers: [container(0, ended(137))] }).length, 1);
  });

  it('is nothing that the first list tells, and nothing of a pod on the node’s network', () => {
    const crashed = { containers: [container(4, RUNNING, endedBefore(1))] };
    assert.deepEqual(toldOf(crashed, crashed), []);
    assert.deepEqual(toldOf({ hostNetwork: true }, { hostNetwork: true, containers: [container(0, ended(1))] }), []);
  });

  it('is found in a later list as in a watch', () => {
    const told: PodTrouble[] = [];
    const troubles = new PodTroubles(
      () => NOW_MS,
      (trouble) => told.push(trouble),
    );
    troubles.replace([]);
    troubles.replace([pod({ containers: [container(0, ended(1))] })]);
    troubles.replace([pod({ notReady: FIRST })]);
    troubles.replace([]);
    assert.deepEqual(
      told.flatMap(({ causes }) => causes.map(({ kind }) => kind)),
      ['exited', 'not-ready'],
    );
  });
});
