import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { after, describe, test } from 'node:test';
import { runRead } from '../../../src/client/read/read.ts';
import type { LinkLayer } from '../../../src/event/link-layer.ts';
import { layerOf } from '../../../src/store/capture/captured-packet.ts';
import { payloadOf } from '../../../src/store/capture/link-payload.ts';
import { CAPTURE_KINDS, type CaptureKind, captureBytes } from '../../filter/support/capture-bytes.ts';
import { randomOf } from '../../filter/support/random.ts';
import { FILTERS } from '../../filter/support/table.ts';
import { NO_TCPDUMP, tcpdumpChoice } from '../../filter/support/tcpdump.ts';
import { type Frame, frame } from '../../filter/support/traffic.ts';
import { SEED } from '../../support/seed.ts';

/** Link type, and what its packets are made as. 228 and 229 are IPv4 and IPv6 whatever their first byte says. */
const LINK_TYPES: readonly [number, LinkLayer][] = [
  [1, 'ethernet'],
  [101, 'raw'],
  [113, 'sll'],
  [276, 'sll2'],
  [228, 'raw'],
  [229, 'raw'],
];
const PACKETS = 200;
/** Every so many-th filter of the table on each file of the usual kind, and of every other kind. */
const [STEP, OTHER_STEP] = [5, 25];
const USUAL: CaptureKind = { kind: 'pcap', endian: 'LE', unit: 'us' };
const SNAP_BYTES = 48;

const folder = mkdtempSync(join(tmpdir(), 'ktrace-read-agree-'));
after(() => rmSync(folder, { recursive: true }));

describe('ktrace read shows just the IP packets that tcpdump takes of a file', { skip: NO_TCPDUMP }, () => {
  for (const [linkType, layer] of LINK_TYPES) {
    test(`of link type ${linkType}, whole and cut ones (seed ${SEED})`, async () => {
      const frames = framesOf(layer, SEED + linkType);
      await agree(USUAL, linkType, frames, every(STEP, linkType % STEP));
    });
  }

  for (const kind of CAPTURE_KINDS) {
    test(`in ${kind.kind}, ${kind.endian}, with a clock of ${kind.unit}`, async () => {
      for (const [linkType, layer] of LINK_TYPES) await agree(kind, linkType, framesOf(layer, SEED + 9), every(OTHER_STEP, 2));
    });
  }

  test('whose records are longer than the file says', async () => {
    // Of pcap alone: in a pcapng file tcpdump takes it for damage.
    for (const endian of ['LE', 'BE'] as const)
      await agree({ ...USUAL, endian }, 1, framesOf('ethernet', SEED + 11), every(STEP, 0), SNAP_BYTES);
  });
});

async function agree(
  kind: CaptureKind,
  linkType: number,
  frames: readonly Frame[],
  filters: readonly string[],
  snapBytes?: number,
): Promise<void> {
  const path = join(folder, `${kind.kind}-${kind.endian}-${kind.unit}-${linkType}`);
  writeFileSync(path, captureBytes(kind, linkType, frames, snapBytes));
  const layer = layerOf(linkType);
  const isIp = frames.map(({ bytes }) => payloadOf({ layer, bytes: bytes.subarray(0, snapBytes) }) !== undefined);
  let compared = 0;
  for (const filter of filters) {
    const theirs = tcpdumpChoice(path, filter, ['-O']);
    const ours = await shown(path, filter);
    if (typeof theirs === 'string') assert.equal(ours, 'refused', `${filter}: ${theirs}`);
    else {
      const ofIp = theirs.filter((index) => isIp[index]);
      assert.deepEqual(ours, ofIp, filter);
      if (ofIp.length > 0) compared += 1;
    }
  }
  assert.ok(compared > filters.length / 5, `only ${compared} of ${filters.length} filters chose anything`);
}

/** Numbers of the packets, from 0, as their times say. */
async function shown(path: string, filter: string): Promise<number[] | 'refused'> {
  let text = '';
  const sink = () => new Writable({ write: (_chunk, _encoding, done) => done() });
  const stdout = new Writable({
    write: (chunk, _, done) => {
      text += String(chunk);
      done();
    },
  });
  try {
    await runRead(
      { path, words: [filter], output: 'json' },
      {
        stdin: Readable.from([]),
        stdout,
        stderr: sink(),
        interrupt: new AbortController().signal,
        env: {},
        lookUp: () => Promise.reject(new Error('no names')),
      },
    );
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'KTRACE_E_FILTER', `${filter}: ${String(error)}`);
    return 'refused';
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => Date.parse((JSON.parse(line) as { time: string }).time) / 1000);
}

function framesOf(layer: LinkLayer, seed: number): Frame[] {
  const random = randomOf(seed);
  return Array.from({ length: PACKETS }, () => frame(random, layer, true));
}

function every(step: number, first: number): string[] {
  return FILTERS.filter((_, index) => index % step === first);
}
