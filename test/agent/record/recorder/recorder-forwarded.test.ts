import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Recorder } from '../../../../src/agent/record/recorder.ts';
import type { LostEvent, PacketEvent, PodRef } from '../../../../src/event/types.ts';
import { createLog } from '../../../../src/util/log.ts';
import { packet } from '../../../client/events.ts';
import { cleanUp } from '../../../support/clean-up.ts';
import { until } from '../../../support/until.ts';
import { FakeFeed } from '../../serve/fake-feed.ts';
import { startRecorder } from './recorder-fixture.ts';

const [VICTIM, FORGER] = ['victim', 'forger'].map(
  (name): PodRef => ({ namespace: 'default', name, uid: name, node: 'host1', labels: {} }),
);
/** More than the share of one pod in the smallest recording. */
const FLOOD = 20_000;

test('what a pod forwards, or sends with a forged address, is charged to it, and not to whose address it has', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-forwarded-'));
  const feed = new FakeFeed();
  const cut: LostEvent[] = [];
  const recorder = await Recorder.start({
    config: { directory, budgetBytes: 2 * 1024 * 1024, ageMs: 3_600_000 },
    feed,
    ownPods: () => [
      { pod: VICTIM as PodRef, ips: ['10.244.1.2'] },
      { pod: FORGER as PodRef, ips: ['10.244.1.3'] },
    ],
    isPodAddress: () => false,
    name: () => undefined,
    notice: () => undefined,
    withdraw: () => undefined,
    lost: (event) => cut.push(event),
    log: createLog('agent', 'silent'),
  });
  t.after(async () => {
    await recorder.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const sent = (id: string, by: string): PacketEvent =>
    packet({
      ...{ id, fingerprint: id, dst: { ip: '203.0.113.9', port: 53 } },
      src: { ip: '10.244.1.2', port: 40000, pod: VICTIM as PodRef },
      hops: [{ node: 'host1', if: 'veth1', pod: `default/${by}`, dir: 'in', atNs: 0 }],
    });
  for (let at = 0; at < FLOOD; at++) recorder.event(sent(`forged-${at}`, 'forger'));
  recorder.event(sent('own', 'victim'));
  await until('what was cut is told', () => cut.length > 0);
  assert.deepEqual([...new Set(cut.map(({ pod }) => pod?.name))], ['forger']);
});

test('what another node’s pod floods a pod with leaves the pod’s own records, and those of others who ask it, within its share', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-flooded-'));
  cleanUp(t, () => rmSync(directory, { recursive: true, force: true }));
  const recorder = await startRecorder(t, {
    ...{ directory, budgetBytes: 2 * 1024 * 1024, feed: new FakeFeed() },
    ownPods: () => [{ pod: VICTIM as PodRef, ips: ['10.244.1.2'] }],
  });
  const remote = (name: string): PodRef => ({ namespace: 'default', name, uid: name, node: 'host2', labels: {} });
  const victim = { ip: '10.244.1.2', port: 80, pod: VICTIM as PodRef };
  const asks = (id: string, name: string | undefined, dir: 'request' | 'reply' = 'request') => {
    const peer = { ip: '10.244.2.9', port: 40000, ...(name === undefined ? {} : { pod: remote(name) }) };
    const [src, dst] = dir === 'request' ? [peer, victim] : [victim, peer];
    return packet({ id, fingerprint: id, src, dst, dir, hops: [] });
  };
  for (const flooder of ['flooder', undefined]) {
    // Requests, and answers to them.
    for (let at = 0; at < FLOOD; at++)
      recorder.event(asks(`flood-${flooder}-${at}`, flooder, at % 2 === 0 ? 'request' : 'reply'));
    await recorder.settled();
    assert.ok(recorder.counts.cut > 0);
    const { writtenRecords } = recorder.stores.share.counts;
    recorder.event(asks(`other-${flooder}`, `other-${flooder}`));
    recorder.event(packet({ id: `own-${flooder}`, src: victim, dst: { ip: '203.0.113.9', port: 53 }, hops: [] }));
    await recorder.settled();
    if (flooder !== undefined) assert.equal(recorder.stores.share.counts.writtenRecords, writtenRecords + 2);
  }
});
