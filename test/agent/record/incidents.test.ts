import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { Recorder } from '../../../src/agent/record/recorder.ts';
import { answerRecorded, Dump } from '../../../src/agent/serve/dump/dump.ts';
import type { Incident, PodTrouble } from '../../../src/event/incident.ts';
import type { KtraceEvent, LostEvent, PacketEvent, PodRef } from '../../../src/event/types.ts';
import type { AgentMessage } from '../../../src/protocol/messages.ts';
import { hop, packet } from '../../client/events.ts';
import { until, untilHolds } from '../../support/until.ts';
import { startRecorder } from './recorder/recorder-fixture.ts';

const ALL = { accounts: ['admin'], allowed: 'all' } as const;
/** Small: what many pods do soon pushes out what was. */
const BUDGET_BYTES = 4 * 1024 * 1024;

function podOf(name: string, namespace = 'default'): PodRef {
  return { namespace, name, uid: `uid-${name}`, node: 'host1', labels: {} };
}

function trouble(pod: PodRef): PodTrouble {
  return {
    pod,
    atMs: Date.now(),
    causes: [{ kind: 'exited', container: 'app', exitCode: 1, text: 'container app ended with exit code 1' }],
  };
}

interface Recording {
  folder: string;
  recorder: Recorder;
  /** Records so many packets of a pod. */
  record(pod: PodRef, count: number): void;
}

async function start(
  t: TestContext,
  { folder, afterMs = 0, ageMs = 3_600_000 }: { folder?: string; afterMs?: number; ageMs?: number } = {},
): Promise<Recording> {
  const own = folder ?? mkdtempSync(join(tmpdir(), 'ktrace-incidents-'));
  const recorder = await startRecorder(t, {
    ...{ directory: own, budgetBytes: BUDGET_BYTES, incidents: { afterMs } },
    config: { directory: own, budgetBytes: BUDGET_BYTES, ageMs },
  });
  t.after(() => rmSync(own, { recursive: true, force: true }));
  let serial = 0;
  return {
    folder: own,
    recorder,
    record(pod, count) {
      for (let at = 0; at < count; at++) {
        const event = packet({
          id: `${pod.name}-${serial++}`,
          time: new Date().toISOString(),
          src: { ip: '10.244.1.2', pod },
          dst: { ip: '10.244.3.2' },
          hops: [hop('host1', 'veth1', 'in', 0)],
        });
        // With bytes that do not compress.
        recorder.event(event, [randomBytes(300)]);
      }
    },
  };
}

function whole({ incidents }: Recorder, isWhole = true): Promise<Incident> {
  return until('the incident is kept', () => incidents.list().find((one) => one.isWhole === isWhole));
}

async function written(recorder: Recorder, count: number): Promise<void> {
  recorder.flush();
  const of = () => recorder.stores.share.counts.writtenRecords + recorder.stores.excess.counts.writtenRecords;
  await until(`${count} records are on disk`, () => of() >= count);
}

/** A dump of all pods from the beginning, or of an incident. */
async function dump(
  recorder: Recorder,
  incident?: string,
  access: Parameters<typeof answerRecorded>[2] = ALL,
): Promise<KtraceEvent[]> {
  const events: KtraceEvent[] = [];
  const done = Promise.withResolvers<void>();
  const send = (message: AgentMessage): void => {
    if (message.type === 'records') events.push(...message.events);
    if (message.type === 'dumped') done.resolve();
  };
  const request = { targets: [{ kind: 'all' } as const], owners: [], sinceMs: 0, untilMs: 8e15 };
  new Dump({
    recorder,
    request: { ...request, ...(incident === undefined ? {} : { incident }) },
    access,
    vxlanPort: () => undefined,
    send,
    roomToSend: () => Promise.resolve(),
    nowMs: () => performance.now(),
    stallMs: 60_000,
    stalled: () => undefined,
    failed: (error) => done.reject(error),
  }).credit(1_000_000);
  await done.promise;
  return events;
}

