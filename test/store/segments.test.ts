import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { type BuiltBlock, FILE_HEADER_BYTES, FORMAT_VERSION } from '../../src/store/block.ts';
import { BlockBuilder } from '../../src/store/block-builder.ts';
import { readBlocks } from '../../src/store/block-reader.ts';
import { bloomOf, mayHold } from '../../src/store/bloom.ts';
import { readSegments } from '../../src/store/segment-reader.ts';
import { SegmentStore, type SegmentStoreOptions } from '../../src/store/segment-store.ts';
import { fc } from '../support/fast-check.ts';
import { until } from '../support/until.ts';

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'ktrace-segments-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A block of one line, which does not compress. */
function block(line: string, timeMs = 1000, keys: string[] = []): BuiltBlock {
  const builder = new BlockBuilder('records');
  builder.add(line, timeMs, keys);
  return builder.take();
}

interface Told {
  lost: number;
  trouble: (string | undefined)[];
}

async function openStore(
  directory: string,
  options: Partial<SegmentStoreOptions> = {},
): Promise<{ store: SegmentStore; told: Told }> {
  const told: Told = { lost: 0, trouble: [] };
  const store = await SegmentStore.open({
    directory,
    budgetBytes: 1e6,
    ageMs: 1e9,
    segmentBytes: 1e5,
    queueBytes: 1e6,
    onLost: (count) => {
      told.lost += count;
    },
    onTrouble: (why) => told.trouble.push(why),
    retryMs: 0,
    ...options,
  });
  return { store, told };
}

async function linesOf(store: SegmentStore): Promise<{ lines: string[]; damaged: { at: number; bytes: number }[] }> {
  const lines: string[] = [];
  const damaged: { at: number; bytes: number }[] = [];
  const options = { wants: () => true, onDamage: (damage: { at: number; bytes: number }) => damaged.push(damage) };
  for await (const { raw } of readSegments(store.segments(), undefined, options)) {
    lines.push(...raw.toString().trimEnd().split('\n'));
  }
  return { lines, damaged };
}

