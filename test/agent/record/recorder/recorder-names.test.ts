import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { OwnPod } from '../../../../src/agent/record/names/pod-names.ts';
import type { Recorder } from '../../../../src/agent/record/recorder.ts';
import { until } from '../../../support/until.ts';
import { startRecorder } from './recorder-fixture.ts';

/** More than one block holds: each line is over a kilobyte. */
const PODS: OwnPod[] = Array.from({ length: 600 }, (_, at) => ({
  pod: { namespace: 'default', name: `pod-${at}`, uid: `uid-${at}`, node: 'host1', labels: { note: `${at}-`.padEnd(1000, 'x') } },
  ips: [`10.244.${1 + (at >> 8)}.${at & 255}`],
}));

async function start(t: TestContext, ownPods: () => OwnPod[]): Promise<Recorder> {
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-names-'));
  const recorder = await startRecorder(t, { directory, budgetBytes: 64 * 1024 * 1024, ownPods });
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return recorder;
}

function owners(recorder: Recorder, count: number) {
  return until('all names are on disk', async () => {
    const { pods } = await recorder.recordedOwners.read((damage) => assert.fail(JSON.stringify(damage)));
    return pods.length >= count && pods;
  });
}

test('the names of a node with many pods are all recorded', async (t) => {
  const recorder = await start(t, () => PODS);
  const pods = await owners(recorder, PODS.length);
  assert.deepEqual(new Set(pods.map(({ pod }) => pod.uid)), new Set(PODS.map(({ pod }) => pod.uid)));
  // What a new segment of names begins with, as many blocks as it takes.
  assert.ok(recorder.opening('names').length > 1);
  assert.equal(recorder.counts.tooLong, 0);
});

test('a pod has its address from when it had it, not from when that was told, and until it ended', async (t) => {
  const own = (name: string, times: Partial<OwnPod>): OwnPod => ({
    ...{ pod: { namespace: 'default', name, uid: `uid-${name}`, node: 'host1' }, ips: [`10.244.1.${name.length}`] },
    ...times,
  });
  let pods: OwnPod[] = [];
  const recorder = await start(t, () => pods);
  const beganMs = Date.now();
  const endedMs = Math.floor(beganMs / 1000) * 1000;
  const short = own('short', { sinceMs: beganMs - 700, endedMs });
  pods = [own('running', { sinceMs: beganMs - 900 }), own('old', { sinceMs: 1000, endedMs: beganMs - 60_000 }), short];
  recorder.podsChanged();
  // What is told once more is not another interval.
  pods = [own('running', { endedMs }), short];
  recorder.podsChanged();
  recorder.podsChanged();
  const recorded = await owners(recorder, 2);
  assert.deepEqual(
    recorded.map(({ pod, fromMs }) => [pod.name, fromMs]),
    [
      ['running', beganMs - 900],
      ['short', beganMs - 700],
    ],
  );
  // Its end is told in whole seconds.
  const [running, ended] = recorded;
  assert.ok(ended !== undefined && ended.toMs >= beganMs - 700 && ended.toMs <= endedMs + 1000);
  assert.ok(running !== undefined && running.toMs >= beganMs && running.toMs <= Date.now());
});
