/** The whole way of a filter's text without a kernel: parser, printer, compilers for files and for the kernel, translator. */
import assert from 'node:assert/strict';
import type { LinkLayer } from '../../../src/event/link-layer.ts';
import { compileFilter } from '../../../src/filter/compile/compile.ts';
import { translate } from '../../../src/filter/compile/ebpf.ts';
import { FileFilter } from '../../../src/filter/evaluate/file-filter.ts';
import { LiveFilter } from '../../../src/filter/evaluate/judge.ts';
import { kernelPart, kernelPartText } from '../../../src/filter/evaluate/kernel-part.ts';
import { kernelProgram } from '../../../src/filter/evaluate/kernel-program.ts';
import type { Expression } from '../../../src/filter/language/ast.ts';
import { parseFilter } from '../../../src/filter/language/parse.ts';
import { printFilter } from '../../../src/filter/language/print.ts';
import type { Place } from '../../../src/filter/tokens/cursor.ts';
import { KtraceError } from '../../../src/util/errors.ts';
import { randomLiveFilter } from './live-expressions.ts';
import { mutated } from './mutations.ts';
import type { Random } from './random.ts';
import { frame } from './traffic.ts';

const LAYERS: readonly LinkLayer[] = ['ethernet', 'raw', 'ipv4', 'ipv6', 'sll', 'sll2'];
/** The longest filter that is read, and a little more. */
const MOST_CHARS = 8200;
/** Deeper than is read. */
const MOST_DEEP = 130;
/** One in so many is long, or deep. */
const ODD = 50;

export interface ReadCounts {
  inputs: number;
  understood: number;
  /** Compiled for a link layer. */
  compiled: number;
  /** Made into programs of the kernel's, of whole filters and of the kernel's parts. */
  translated: number;
  /** The most CPU that one input took, and that input. */
  slowestMs: number;
  slowest: string;
}

/** Gives all of it `inputs` texts, right and wrong, long and deep ones: all that may be thrown is a filter's error. */
export function fuzzTexts(random: Random, inputs: number): ReadCounts {
  const counts: ReadCounts = { inputs: 0, understood: 0, compiled: 0, translated: 0, slowestMs: 0, slowest: '' };
  while (counts.inputs < inputs) {
    const right = random.below(ODD) === 0 ? oddFilter(random) : randomLiveFilter(random);
    const text = random.below(2) === 0 ? right : mutated(random, right);
    const place = random.pick<Place | undefined>(['live', 'file', undefined]);
    counts.inputs += 1;
    const began = process.cpuUsage();
    take(text, place, random, counts);
    const { user, system } = process.cpuUsage(began);
    const ms = (user + system) / 1000;
    if (ms > counts.slowestMs) Object.assign(counts, { slowestMs: ms, slowest: text });
  }
  return counts;
}

function take(text: string, place: Place | undefined, random: Random, counts: ReadCounts): void {
  const expression = orRefused(text, () => parseFilter(text, place));
  if (expression === undefined) return;
  counts.understood += 1;
  const printed = printFilter(expression);
  // Printed with every qualifier it may be too long to be read again.
  const again = orRefused(printed, () => parseFilter(printed, place), /at most 8192 characters/);
  if (again !== undefined) assert.equal(printFilter(again), printed, text);
  for (const layer of LAYERS) {
    const classic = orRefused(text, () => compileFilter(expression, layer));
    if (classic === undefined) continue;
    counts.compiled += 1;
    if (layer === 'raw' && translate({ ofPacket: classic }) !== undefined) counts.translated += 1;
  }
  if (place === 'file') orRefused(text, () => askFile(expression, random));
  if (place !== 'live') return;
  orRefused(text, () => new LiveFilter(text));
  const part = kernelPart(expression, [8472]);
  if (part === undefined) return;
  orRefused(text, () => parseFilter(kernelPartText(part), 'live'), /at most 8192 characters/);
  if (kernelProgram(part) !== undefined) counts.translated += 1;
}

function askFile(expression: Expression, random: Random): void {
  const filter = new FileFilter(expression, ({ bytes }) => bytes.subarray(14));
  filter.takes({ layer: 'ethernet', ...frame(random, 'ethernet', true), interfaceName: 'eth0' });
}

/** Undefined where a filter's own error comes of it, which says `why`; nothing else may. */
function orRefused<Result>(text: string, work: () => Result, why = /\n {2}.*\n {2} *\^$/s): Result | undefined {
  try {
    return work();
  } catch (error) {
    const isFilters = error instanceof KtraceError && error.code === 'KTRACE_E_FILTER' && why.test(error.message);
    assert.ok(isFilters, `${JSON.stringify(text)}: ${error instanceof Error ? error.stack : String(error)}`);
    return undefined;
  }
}

function oddFilter(random: Random): string {
  return random.below(2) === 0 ? longFilter(random) : deepFilter(random);
}

/** Of any length up to what is read and beyond. */
function longFilter(random: Random): string {
  const length = random.below(MOST_CHARS);
  let text = randomLiveFilter(random);
  while (text.length < length) text += ` ${random.pick(['and', 'or', 'and not', 'or not'])} ${randomLiveFilter(random)}`;
  return text;
}

/** Of any depth up to what is read and beyond, of one kind or of several. */
function deepFilter(random: Random): string {
  const depth = random.below(MOST_DEEP);
  const kinds = [
    (inner: string) => `(${inner})`,
    (inner: string) => `not ${inner}`,
    (inner: string) => `tcp and (${inner})`,
    (inner: string) => `not (${inner} or udp)`,
  ];
  const isArithmetic = random.below(3) === 0;
  const sums = [
    (inner: string) => `1 + (${inner})`,
    (inner: string) => `tcp[${inner}]`,
    (inner: string) => `- (${inner})`,
    (inner: string) => `(${inner}) * 2`,
  ];
  const wraps = isArithmetic ? sums : kinds;
  const only = random.below(2) === 0 ? [random.pick(wraps)] : wraps;
  let text = isArithmetic ? 'len' : randomLiveFilter(random);
  for (let count = 0; count < depth; count++) text = random.pick(only)(text);
  return isArithmetic ? `${text} = ${random.pick(['1', 'len', text])}` : text;
}
