import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Recorder } from '../../../../src/agent/record/recorder.ts';
import { Dump } from '../../../../src/agent/serve/dump/dump.ts';
import type { KtraceEvent, PacketEvent } from '../../../../src/event/types.ts';
import type { AgentMessage } from '../../../../src/protocol/messages.ts';
import { cleanUp } from '../../../support/clean-up.ts';
import { until } from '../../../support/until.ts';
import { FakeFeed, packet } from '../../serve/fake-feed.ts';
import { startRecorder } from './recorder-fixture.ts';

test('records are told as they were, over segments, dictionaries and packets’ second headers', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-recorder-'));
  cleanUp(t, () => rmSync(directory, { recursive: true, force: true }));
  const feed = new FakeFeed();
  // Small: a segment takes 45 kB.
  const recorder = await startRecorder(t, { directory, budgetBytes: 1024 * 1024, feed });
  const given = new Map<string, string[]>();
  for (let round = 0; round < 30; round++) {
    for (let at = 0; at < 50; at++) {
      const id = `p${round}-${at}`;
      const headers = Buffer.concat([Buffer.from([0x45]), randomBytes(39)]);
      const later = Buffer.from(headers);
      later[8] = (later[8] ?? 0) ^ 1;
      const pod = { namespace: 'shop', name: `web-${at}`, uid: `u${at}`, node: 'host1', labels: {} };
      feed.publish({ ...packet(1), id, time: new Date().toISOString(), src: { ip: '10.0.0.1', pod } }, [headers, later]);
      given.set(id, [headers.toString('base64'), later.toString('base64')]);
    }
    recorder.flush();
    await until('written', () => recorder.stores.share.counts.writtenRecords === given.size);
  }
  const segments = recorder.stores.share.segments();
  assert.ok(segments.length > 1);
  const [last] = segments.slice(-1);
  // Its first block is a dictionary: the type is the byte at 40.
  assert.equal(readFileSync(last?.path ?? '').readUInt8(16 + 40), 3);
  const events = await dumped(recorder);
  assert.deepEqual(new Map(events.map(({ id, headers }) => [id, headers])), given);
});

/** All that a dump tells. */
function dumped(recorder: Recorder): Promise<PacketEvent[]> {
  return new Promise((resolve, reject) => {
    const events: KtraceEvent[] = [];
    const dump = new Dump({
      recorder,
      request: { targets: [{ kind: 'all' }], owners: [], sinceMs: 0, untilMs: 8e15 },
      access: { accounts: ['admin'], allowed: 'all' },
      vxlanPort: () => undefined,
      send: (message: AgentMessage) => {
        if (message.type === 'records') events.push(...message.events);
        if (message.type === 'dumped') resolve(events.filter((event) => event.kind === 'packet'));
      },
      roomToSend: () => Promise.resolve(),
      nowMs: () => performance.now(),
      stallMs: 60_000,
      stalled: () => undefined,
      failed: reject,
    });
    dump.credit(100_000);
  });
}
