import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { LinkLayer } from '../../src/event/link-layer.ts';
import { compileFilter } from '../../src/filter/compile/compile.ts';
import { decide } from '../../src/filter/compile/run.ts';
import type { Expression } from '../../src/filter/language/ast.ts';
import { parseFilter } from '../../src/filter/language/parse.ts';
import { printFilter } from '../../src/filter/language/print.ts';
import { ETHER_TYPES, IP_PROTOCOLS, PORTS } from '../../src/filter/tokens/words.ts';
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
/** By these tcpdump takes some packets that end before a byte of theirs that the filter reads: its optimizer has removed or delayed the read. */
const DIFFERING_WHERE_OPTIMIZED = new Set([
  'net 0.0.0.0/0',
  'net fe80::/10',
  'net 2001:db8::/32',
  'ip6 net ff00::/8',
  'host (10.0.0.1 or 10.0.0.2)',
  'host 10.0.0.1 or 10.0.0.2',
  'port 80 or 443 or 8080',
  '(vlan and udp) or ip',
  'ip6 proto 60 or ip6 proto 44',
]);
/** What libpcap refuses and ktrace takes: it looks at the index of a right side `ip[0]` as if it were the value (`gen_arth` in gencode.c, 1.10.3). */
const KNOWN_REFUSALS = /division by zero|modulus by zero|shift by more than 31 bits/;

const folder = mkdtempSync(join(tmpdir(), 'ktrace-filter-'));
after(() => rmSync(folder, { recursive: true }));

describe('the filter language and tcpdump', { skip: NO_TCPDUMP }, () => {
  test('differ in cut packets, where tcpdump optimizes, by no more filters of the table than are known', () => {
    const differing = new Set<string>();
    for (const layer of ['ethernet', 'raw'] as const) {
      const path = join(folder, `optimized-${layer}.pcap`);
      writeFrames(path, layer, framesOf(layer, true, SEED + 4));
      for (const filter of FILTERS) {
        const [plain, optimized] = [['-O'], []].map((flags) => tcpdumpChoice(path, filter, flags));
        // What no packet can match it refuses: nothing is chosen then.
        const choice = typeof optimized === 'string' && /rejects all packets/.test(optimized) ? [] : optimized;
        if (typeof plain !== 'string' && JSON.stringify(plain) !== JSON.stringify(choice)) differing.add(filter);
      }
    }
    const unknown = [...differing].filter((filter) => !DIFFERING_WHERE_OPTIMIZED.has(filter));
    assert.deepEqual(unknown, []);
    assert.ok(differing.size > 0, 'nothing was compared');
  });

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
        if (typeof ours === 'string' || typeof theirs === 'string') {
          const isKnown = typeof theirs === 'string' && KNOWN_REFUSALS.test(theirs);
          assert.ok(
            typeof ours === typeof theirs || isKnown,
            `${filter}: only one refuses it: ${String(ours)}; ${String(theirs)}`,
          );
          continue;
        }
        assert.deepEqual(ours, theirs, filter);
        compared += 1;
      }
      assert.ok(compared > RANDOM_FILTERS / 2, `only ${compared} filters were compared`);
    });
  }

  test('mean the same by every name of a port and a protocol, as far as this machine knows it', () => {
    const frames = framesOfNames();
    const path = join(folder, 'names.pcap');
    writeFrames(path, 'ethernet', frames);
    const filters = [
      ...Object.keys(PORTS).map((name) => `port ${name}`),
      ...['ip proto', 'ip6 proto', 'proto'].flatMap((word) => Object.keys(IP_PROTOCOLS).map((name) => `${word} \\${name}`)),
      ...Object.keys(ETHER_TYPES).map((name) => `ether proto \\${name}`),
    ];
    const unknown = new Set<string>();
    for (const filter of filters) {
      const theirs = tcpdumpChoice(path, filter, []);
      // Names are those of the machine's /etc/services and /etc/protocols for tcpdump, and a table's for us.
      if (typeof theirs === 'string') {
        assert.match(theirs, /unknown (port|ip proto)/, filter);
        unknown.add(filter);
        continue;
      }
      assert.ok(theirs.length > 0, filter);
      assert.deepEqual(ourChoice(filter, 'ethernet', frames), theirs, filter);
    }
    assert.ok(unknown.size < filters.length / 2, `this machine knows no ${[...unknown].join(', ')}`);
  });

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

/** Of each port that has a name every protocol with ports, of each protocol that has one a packet, in IPv4 and IPv6; of each type a frame. */
function framesOfNames(): Frame[] {
  const carried = [
    ...Object.values(PORTS).flatMap(({ port }) => [6, 17, 132].map((proto) => ({ proto, port }))),
    ...Object.values(IP_PROTOCOLS).map((proto) => ({ proto, port: 1 })),
  ];
  const packets = carried.flatMap(({ proto, port }) => {
    const body = Buffer.alloc(20);
    body.writeUInt16BE(1024, 0);
    body.writeUInt16BE(port, 2);
    const four = Buffer.from([0x45, 0, 0, 40, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    const six = Buffer.alloc(40);
    six.set([0x60, 0, 0, 0, 0, 20, proto, 64]);
    return [
      { type: 0x0800, l3: Buffer.concat([four, body]) },
      { type: 0x86dd, l3: Buffer.concat([six, body]) },
    ];
  });
  const others = Object.values(ETHER_TYPES).map((type) => ({ type, l3: Buffer.alloc(46) }));
  return [...packets, ...others].map(({ type, l3 }) => {
    const bytes = Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, type >> 8, type & 255]), l3]);
    return { bytes, wireBytes: bytes.length };
  });
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