suite('segments of a recording', () => {
  test('what was appended is read back in order, also by another start', async (t) => {
    const directory = folder(t);
    const { store } = await openStore(directory);
    for (let at = 0; at < 20; at++) store.append(block(`line ${at}`));
    await store.close();
    const { store: again } = await openStore(directory);
    again.append(block('line 20'));
    await until('written', () => again.counts.writtenRecords === 1);
    const { lines, damaged } = await linesOf(again);
    assert.deepEqual(
      lines,
      Array.from({ length: 21 }, (_, at) => `line ${at}`),
    );
    assert.deepEqual(damaged, []);
    assert.equal(statSync(join(directory, readdirSync(directory)[0] ?? '')).mode & 0o777, 0o600);
    await again.close();
  });

  test('one that is being begun is not there for a reader before it has something', async (t) => {
    const { store } = await openStore(folder(t));
    store.append(block('line 0'));
    const sizes = new Set<number>();
    while (store.counts.writtenRecords === 0) {
      for (const { bytes } of store.segments()) sizes.add(bytes);
      assert.deepEqual((await linesOf(store)).damaged, []);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(!sizes.has(0));
    await store.close();
  });

  test('one that was begun when the power went and has nothing in it is no damage', async (t) => {
    const directory = folder(t);
    const { store } = await openStore(directory);
    store.append(block('line 0'));
    await store.close();
    const [first = ''] = readdirSync(directory);
    const names = ['99999999999999-0001.kseg', '99999999999999-0002.kseg'];
    writeFileSync(join(directory, names[0] ?? ''), '');
    writeFileSync(join(directory, names[1] ?? ''), readFileSync(join(directory, first)).subarray(0, FILE_HEADER_BYTES));
    const { store: again } = await openStore(directory);
    assert.deepEqual(await linesOf(again), { lines: ['line 0'], damaged: [] });
    assert.deepEqual(readdirSync(directory), [first]);
    await again.close();
  });

  test('the budget is never exceeded by more than one segment, and the oldest goes first', async (t) => {
    const directory = folder(t);
    const { store } = await openStore(directory, { budgetBytes: 50_000, segmentBytes: 5000 });
    for (let at = 0; at < 300; at++) {
      store.append(block(`${at} ${Buffer.from(Array.from({ length: 500 }, () => Math.random() * 256)).toString('base64')}`));
      if (at % 10 === 9) await until('written', () => store.counts.writtenRecords === at + 1);
      const used = readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
      assert.ok(used <= 55_000, `${used} bytes`);
    }
    const { lines } = await linesOf(store);
    const numbers = lines.map((line) => Number(line.split(' ')[0]));
    assert.equal(numbers.at(-1), 299);
    assert.deepEqual(
      numbers,
      Array.from({ length: numbers.length }, (_, at) => 300 - numbers.length + at),
    );
    await store.close();
  });

  test('segments whose last record is too old go, though nothing is written', async (t) => {
    const directory = folder(t);
    let nowMs = 1_000_000;
    const { store } = await openStore(directory, { ageMs: 1000, segmentBytes: 10, now: () => nowMs });
    store.append(block('old'));
    await until('written', () => store.counts.writtenRecords === 1);
    nowMs += 5000;
    store.tick();
    await until('removed', () => store.segments().length === 0);
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.endsWith('.kseg')),
      [],
    );
    await store.close();
  });

  test('until when something was recorded that is deleted is known, also by another start; what went for its age made no room', async (t) => {
    const directory = folder(t);
    let nowMs = Date.now();
    const beganMs = nowMs;
    const rotated: string[] = [];
    const options = {
      ...{ budgetBytes: 400, segmentBytes: 100, ageMs: 10_000, now: () => nowMs },
      onRotated: (name: string) => rotated.push(name),
    };
    const { store } = await openStore(directory, options);
    const write = async (line: string): Promise<void> => {
      nowMs += 1000;
      store.append(block(line));
      await store.settled();
    };
    await write('one');
    assert.equal(store.deletedToMs, undefined);
    for (let at = 0; at < 10; at++) await write(`line ${at}`);
    const [first] = store.segments();
    assert.ok(rotated.length > 0 && rotated.every((name) => name < (first?.name ?? '')));
    assert.ok(store.deletedToMs !== undefined && store.deletedToMs > beganMs && store.deletedToMs <= (first?.beginMs ?? 0));
    const byBudget = rotated.length;
    nowMs += 60_000;
    await store.close();
    const { store: again } = await openStore(directory, options);
    assert.equal(again.deletedToMs, store.deletedToMs);
    again.tick();
    await until('removed', () => again.segments().length === 0);
    assert.equal(rotated.length, byBudget);
    assert.ok((again.deletedToMs ?? 0) >= (store.deletedToMs ?? Infinity));
    await again.close();
  });

  test('a disk that is slow makes nobody wait, and what found no room is counted', async (t) => {
    const gate = Promise.withResolvers<void>();
    const { store, told } = await openStore(folder(t), {
      queueBytes: 2000,
      write: async (file, blocks) => {
        await gate.promise;
        return (await file.writev(blocks)).bytesWritten;
      },
    });
    for (let at = 0; at < 100; at++) store.append(block(`line ${at}`));
    assert.ok(told.lost > 50, `${told.lost} lost`);
    gate.resolve();
    await until('written', () => store.counts.writtenRecords + told.lost === 100);
    store.append(block('after'));
    await until('goes on', () => store.counts.writtenRecords + told.lost === 101);
    assert.equal((await linesOf(store)).lines.at(-1), 'after');
    await store.close();
  });

  test('a disk that does not answer is told, and told as over when it has written what waited', async (t) => {
    let nowMs = 0;
    let gate = Promise.withResolvers<void>();
    const { store, told } = await openStore(folder(t), {
      elapsedMs: () => nowMs,
      write: async (file, blocks) => {
        await gate.promise;
        return (await file.writev(blocks)).bytesWritten;
      },
    });
    for (const turn of [1, 2]) {
      store.append(block(`line ${turn}`));
      nowMs += 3000;
      store.tick();
      assert.equal(told.trouble.length, 2 * turn - 2, 'not yet');
      nowMs += 1500;
      store.tick();
      store.tick();
      assert.deepEqual(told.trouble.slice(2 * turn - 2), ['slow: it has not answered for 4 s']);
      assert.equal(store.isFailing, false);
      gate.resolve();
      await until('over', () => told.trouble.length === 2 * turn);
      assert.deepEqual([told.trouble.at(-1), store.counts.writtenRecords, told.lost], [undefined, turn, 0]);
      gate = Promise.withResolvers<void>();
    }
    // Many writes in a row, each of which is answered, are no trouble.
    gate.resolve();
    for (let at = 0; at < 5; at++) {
      store.append(block(`more ${at}`));
      nowMs += 2000;
      await store.settled();
      store.tick();
    }
    assert.equal(told.trouble.length, 4);
    await store.close();
  });

  test('a disk that takes less than there is to write is told once, and as over when there is room again', async (t) => {
    const gate = Promise.withResolvers<void>();
    const { store, told } = await openStore(folder(t), {
      queueBytes: 2000,
      write: async (file, blocks) => {
        await gate.promise;
        return (await file.writev(blocks)).bytesWritten;
      },
    });
    for (let at = 0; at < 100; at++) store.append(block(`line ${at}`));
    assert.deepEqual(told.trouble, ['slow: it takes less than is to be written']);
    gate.resolve();
    await until('over', () => told.trouble.length === 2);
    assert.equal(told.trouble[1], undefined);
    await store.close();
    assert.deepEqual([store.append(block('closed')), told.trouble.length], [false, 2]);
  });

  test('a disk that fails while it is slow is told with why, and once as over', async (t) => {
    const gate = Promise.withResolvers<void>();
    let fails = true;
    const { store, told } = await openStore(folder(t), {
      queueBytes: 2000,
      write: async (file, blocks) => {
        await gate.promise;
        if (fails) throw new Error('EIO: i/o error, write');
        return (await file.writev(blocks)).bytesWritten;
      },
    });
    for (let at = 0; at < 100; at++) store.append(block(`line ${at}`));
    gate.resolve();
    await until('fails', () => store.isFailing);
    for (let at = 0; at < 100; at++) store.append(block(`line ${at}`));
    fails = false;
    await until('over', () => {
      store.tick();
      return !store.isFailing && told.trouble.at(-1) === undefined;
    });
    assert.deepEqual(told.trouble, ['slow: it takes less than is to be written', 'EIO: i/o error, write', undefined]);
    await store.close();
  });

  test('a disk that is full is told once, loses what finds no room, and is used again by itself', async (t) => {
    let isFull = false;
    const { store, told } = await openStore(folder(t), {
      queueBytes: 1000,
      write: async (file, blocks) => {
        // As write(2) does: what fits is taken, then there is no space.
        if (isFull) return (await file.write(blocks[0] as Buffer, 0, 10)).bytesWritten;
        return (await file.writev(blocks)).bytesWritten;
      },
    });
    store.append(block('before'));
    await until('written', () => store.counts.writtenRecords === 1);
    isFull = true;
    for (let at = 0; at < 50; at++) {
      store.append(block(`line ${at}`));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const isOfSpace = (why: string | undefined) => why?.includes('ENOSPC') === true;
    await until('told', () => told.trouble.some(isOfSpace));
    assert.ok(told.lost > 30);
    isFull = false;
    await until('well again', () => {
      store.tick();
      return told.trouble.at(-1) === undefined;
    });
    // What did not fit into the queue while the first write was under way is of a disk that is too slow.
    assert.equal(told.trouble.filter(isOfSpace).length, 1);
    assert.equal(told.trouble.filter((why) => why === undefined).length, 1);
    await until('written', () => store.counts.writtenRecords + told.lost === 51);
    const { lines, damaged } = await linesOf(store);
    assert.deepEqual([lines[0], damaged], ['before', []]);
    await store.close();
  });

  test('a folder that vanishes is made anew', async (t) => {
    const directory = join(folder(t), 'recording');
    const { store, told } = await openStore(directory);
    store.append(block('gone'));
    await until('written', () => store.counts.writtenRecords === 1);
    rmSync(directory, { recursive: true });
    store.append(block('here'));
    await until('written', () => store.counts.writtenRecords === 2);
    assert.deepEqual([(await linesOf(store)).lines, told.lost], [['here'], 0]);
    await store.close();
  });
});

