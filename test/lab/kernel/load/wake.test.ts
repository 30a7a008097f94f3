import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { SIGHTING } from '../../../../src/event/layout.ts';
import { u32 } from '../../../../src/native/bytes.ts';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { Bench, followed } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { ends, POD, ports } from '../../support/packet-table.ts';
import { ethernet, IPV4, ipv4, udp } from '../../support/packets.ts';

const RING_BYTES = 1 << 20;
/** From here on the reader is woken. */
const MARK = RING_BYTES / 4;
const HEADERS = 28;
const MOST = 1500;

suite('the ring’s reader', { skip: SKIP }, () => {
  const packet = ethernet(IPV4, ipv4({ ...ends, proto: 17 }, udp(ports, Buffer.alloc(MOST - HEADERS))));
  let bench: Bench;
  before(() => {
    bench = new Bench(followed([POD]), [], { ringBytes: RING_BYTES });
  });
  after(() => bench.close());

  /** Emits a record with so many of the packet's bytes, and gives what it takes of the ring. */
  function emit(bytes: number): number {
    bench.tracer.setSnapBytes(bytes);
    bench.tracer.object.testRun('body_in', packet);
    const header = 8;
    return Math.ceil((header + SIGHTING.data + bytes) / 8) * 8;
  }

  /** Fills the ring to just below the mark, and then far beyond it by one record. */
  function leapOverMark(): void {
    let filled = 0;
    while (filled + 2 * MOST < MARK) filled += emit(MOST);
    while (filled < MARK) {
      const left = MARK - filled;
      filled += left > 2 * HEADERS + SIGHTING.data ? emit(HEADERS) : emit(MOST);
    }
    assert.ok(filled - MARK > 2 * SIGHTING.size, `${filled - MARK} bytes beyond the mark`);
  }

  test('is woken by the first record while it rests, and by no other', async () => {
    const before = bench.wakeups();
    emit(HEADERS);
    bench.tracer.object.setGlobal('reader_rests', u32(1));
    emit(HEADERS);
    await until('the reader is woken', () => bench.wakeups() === before + 1);
    assert.deepEqual(bench.tracer.object.getGlobal('reader_rests'), Buffer.from(u32(0)));
    assert.equal(bench.take().length, 2);
    emit(HEADERS);
    await delay(50);
    assert.equal(bench.wakeups(), before + 1);
    bench.take();
  });

  test('is woken by the next record when one has leapt over the mark, and again once it has read', async () => {
    const before = bench.wakeups();
    for (const time of [1, 2, 3]) {
      leapOverMark();
      emit(HEADERS);
      await until('the reader is woken', () => bench.wakeups() >= before + time);
      assert.equal(bench.wakeups(), before + time);
      bench.take();
    }
  });
});