const namesIn = (events: readonly KtraceEvent[]): Set<string | undefined> =>
  new Set(events.flatMap((event) => (event.kind === 'packet' ? [event.src.pod?.name] : [])));

describe('an incident', () => {
  const dead = podOf('dead');

  it('keeps the pod’s records when the recording has none of them any more, and nobody else’s', async (t) => {
    const { recorder, record } = await start(t, { afterMs: 300, ageMs: 1500 });
    record(dead, 20);
    record(podOf('other'), 20);
    await written(recorder, 40);
    recorder.incidents.report(trouble(dead));
    await whole(recorder, false);
    record(dead, 7);
    const { id, records, cut } = await whole(recorder);
    assert.deepEqual([records, cut], [27, 0]);
    // It goes for its age, when what other pods do has filled its segment.
    let serial = 0;
    await until(
      'nothing of the pod is left in the recording',
      async () => {
        for (let number = 0; number < 20; number++) record(podOf(`noise-${serial++}`), 100);
        recorder.flush();
        return !namesIn(await dump(recorder)).has('dead');
      },
      30_000,
    );
    const events = await dump(recorder, id);
    assert.equal(events.length, 27);
    assert.deepEqual([...namesIn(events)], ['dead']);
    assert.ok(events.every((event) => (event as PacketEvent).headers?.length === 1));
    const { totalBytes } = recorder.incidents;
    assert.ok(totalBytes > 0 && totalBytes <= BUDGET_BYTES / 10);
  });

  it('has what was lost meanwhile of its pod, and of all pods, and nothing of others’ losses', async (t) => {
    const { recorder, record } = await start(t);
    record(dead, 3);
    const from = new Date().toISOString();
    const lost = (count: number, pod?: PodRef): LostEvent => {
      const of = pod === undefined ? { stage: 'kernel-ring' as const } : { stage: 'pod-rate' as const, pod };
      return { v: 1, kind: 'lost', node: 'host1', ...of, count, from, to: new Date().toISOString() };
    };
    for (const event of [lost(5), lost(6, dead), lost(7, podOf('other'))]) recorder.event(event);
    // Long before.
    recorder.event({ ...lost(8), stage: 'flow-table', from: '2026-01-01T00:00:00Z', to: '2026-01-01T00:00:01Z' });
    await recorder.settled();
    recorder.incidents.report(trouble(dead));
    const { id } = await whole(recorder);
    const events = await dump(recorder, id);
    assert.deepEqual(events.flatMap((event) => (event.kind === 'lost' ? [event.count] : [])).sort(), [5, 6]);
    assert.equal(events.length, 5);
  });

  it('is bounded in bytes: what is closest to the crash stays, and what found no room is counted', async (t) => {
    const { recorder, record } = await start(t);
    // More than has room.
    record(dead, 350);
    await written(recorder, 350);
    recorder.incidents.report(trouble(dead));
    const { id, records, cut } = await whole(recorder);
    assert.ok(cut > 0 && records > 0 && records + cut === 350, `${records} ${cut}`);
    assert.equal((await dump(recorder, id)).length, records);
    assert.ok(recorder.incidents.totalBytes <= BUDGET_BYTES / 10 / 20);
  });

  it('whose minute ran when the agent ended goes on after the next start, and one that is kept stays', async (t) => {
    const first = await start(t, { afterMs: 3_600_000 });
    first.record(dead, 10);
    await written(first.recorder, 10);
    first.recorder.incidents.report(trouble(dead));
    const begun = await whole(first.recorder, false);
    await first.recorder.close();
    const second = await start(t, { folder: first.folder });
    assert.deepEqual(second.recorder.incidents.list(), [begun]);
    second.recorder.incidents.report(trouble(dead));
    // It is the same incident still, with one more cause.
    assert.deepEqual(
      second.recorder.incidents.list().map(({ causes }) => causes.length),
      [2],
    );
    assert.equal((await dump(second.recorder, begun.id)).length, 10);
  });

  it('is there after the next start, when the recording is too old and goes', async (t) => {
    const first = await start(t);
    first.record(dead, 10);
    await written(first.recorder, 10);
    first.recorder.incidents.report(trouble(dead));
    const kept = await whole(first.recorder);
    await first.recorder.close();
    const share = join(first.folder, 'share');
    const files = readdirSync(share);
    assert.ok(files.length > 0);
    const longAgo = new Date(Date.now() - 2 * 3_600_000);
    for (const file of files) utimesSync(join(share, file), longAgo, longAgo);
    const { recorder } = await start(t, { folder: first.folder });
    await until('the recording has gone', () => recorder.stores.share.counts.removedSegments === files.length);
    assert.deepEqual(await dump(recorder), []);
    assert.deepEqual(recorder.incidents.list(), [kept]);
    assert.equal((await dump(recorder, kept.id)).length, 10);
  });

  it('is one for what goes wrong with a pod within its minute, and many pods’ at once are bounded and counted', async (t) => {
    const { recorder } = await start(t, { afterMs: 3_600_000 });
    for (let number = 0; number < 30; number++) recorder.incidents.report(trouble(podOf(`pod-${number}`)));
    for (let times = 0; times < 20; times++) recorder.incidents.report(trouble(podOf('pod-0')));
    await untilHolds('they are kept', () => assert.deepEqual(recorder.incidents.counts, { kept: 20, failed: 0, dropped: 10 }));
    assert.equal(recorder.incidents.list().length, 20);
    assert.equal(recorder.incidents.list().find(({ pod }) => pod.name === 'pod-0')?.causes.length, 8);
  });

  it('is neither listed nor given to who may not see the pod’s namespace', async (t) => {
    const { recorder, record } = await start(t);
    const [mine, secret] = [podOf('mine', 'shop'), podOf('secret', 'bank')];
    for (const pod of [mine, secret]) record(pod, 3);
    await written(recorder, 6);
    for (const pod of [mine, secret]) recorder.incidents.report(trouble(pod));
    await until('both are kept', () => recorder.incidents.list().filter(({ isWhole }) => isWhole).length === 2);
    const shop = { accounts: ['jane'], allowed: new Set(['shop']) };
    const asked = await answerRecorded(recorder, { targets: [{ kind: 'all' }] }, shop, undefined);
    assert.deepEqual(
      asked.incidents?.map(({ pod }) => pod.name),
      ['mine'],
    );
    const both = await answerRecorded(recorder, { targets: [{ kind: 'all' }] }, ALL, undefined);
    const idOf = (name: string) => both.incidents?.find(({ pod }) => pod.name === name)?.id;
    assert.equal((await dump(recorder, idOf('mine'), shop)).length, 3);
    await assert.rejects(dump(recorder, idOf('secret'), shop), { code: 'KTRACE_E_INCIDENT_UNKNOWN' });
    await assert.rejects(dump(recorder, '00000000'), { code: 'KTRACE_E_INCIDENT_UNKNOWN' });
    const ofPod = await answerRecorded(
      recorder,
      { targets: [{ kind: 'pod', namespace: 'bank', name: 'secret' }] },
      ALL,
      undefined,
    );
    assert.deepEqual(
      ofPod.incidents?.map(({ pod }) => pod.name),
      ['secret'],
    );
  });

  it('that the disk does not take is counted, and the next one is kept', async (t) => {
    const { recorder, folder, record } = await start(t);
    record(dead, 3);
    await written(recorder, 3);
    rmSync(join(folder, 'incidents'), { recursive: true, force: true });
    const blocker = join(folder, 'incidents');
    writeFileSync(blocker, '');
    recorder.incidents.report(trouble(dead));
    await until('it has failed', () => recorder.incidents.counts.failed === 1);
    rmSync(blocker);
    recorder.incidents.report(trouble(dead));
    await whole(recorder);
    assert.equal(readdirSync(blocker).length, 1);
  });
});
