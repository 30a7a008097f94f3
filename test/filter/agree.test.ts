import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { LinkLayer } from '../../src/event/link-layer.ts';
import type { Expression } from '../../src/filter/ast.ts';
import { compileFilter } from '../../src/filter/compile.ts';
import { parseFilter } from '../../src/filter/parse.ts';
import { printFilter } from '../../src/filter/print.ts';
import { decide } from '../../src/filter/run.ts';
import { KtraceError } from '../../src/util/errors.ts';
import { SEED } from '../support/seed.ts';
import { randomFilter } from './support/expressions.ts';
import { randomOf } from './support/random.ts';
import { FILTERS } from './support/table.ts';
import { NO_TCPDUMP, tcpdumpChoice } from './support/tcpdump.ts';
import { type Frame, frame, writeFrames } from './support/traffic.ts';

const LAYERS: LinkLayer[] = ['ethernet', 'raw', 'sll', 'sll2'];
const PACKETS = 400;
const RANDOM_FILTERS = 150;

const folder = mkdtempSync(join(tmpdir(), 'ktrace-filter-'));
after(() => rmSync(folder, { recursive: true }));

describe('the filter language and tcpdump', { skip: NO_TCPDUMP }, () => {
  for (const layer of LAYERS) {
    test(`choose the same packets by ${FILTERS.length} filters (${layer})`, () => {
      const frames = framesOf(layer, false, SEED);
      const path = join(folder, `whole-${layer}.pcap`);
      writeFrames(path, layer, frames);
      let compared = 0;
      for (const filter of FILTERS) {
        const theirs = tcpdumpChoice(path, filter, []);
        const ours = ourChoice(filter, layer, frames);
        if (typeof theirs === 'string') {
          // Its optimizer refuses what no packet can match; ours are then none, or the same refusal.
          assert.ok(
            typeof ours === 'string' || (/rejects all packets/.test(theirs) && ours.length === 0),
            `${filter}: ${theirs}`,
          );
          continue;
        }
        assert.deepEqual(ours, theirs, filter);
        compared += 1;
      }
      assert.ok(compared > 100, `only ${compared} filters have a meaning on ${layer}`);
    });

    test(`choose the same packets, cut ones too, by ${FILTERS.length} filters (${layer})`, () => {
      const frames = framesOf(layer, true, SEED + 4);
      const path = join(folder, `table-cut-${layer}.pcap`);
      writeFrames(path, layer, frames);
      let compared = 0;
      for (const filter of FILTERS) {
        const theirs = tcpdumpChoice(path, filter, ['-O']);
        const ours = ourChoice(filter, layer, frames);
        if (typeof ours === 'string' || typeof theirs === 'string') {
          assert.equal(typeof ours, typeof theirs, `${filter}: ${String(ours)}; ${String(theirs)}`);
          continue;
        }
        assert.deepEqual(ours, theirs, filter);
        compared += 1;
      }
      assert.ok(compared > 100, `only ${compared} filters have a meaning on ${layer}`);
    });

    test(`choose the same packets, cut ones too, by ${RANDOM_FILTERS} generated filters (${layer}, seed ${SEED})`, () => {
      const random = randomOf(SEED + 1);
      const frames = framesOf(layer, true, SEED + 2);
      const path = join(folder, `cut-${layer}.pcap`);
      writeFrames(path, layer, frames);
      let compared = 0;
      for (let count = 0; count < RANDOM_FILTERS; count++) {
        const filter = randomFilter(random);
        const theirs = tcpdumpChoice(path, filter, ['-O']);
        const ours = ourChoice(filter, layer, frames);
        if (typeof ours === 'string') assert.equal(typeof theirs, 'string', `${filter}: only we refuse it: ${ours}`);
        if (typeof ours === 'string' || typeof theirs === 'string') continue;
        assert.deepEqual(ours, theirs, filter);
        compared += 1;
      }
      assert.ok(compared > RANDOM_FILTERS / 2, `only ${compared} filters were compared`);
    });
  }

  test('mean the same as their own text once printed', () => {
    const random = randomOf(SEED + 3);
    for (let count = 0; count < 3000; count++) {
      const filter = randomFilter(random);
      const expression = parsed(filter);
      if (expression === undefined) continue;
      const printed = printFilter(expression);
      assert.equal(printFilter(parseFilter(printed) as typeof expression), printed, filter);
      assert.deepEqual(compiled(printed), compiled(filter), filter);
    }
  });
});

function framesOf(layer: LinkLayer, canBeCut: boolean, seed: number): Frame[] {
  const random = randomOf(seed);
  return Array.from({ length: PACKETS }, () => frame(random, layer, canBeCut));
}

function ourChoice(filter: string, layer: LinkLayer, frames: Frame[]): number[] | string {
  try {
    const program = compileFilter(parseFilter(filter), layer);
    return frames.flatMap(({ bytes, wireBytes }, index) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      return decide(program, view, wireBytes, []) === true ? [index] : [];
    });
  } catch (error) {
    if (error instanceof KtraceError) return error.message;
    throw error;
  }
}

/** Undefined for what arithmetic forbids, such as a division by 0. */
function parsed(filter: string): Expression | undefined {
  try {
    return parseFilter(filter);
  } catch (error) {
    assert.ok(error instanceof KtraceError);
    return undefined;
  }
}

function compiled(filter: string): unknown {
  try {
    return compileFilter(parseFilter(filter), 'ethernet');
  } catch (error) {
    return (error as KtraceError).code;
  }
}
