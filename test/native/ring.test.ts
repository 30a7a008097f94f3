import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { loadNative } from '../../src/native/load.ts';
import type { BpfObject } from '../../src/native/types.ts';
import { until } from '../support/until.ts';
import { cannot, compile } from './support.ts';

const frame = new Uint8Array(64);

/** The records of one Buffer, each checked to be exactly what good.bpf.c emits; gives their numbers. */
function numbersOf(records: Buffer): number[] {
  const numbers: number[] = [];
  let at = 0;
  while (at < records.length) {
    const length = records.readUInt32LE(at);
    assert.equal(records.readUInt32LE(at + 4), 0);
    const record = records.subarray(at + 8, at + 8 + length);
    const number = Number(record.readBigUInt64LE());
    assert.equal(length, number % 2 === 1 ? 13 : 32);
    assert.ok(record.subarray(8).every((byte) => byte === (number & 0xff)));
    numbers.push(number);
    at += 8 + Math.ceil(length / 8) * 8;
  }
  assert.equal(at, records.length);
  return numbers;
}

describe('a ring reader', { skip: cannot }, () => {
  const native = loadNative();
  let object: BpfObject;
  before(() => {
    object = native.openObject(compile('good'), { mapSizes: { records: 1 << 20 } });
  });
  after(() => object?.close());
  const restart = () => object.setGlobal('seen', new Uint8Array(8));

  it('gives every record once, in order and byte for byte, under load', async (t) => {
    restart();
    const numbers: number[] = [];
    const reader = native.readRing(object, 'records', { intervalMs: 2, batchBytes: 4096 }, (records) => {
      assert.ok(records.length <= 4096);
      numbers.push(...numbersOf(records));
    });
    t.after(() => reader.close());
    const rounds = 40;
    const each = 10_000;
    for (let round = 0; round < rounds; round++) {
      object.testRun(round % 4 === 0 ? 'emit_urgently' : 'emit_quietly', frame, 0, each);
      await until('the round is read', () => numbers.length === (round + 1) * each);
    }
    assert.ok(numbers.every((number, index) => number === index));
    const stats = reader.stats();
    assert.equal(stats.records, rounds * each);
    assert.equal(stats.bytes, (rounds * each * (13 + 32)) / 2);
    assert.ok(stats.calls < stats.records / 50, 'many records a call');
  });

  it('is woken by the kernel at once, and by quiet records never', async (t) => {
    const sizes: number[] = [];
    const reader = native.readRing(object, 'records', { intervalMs: 1_000_000, unref: true }, (records) => {
      sizes.push(numbersOf(records).length);
    });
    t.after(() => reader.close());
    object.testRun('emit_urgently', frame, 0, 3);
    await until('the urgent ones are read', () => sizes.length === 1);
    object.testRun('emit_quietly', frame, 0, 5);
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    assert.deepEqual(sizes, [3]);
    reader.drain();
    assert.deepEqual(sizes, [3, 5]);
    assert.equal(reader.stats().wakeups, 1);
  });

  it('reads at another pace from when it is told to, also where it rests', async (t) => {
    restart();
    let read = 0;
    const options = { intervalMs: 1_000_000, unref: true, restsIn: 'rests' };
    const reader = native.readRing(object, 'records', options, (records) => {
      read += numbersOf(records).length;
    });
    t.after(() => reader.close());
    object.testRun('emit_quietly', frame);
    await until('its timer reads, however often it is told', () => {
      reader.pace(200);
      return read === 1;
    });
    reader.pace(5);
    await until('it says that it rests', () => object.getGlobal('rests').readUInt32LE() === 1);
    reader.pace(10);
    object.testRun('emit_to_resting', frame);
    await until('it is woken', () => read === 2);
    object.testRun('emit_quietly', frame);
    await until('its timer reads again', () => read === 3);
  });

  it('pauses for as long as its share of the time asks for, and is not woken meanwhile', async (t) => {
    restart();
    const BUSY_MS = 10;
    const spans: { fromMs: number; toMs: number }[] = [];
    let isBusy = true;
    const options = { intervalMs: 1, batchBytes: 4096, mostBusy: 0.25, unref: true };
    const reader = native.readRing(object, 'records', options, (records) => {
      const fromMs = performance.now();
      numbersOf(records);
      while (isBusy && performance.now() - fromMs < BUSY_MS);
      spans.push({ fromMs, toMs: performance.now() });
    });
    t.after(() => reader.close());
    object.testRun('emit_quietly', frame, 0, 1000);
    await until('the first batch is read', () => spans.length > 0);
    while (spans.length < 5) {
      object.testRun('emit_urgently', frame, 0, 1);
      await delay(1);
    }
    isBusy = false;
    reader.drain();
    const pauses = spans.slice(1, 5).map(({ fromMs }, at) => fromMs - spans[at]!.toMs);
    assert.ok(pauses.length === 4 && pauses.every((ms) => ms >= 3 * BUSY_MS - 2), `paused for ${pauses} ms`);
    assert.throws(() => native.readRing(object, 'records', { intervalMs: 1, mostBusy: 0 }, () => undefined), {
      message: /above 0 and of 1 at most for mostBusy/,
    });
  });

  it('pauses for no longer than a quarter of a second, however long a reading took', async (t) => {
    restart();
    const order: string[] = [];
    const reader = native.readRing(
      object,
      'records',
      { intervalMs: 1, batchBytes: 4096, mostBusy: 0.01, unref: true },
      (records) => {
        numbersOf(records);
        order.push('read');
        if (order.length > 1) return;
        // As a process that was stopped meanwhile: by its share it would pause for five seconds.
        const fromMs = performance.now();
        while (performance.now() - fromMs < 50);
        setTimeout(() => order.push('two seconds'), 2000).unref();
      },
    );
    t.after(() => reader.close());
    object.testRun('emit_quietly', frame, 0, 1000);
    await until('it has read again, or two seconds have passed', () => order.length > 1);
    reader.drain();
    assert.deepEqual(order.slice(0, 2), ['read', 'read']);
  });

  it('lets the loop’s other work go on between two batches', async (t) => {
    const order: ('batch' | 'loop')[] = [];
    let read = 0;
    const reader = native.readRing(object, 'records', { intervalMs: 1, batchBytes: 4096 }, (records) => {
      read += numbersOf(records).length;
      order.push('batch');
    });
    t.after(() => reader.close());
    object.testRun('emit_quietly', frame, 0, 1000);
    while (read < 1000) {
      await new Promise(setImmediate);
      order.push('loop');
    }
    const batches = order.filter((what) => what === 'batch').length;
    assert.ok(batches > 5, 'there was much to read');
    assert.doesNotMatch(order.join(' '), /batch batch/);
    object.testRun('emit_quietly', frame, 0, 1000);
    reader.drain();
    assert.equal(read, 2000, 'drained at once');
  });

  it('rests where there is nothing to read, until the kernel wakes it, and reads by its timer again then', async (t) => {
    restart();
    let read = 0;
    const options = { intervalMs: 20, restsIn: 'rests' };
    const reader = native.readRing(object, 'records', options, (records) => {
      read += numbersOf(records).length;
    });
    t.after(() => reader.close());
    const rests = () => object.getGlobal('rests').readUInt32LE() === 1;
    for (const time of [1, 2]) {
      await until('it says that it rests', rests);
      // Its timer has one more reading.
      await delay(50);
      object.testRun('emit_quietly', frame);
      await delay(50);
      assert.equal(read, 3 * (time - 1), 'nobody has woken it');
      object.testRun('emit_to_resting', frame);
      assert.equal(rests(), false);
      await until('it is woken', () => read === 3 * time - 1);
      object.testRun('emit_to_resting', frame);
      await until('its timer reads', () => read === 3 * time);
      assert.equal(reader.stats().wakeups, time);
    }
  });

  it('gives a record larger than a batch alone', (t) => {
    const sizes: number[] = [];
    const reader = native.readRing(object, 'records', { intervalMs: 1000, batchBytes: 1 }, (records) => {
      sizes.push(numbersOf(records).length);
    });
    t.after(() => reader.close());
    object.testRun('emit_quietly', frame, 0, 4);
    reader.drain();
    assert.deepEqual(sizes, [1, 1, 1, 1]);
  });

  it('refuses a map that is no ring, and an object that is none of ours', () => {
    assert.throws(() => native.readRing(object, 'numbers', { intervalMs: 5 }, () => {}), { op: 'read ring numbers' });
    assert.throws(() => native.readRing({} as BpfObject, 'records', { intervalMs: 5 }, () => {}), TypeError);
    assert.throws(() => native.readRing(object, 'records', { intervalMs: 0 }, () => {}), { code: 'KTRACE_E_ARGUMENT' });
    const unheard = { intervalMs: 5, restsIn: 'unheard_of' };
    assert.throws(() => native.readRing(object, 'records', unheard, () => {}), { op: 'find variable unheard_of' });
  });
});
