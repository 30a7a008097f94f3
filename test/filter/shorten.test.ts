import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { LinkLayer } from '../../src/event/link-layer.ts';
import { compileFilter } from '../../src/filter/compile/compile.ts';
import type { Instruction } from '../../src/filter/compile/program.ts';
import { decide } from '../../src/filter/compile/run.ts';
import { shortened } from '../../src/filter/compile/shorten.ts';
import { kernelPart } from '../../src/filter/evaluate/kernel-part.ts';
import { kernelCode, kernelProgram } from '../../src/filter/evaluate/kernel-program.ts';
import { parseFilter } from '../../src/filter/language/parse.ts';
import { SEED } from '../support/seed.ts';
import { randomFilter } from './support/expressions.ts';
import { randomOf } from './support/random.ts';
import { FILTERS } from './support/table.ts';
import { type Frame, frame } from './support/traffic.ts';

const LAYERS: readonly LinkLayer[] = ['ethernet', 'raw', 'sll', 'sll2'];
const PACKETS = 300;
const RANDOM_FILTERS = 300;
const TWENTY = Array.from({ length: 20 }, (_, term) => `tcp[${12 + (term % 4)}] = ${201 + term}`).join(' or ');

describe('a program without tests whose outcome is known', () => {
  for (const layer of LAYERS)
    test(`decides as the whole one, of cut packets too (${layer}, seed ${SEED})`, () => {
      const random = randomOf(SEED + 21);
      const frames = Array.from({ length: PACKETS }, () => frame(random, layer, true));
      const filters = [...FILTERS, TWENTY, ...Array.from({ length: RANDOM_FILTERS }, () => randomFilter(random))];
      const counts = { programs: 0, shorter: 0 };
      for (const filter of filters) {
        const program = compiled(filter, layer);
        if (program === undefined) continue;
        const short = shortened(program);
        assert.ok(short.length <= program.length, filter);
        for (const one of frames) assert.equal(asked(short, one), asked(program, one), filter);
        counts.programs += 1;
        if (short.length < program.length) counts.shorter += 1;
      }
      assert.ok(counts.shorter > counts.programs / 4, JSON.stringify(counts));
    });

  test('asks once for the protocol of 20 terms on its bytes', () => {
    const part = (text: string) => kernelPart(parseFilter(text, 'live')!, [])!;
    const [one, twenty] = ['tcp[13] = 255', TWENTY].map((text) => kernelCode(part(text)).length);
    // Each term has three steps of its own: the header's length, the byte, and what it is compared with.
    assert.ok((twenty as number) <= (one as number) + 19 * 3, `${one} and ${twenty} steps`);
    assert.ok((kernelProgram(part(TWENTY))?.code.length ?? 0) / 8 < 450);
  });

  test('forgets what is known of one way alone', () => {
    for (const text of ['(tcp or udp) and tcp', '(tcp or udp or icmp) and (udp or icmp)', 'not (tcp or udp) and (ip or tcp)']) {
      const program = compiled(text, 'raw') as Instruction[];
      for (const proto of [1, 6, 17, 50]) {
        const bytes = Buffer.alloc(40);
        bytes[0] = 0x45;
        bytes[9] = proto;
        assert.equal(
          asked(shortened(program), { bytes, wireBytes: 40 }),
          asked(program, { bytes, wireBytes: 40 }),
          `${text} ${proto}`,
        );
      }
    }
  });
});

function compiled(filter: string, layer: LinkLayer): Instruction[] | undefined {
  try {
    return compileFilter(parseFilter(filter), layer);
  } catch {
    return undefined;
  }
}

/** With how far it read, where it ends there. */
function asked(program: readonly Instruction[], { bytes, wireBytes }: Frame): boolean | number {
  return decide(program, new DataView(bytes.buffer, bytes.byteOffset, bytes.length), wireBytes, []);
}
