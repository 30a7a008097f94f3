import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { FILE_HEADER_BYTES, fileHeader, PLAIN_VERSION } from '../../src/store/block.ts';
import { BlockBuilder } from '../../src/store/block-builder.ts';
import { readBlocks } from '../../src/store/block-reader.ts';
import { Dictionaries, twice } from '../../src/store/dictionaries.ts';

const HOUR_MS = 3_600_000;
const NAMES = Array.from({ length: 40 }, () => randomBytes(24).toString('hex'));
/** Alike, as records of some pods are, and not alike within one block. */
const line = (at: number): string =>
  JSON.stringify({ at, pod: NAMES[at % NAMES.length], peer: NAMES[(at * 7 + 3) % NAMES.length] });

/** Dictionaries that have learnt enough for one. */
function learnt(): Dictionaries {
  const dictionaries = new Dictionaries();
  for (let at = 0; at < 40; at++)
    dictionaries.learn(Buffer.from(Array.from({ length: 40 }, (_, row) => line(at * 40 + row)).join('\n')));
  return dictionaries;
}

/** Ten blocks of a few lines each. */
function tenBlocks(dictionaries?: Dictionaries): Buffer[] {
  const builder = new BlockBuilder('records', dictionaries);
  return Array.from({ length: 10 }, (_, at) => {
    for (let row = 0; row < 4; row++) builder.add(line(at * 4 + row), at, []);
    return builder.take().bytes;
  });
}

async function read(
  t: TestContext,
  bytes: Buffer,
  fromByte?: number,
): Promise<{ blocks: number[]; damaged: number[]; lines: string[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-dictionary-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'a.kseg');
  writeFileSync(path, bytes);
  const found = { blocks: [] as number[], damaged: [] as number[], lines: [] as string[] };
  const file = await open(path);
  try {
    const options = { name: path, fromByte, untilByte: bytes.length, wants: ({ type }: { type: string }) => type === 'records' };
    for await (const { at, raw } of readBlocks(file, { ...options, onDamage: (one) => found.damaged.push(one.at) })) {
      found.blocks.push(at);
      found.lines.push(...raw.toString().trimEnd().split('\n'));
    }
  } finally {
    await file.close();
  }
  return found;
}

suite('blocks that are packed with a dictionary', () => {
  const ALL = Array.from({ length: 40 }, (_, at) => line(at));

  test('are read back, also from the middle on, and take less', async (t) => {
    const dictionaries = learnt();
    const plain = tenBlocks();
    const dictionary = dictionaries.due(0);
    assert.ok(dictionary !== undefined);
    dictionaries.use(dictionary);
    const blocks = tenBlocks(dictionaries);
    const sum = (all: Buffer[]) => all.reduce((bytes, one) => bytes + one.length, 0);
    assert.ok(sum(blocks) < 0.7 * sum(plain), `${sum(blocks)} of ${sum(plain)}`);
    // Where it was made they come behind others.
    const bytes = Buffer.concat([fileHeader(), plain[0] as Buffer, twice(dictionary).bytes, ...blocks]);
    const whole = await read(t, bytes);
    assert.deepEqual([whole.lines, whole.damaged], [[...ALL.slice(0, 4), ...ALL], []]);
    const rest = await read(t, bytes, whole.blocks[6]);
    assert.deepEqual([rest.lines, rest.damaged], [ALL.slice(20), []]);
  });

  test('of before and after a new one are both read in a segment that begins with both', async (t) => {
    const dictionaries = learnt();
    const blocks: Buffer[] = [];
    for (const atMs of [0, HOUR_MS]) {
      const dictionary = dictionaries.due(atMs);
      assert.ok(dictionary !== undefined);
      dictionaries.use(dictionary);
      assert.equal(dictionaries.due(atMs + HOUR_MS), undefined, 'not before it has learnt something new');
      blocks.push(...tenBlocks(dictionaries));
      dictionaries.learn(randomBytes(96 * 1024));
      assert.equal(dictionaries.due(atMs + HOUR_MS - 1), undefined, 'not before an hour');
    }
    const opening = dictionaries.opening().map(({ bytes }) => bytes);
    assert.equal(opening.length, 4);
    const { lines, damaged } = await read(t, Buffer.concat([fileHeader(), ...opening, ...blocks]));
    assert.deepEqual([lines, damaged], [[...ALL, ...ALL], []]);
  });

  test('are all read though one of its two copies is damaged, and told as damage where both are', async (t) => {
    const dictionaries = learnt();
    const dictionary = dictionaries.due(0);
    assert.ok(dictionary !== undefined);
    dictionaries.use(dictionary);
    const pair = twice(dictionary).bytes;
    const bytes = Buffer.concat([fileHeader(), pair, ...tenBlocks(dictionaries)]);
    const flipped = (...places: number[]) => {
      const broken = Buffer.from(bytes);
      for (const at of places) broken[at] = (broken[at] ?? 0) ^ 1;
      return read(t, broken);
    };
    for (let at = 0; at < pair.length; at += 997) {
      const { lines, damaged } = await flipped(FILE_HEADER_BYTES + at);
      const copy = at < pair.length / 2 ? 0 : pair.length / 2;
      assert.deepEqual([lines, damaged], [ALL, [FILE_HEADER_BYTES + copy]]);
    }
    const none = await flipped(FILE_HEADER_BYTES + 100, FILE_HEADER_BYTES + pair.length / 2 + 100);
    assert.deepEqual([none.lines, none.damaged.length], [[], 12]);
  });

  test('have no place in a file of version 1, which is read as ever', async (t) => {
    const { lines, damaged } = await read(t, Buffer.concat([fileHeader(PLAIN_VERSION), ...tenBlocks()]));
    assert.deepEqual([lines, damaged], [ALL, []]);
  });
});
