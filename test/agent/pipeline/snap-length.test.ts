import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Sink } from '../../../src/agent/pipeline/feed.ts';
import type { Pipeline } from '../../../src/agent/pipeline/pipeline.ts';
import type { Subscription } from '../../../src/event/target.ts';
import type { PacketEvent } from '../../../src/event/types.ts';
import { POD, sighting } from '../../flow/sightings.ts';
import { openPipeline } from './pipeline-fixture.ts';

/** A datagram of 40 bytes, of which 28 are headers. */
const DATAGRAM = Uint8Array.from({ length: 40 }, (_, at) => (at === 0 ? 0x45 : at));
const HEADERS = 28;

/** A pipeline whose kernel captures what it is told to, and what it was told. */
function open(t: TestContext): { pipeline: Pipeline; snaps: number[]; see(bytes: number): void } {
  const snaps: number[] = [];
  const { pipeline } = openPipeline(t, { tracer: { setSnapBytes: (bytes: number) => snaps.push(bytes) } });
  let skb = 0;
  return {
    pipeline,
    snaps,
    see(bytes) {
      skb += 0x100;
      const data = DATAGRAM.slice(0, bytes);
      pipeline.assembler.add(sighting({ skb, ifindex: POD, entry: true, proto: 17, data, headerBytes: HEADERS }), 0);
      pipeline.assembler.flush();
    },
  };
}

function follow(pipeline: Pipeline, more: Partial<Subscription>, wantsBytes = false) {
  const captured: number[][] = [];
  const data: (number | undefined)[] = [];
  const sink: Sink = {
    wantsBytes,
    event(event, bytes = []) {
      if (event.kind !== 'packet') return;
      captured.push(bytes.map(({ length }) => length));
      const [hop] = (event as PacketEvent).hops;
      data.push(hop?.data === undefined ? undefined : Buffer.from(hop.data, 'base64').length);
    },
    resolved: () => undefined,
  };
  const subscription: Subscription = { targets: [{ kind: 'all' }], addresses: [], units: 'packets', ...more };
  return { captured, data, subscription, follower: pipeline.follow(subscription, sink, 'all') };
}

test('each follower is handed the headers and what its own snap length reaches, while the kernel captures the most of all', (t) => {
  const { pipeline, snaps, see } = open(t);
  const filter = { text: 'udp[8] = 1', revision: 1 };
  const [plain, short, long] = [{ filter }, { filter, snapBytes: 30, data: true as const }, { snapBytes: 1500 }].map((more) =>
    follow(pipeline, more),
  );
  const recorder = follow(pipeline, { units: 'flows' }, true);
  const headersAlone = follow(pipeline, { data: true });
  see(40);
  assert.deepEqual(plain?.captured, [[HEADERS]]);
  assert.deepEqual(short?.captured, [[30]]);
  assert.deepEqual(long?.captured, [[40]]);
  assert.deepEqual(recorder.captured, [[HEADERS]], 'what is recorded is the headers, whatever others ask for');
  assert.deepEqual([plain?.data, short?.data, long?.data, headersAlone.data], [[undefined], [30], [undefined], [HEADERS]]);
  assert.equal(snaps.at(-1), 1500);
});

test('the kernel captures no more than those who follow now ask for, and what comes of before is cut all the same', (t) => {
  const { pipeline, snaps, see } = open(t);
  const long = follow(pipeline, { snapBytes: 1500 });
  const short = follow(pipeline, { snapBytes: 29, data: true });
  long.follower.close();
  assert.equal(snaps.at(-1), 29);
  see(40);
  assert.deepEqual([short.captured, short.data], [[[29]], [29]]);
  const { snapBytes: _, ...without } = short.subscription;
  short.follower.update(without, 'all');
  assert.equal(snaps.at(-1), 0);
  see(40);
  assert.deepEqual(
    [short.captured, short.data],
    [
      [[29], [HEADERS]],
      [29, HEADERS],
    ],
  );
  short.follower.close();
  assert.equal(snaps.at(-1), 0);
  see(40);
  assert.equal(short.captured.length, 2);
});