/** Puts what cannot be removed as a file in the place of the only segment; gives its path. */
function obstruct(directory: string): string {
  const path = join(directory, readdirSync(directory)[0] ?? '');
  rmSync(path);
  mkdirSync(join(path, 'full'), { recursive: true });
  return path;
}

suite('a disk that takes neither blocks nor the removal of what was begun', () => {
  const failures: Record<string, (fail: () => void) => Partial<SegmentStoreOptions>> = {
    'before its first blocks': (fail) => ({
      opening: () => {
        fail();
        return [];
      },
    }),
    'at its first write': (fail) => ({
      write: async (file, blocks) => {
        fail();
        return (await file.writev(blocks)).bytesWritten;
      },
    }),
    'by a short write': (fail) => ({
      write: async (file, blocks) => {
        try {
          fail();
        } catch {
          return 0;
        }
        return (await file.writev(blocks)).bytesWritten;
      },
    }),
  };
  for (const [when, options] of Object.entries(failures)) {
    test(`a segment that fails ${when} is trouble, and is removed when that can be`, async (t) => {
      const directory = folder(t);
      let left: string | undefined;
      const { store, told } = await openStore(
        directory,
        options(() => {
          if (told.trouble.length > 0) return;
          left = obstruct(directory);
          throw new Error('EIO: i/o error, write');
        }),
      );
      store.append(block('line 0'));
      await until('told', () => told.trouble.length === 1);
      await store.settled();
      store.append(block('line 1'));
      await store.settled();
      assert.deepEqual([store.segments(), store.isFailing, told.lost], [[], true, 0]);
      rmSync(left ?? '', { recursive: true });
      store.tick();
      await until('well again', () => !store.isFailing);
      await until('written', () => store.counts.writtenRecords === 2);
      assert.deepEqual(await linesOf(store), { lines: ['line 0', 'line 1'], damaged: [] });
      assert.equal(told.trouble.at(-1), undefined);
      assert.equal(readdirSync(directory).length, 1);
      await store.close();
    });

    test(`a store whose segment fails ${when} is closed, and what waits is lost`, async (t) => {
      const directory = folder(t);
      const { store, told } = await openStore(
        directory,
        options(() => {
          if (told.trouble.length === 0) obstruct(directory);
          throw new Error('EIO: i/o error, write');
        }),
      );
      store.append(block('line 0'));
      await store.close();
      assert.deepEqual([store.segments(), told.lost, told.trouble.length], [[], 1, 1]);
    });
  }

  test('a segment that cannot be removed is told, and told as over when that can be, though nothing is written', async (t) => {
    const directory = folder(t);
    let nowMs = 1_000_000;
    const { store, told } = await openStore(directory, { ageMs: 1000, segmentBytes: 10, now: () => nowMs });
    store.append(block('old'));
    await until('written', () => store.counts.writtenRecords === 1);
    const path = obstruct(directory);
    nowMs += 5000;
    store.tick();
    await until('told', () => told.trouble.length === 1);
    rmSync(path, { recursive: true });
    await until('well again', () => {
      store.tick();
      return told.trouble.length === 2;
    });
    assert.deepEqual([told.trouble[1], store.isFailing, store.segments()], [undefined, false, []]);
    await store.close();
  });

  test('what cannot be looked at hides no segment behind it from a later start', async (t) => {
    const directory = folder(t);
    const { store } = await openStore(directory);
    store.append(block('line 0'));
    await store.close();
    symlinkSync(join(directory, 'nowhere'), join(directory, '00000000000001-0001.kseg'));
    const { store: again } = await openStore(directory);
    assert.deepEqual(await linesOf(again), { lines: ['line 0'], damaged: [] });
    await again.close();
  });
});

