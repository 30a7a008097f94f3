import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { readRecords } from '../../../../src/agent/record/recording.ts';
import { answerRecorded } from '../../../../src/agent/serve/dump/dump.ts';
import type { KtraceEvent, LostEvent, PacketEvent } from '../../../../src/event/types.ts';
import { FakeFeed, packet } from '../../serve/fake-feed.ts';
import { temporaryDirectory } from '../../serve/server-fixture.ts';
import { startRecorder } from './recorder-fixture.ts';

const pod = (name: string) => ({ namespace: 'shop', name, uid: `u-${name}`, node: 'host1', labels: {} });

test('what a pod recorded over its share and rotation has deleted is in the recording as a loss of that pod, to the last record', async (t) => {
  const feed = new FakeFeed();
  const told: LostEvent[] = [];
  const recorder = await startRecorder(t, {
    directory: await temporaryDirectory(t),
    budgetBytes: 4 * 1024 * 1024,
    feed,
    lost: (event) => void told.push(event),
  });
  let given = 0;
  const { excess } = recorder.stores;
  const beganMs = Date.now();
  const publish = async (name: string, count: number): Promise<void> => {
    for (let at = 0; at < count; at++) {
      const event = { ...packet(given++), time: new Date().toISOString(), src: { ip: '10.0.0.1', pod: pod(name) } };
      feed.publish(event, [randomBytes(1500)]);
    }
    await recorder.settled();
  };
  await publish('quiet', 10);
  // 200 a second of each are taken over their shares.
  for (let noisy = 0; excess.counts.removedSegments < 3; noisy++) await publish(`noisy-${noisy}`, 400);
  await recorder.settled();
  const found: KtraceEvent[] = [];
  const options = { sinceMs: 0, untilMs: 8e15, keys: undefined, after: undefined, onDamage: () => assert.fail('damaged') };
  for await (const { raw } of readRecords(recorder, options)) {
    for (const line of raw.toString().trimEnd().split('\n')) found.push(JSON.parse(line) as KtraceEvent);
  }
  const lost = found.filter((event): event is LostEvent => event.kind === 'lost' && event.stage === 'recorder-share');
  const packets = found.filter((event): event is PacketEvent => event.kind === 'packet');
  const countOf = (name: string) => ({
    here: packets.filter(({ src }) => src.pod?.name === name).length,
    lost: lost.reduce((sum, event) => sum + (event.pod?.name === name ? event.count : 0), 0),
  });
  // What was cut at once is told, and recorded a second later at the latest; this is all the rest.
  assert.deepEqual(countOf('quiet'), { here: 10, lost: 0 });
  const deletedOf = found.length === 0 ? 0 : lost.reduce((sum, { count }) => sum + count, 0);
  const cutTold = told.reduce((sum, { count }) => sum + count, 0);
  assert.ok(deletedOf > cutTold);
  assert.equal(packets.length + deletedOf - cutTold, given - recorder.counts.cut);
  for (const { from, to } of lost) assert.ok(Date.parse(from) >= beganMs && Date.parse(to) <= Date.now() && from <= to);
  const { deleted } = await answerRecorded(
    recorder,
    { targets: [{ kind: 'all' }] },
    { accounts: ['admin'], allowed: 'all' },
    undefined,
  );
  assert.deepEqual(Object.keys(deleted ?? {}), ['excess']);
  assert.ok((deleted?.excess ?? 0) >= beganMs);
});
