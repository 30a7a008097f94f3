import type { Alu, Instruction } from './program.ts';

/** Scratch memory of all runs: nothing is read from it before the same run wrote it. */
const memory = new Uint32Array(16);

/** Ranges of bytes `[from, to)` that are not known. */
export type Holes = readonly (readonly [from: number, to: number])[];

/**
 * Does the program match a packet? `view` holds the captured bytes from the beginning of the link layer; `wireBytes` is how long the packet
 * was. A load beyond the captured bytes, and a division by zero, end it without a match, as the kernel and libpcap do: what is given is a
 * number then and where bytes are not known, up to where it read, 0 when more bytes would change nothing.
 */
export function decide(
  program: readonly Instruction[],
  view: DataView,
  wireBytes: number | undefined,
  holes: Holes,
): boolean | number {
  let a = 0;
  let x = 0;
  for (let at = 0; at < program.length; at++) {
    const step = program[at] as Instruction;
    switch (step.op) {
      case 'return':
        return step.isMatch;
      case 'branch': {
        const operand = step.k ?? x;
        at = (holds(step.jump, a, operand) ? step.yes : step.no) - 1;
        break;
      }
      case 'load':
      case 'load-indirect': {
        const offset = step.op === 'load' ? step.k : step.k + x;
        if (offset + step.size > view.byteLength || isUnknown(holes, offset, step.size)) return offset + step.size;
        a = step.size === 1 ? view.getUint8(offset) : step.size === 2 ? view.getUint16(offset) : view.getUint32(offset);
        break;
      }
      case 'index-header':
        if (step.k >= view.byteLength || isUnknown(holes, step.k, 1)) return step.k + 1;
        x = (view.getUint8(step.k) & 0xf) * 4;
        break;
      case 'load-length':
        if (wireBytes === undefined) return 0;
        a = wireBytes;
        break;
      case 'load-number':
        a = step.k;
        break;
      case 'load-memory':
        a = memory[step.m] as number;
        break;
      case 'index-memory':
        x = memory[step.m] as number;
        break;
      case 'store':
        memory[step.m] = a;
        break;
      case 'to-index':
        x = a;
        break;
      case 'negate':
        a = -a >>> 0;
        break;
      case 'alu': {
        const operand = step.k ?? x;
        if (operand === 0 && (step.alu === 'div' || step.alu === 'mod')) return 0;
        a = calculate(step.alu, a, operand);
      }
    }
  }
  return false;
}

function isUnknown(holes: Holes, offset: number, size: number): boolean {
  for (const [from, to] of holes) if (offset < to && offset + size > from) return true;
  return false;
}

function holds(jump: 'jeq' | 'jgt' | 'jge' | 'jset', a: number, operand: number): boolean {
  if (jump === 'jeq') return a === operand;
  if (jump === 'jgt') return a > operand;
  return jump === 'jge' ? a >= operand : (a & operand) !== 0;
}

/** Unsigned, modulo 2³²; a shift by 32 or more leaves nothing. */
function calculate(alu: Alu, a: number, b: number): number {
  switch (alu) {
    case 'add':
      return (a + b) >>> 0;
    case 'sub':
      return (a - b) >>> 0;
    case 'mul':
      return Math.imul(a, b) >>> 0;
    case 'div':
      return Math.floor(a / b);
    case 'mod':
      return a % b;
    case 'and':
      return (a & b) >>> 0;
    case 'or':
      return (a | b) >>> 0;
    case 'xor':
      return (a ^ b) >>> 0;
    case 'lsh':
      return b > 31 ? 0 : (a << b) >>> 0;
    case 'rsh':
      return b > 31 ? 0 : a >>> b;
  }
}