suite('reading what is damaged', () => {
  /** A file of ten blocks, and where each begins. */
  async function tenBlocks(t: TestContext): Promise<{ path: string; places: number[]; bytes: Buffer }> {
    const directory = folder(t);
    const { store } = await openStore(directory);
    const blocks = Array.from({ length: 10 }, (_, at) => block(`line ${at}`));
    for (const one of blocks) store.append(one);
    await store.close();
    const path = join(directory, readdirSync(directory)[0] ?? '');
    const places = blocks.map(
      (_, at) => FILE_HEADER_BYTES + blocks.slice(0, at).reduce((sum, { bytes }) => sum + bytes.length, 0),
    );
    return { path, places, bytes: readFileSync(path) };
  }

  async function read(path: string): Promise<{ lines: string[]; damaged: { at: number; bytes: number }[] }> {
    const damaged: { at: number; bytes: number }[] = [];
    const lines: string[] = [];
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const options = {
        name: path,
        untilByte: size,
        wants: () => true,
        onDamage: (one: { at: number; bytes: number }) => damaged.push(one),
      };
      for await (const { raw } of readBlocks(file, options)) lines.push(raw.toString().trimEnd());
    } finally {
      await file.close();
    }
    return { lines, damaged };
  }

  test('whichever bit is flipped, all other blocks are read and the place is told', async (t) => {
    const { path, places, bytes } = await tenBlocks(t);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: FILE_HEADER_BYTES, max: bytes.length - 1 }),
        fc.integer({ min: 0, max: 7 }),
        async (at, bit) => {
          const broken = Buffer.from(bytes);
          broken[at] = (broken[at] ?? 0) ^ (1 << bit);
          writeFileSync(path, broken);
          const hit = places.findLastIndex((place) => place <= at);
          const { lines, damaged } = await read(path);
          assert.deepEqual(
            lines,
            Array.from({ length: 10 }, (_, number) => `line ${number}`).filter((_, number) => number !== hit),
          );
          assert.deepEqual(
            damaged.map((one) => one.at),
            [places[hit]],
          );
        },
      ),
      { numRuns: 200 },
    );
  });

  test('wherever it was cut off, all blocks before are read', async (t) => {
    const { path, places, bytes } = await tenBlocks(t);
    for (let length = FILE_HEADER_BYTES; length <= bytes.length; length += 7) {
      writeFileSync(path, bytes.subarray(0, length));
      const ends = [...places.slice(1), bytes.length];
      const whole = ends.filter((end) => end <= length).length;
      const { lines, damaged } = await read(path);
      assert.equal(lines.length, whole);
      assert.equal(damaged.length, ends.includes(length) || length === FILE_HEADER_BYTES ? 0 : 1);
    }
  });

  test('a newer version is told, and so is a file that is none of ours', async (t) => {
    const { path, bytes } = await tenBlocks(t);
    const newer = Buffer.from(bytes);
    newer.writeUInt16LE(FORMAT_VERSION + 1, 8);
    writeFileSync(path, newer);
    await assert.rejects(read(path), { code: 'KTRACE_E_DUMP_NEWER' });
    writeFileSync(path, 'not a recording at all');
    await assert.rejects(read(path), { code: 'KTRACE_E_DUMP_FORMAT' });
  });

  test('a Bloom filter finds what is in it, and little else', () => {
    const keys = new Set(Array.from({ length: 100 }, (_, at) => `10.244.1.${at}`));
    const bloom = bloomOf(keys);
    for (const key of keys) assert.ok(mayHold(bloom, key));
    const wrong = Array.from({ length: 1000 }, (_, at) => `uid-${at}`).filter((key) => mayHold(bloom, key)).length;
    assert.ok(wrong < 50, `${wrong} of 1000`);
  });
});
