import { BODY, CAPTURE, FILTERED, SIGHTING, STATS } from '../../event/layout.ts';
import { Assembly, type KernelProgram, type Label, type Register } from './ebpf-assembly.ts';
import type { Alu, Instruction, Jump, LoadSize } from './program.ts';

/** Bytes of a packet that the kernel side captures at most. */
const CAPTURED_BYTES = CAPTURE.most;
/** Longer programs are not made: the verifier takes a tenth of a second for one of them, in which the agent stands still. */
const MAX_INSTRUCTIONS = 16_000;
const MAPS = { scratches: 0, bodies: 1, stats: 2 } as const;
const HELPER = { mapLookup: 1, tailCall: 12 } as const;
/** TC_ACT_UNSPEC: the next program. */
const GO_ON = -1;

/** A and X of the classic machine, and what the program works with; helpers keep r6 to r9 alone. */
const [CONTEXT, SCRATCH, CAPTURED, A, X, M1, M2] = [6, 7, 8, 9, 5, 2, 3] as const satisfies Register[];
const FRAME = 10;
const MEMORY_WORD = -16;

/** Classic programs for packets without a link layer. A packet is told when both that there are take it. */
export interface Asked {
  /** Answers alike for all packets of a flow that have no IPv6 extension headers; what it leaves out, its flow's next packets need not ask. */
  ofFlow?: readonly Instruction[];
  ofPacket?: readonly Instruction[];
  /** What opens its flow at a hook passes without being asked as a packet. */
  passesNewFlows?: boolean;
}

/**
 * Both as a program of the kernel's own, over the bytes that its scratch memory holds. It goes on at the body for what is told, or at one of those for what
 * is not. A load beyond the captured bytes, and a division by zero, let the packet through: user space counts them. Undefined when it would be longer
 * than the kernel is given.
 */
export function translate({ ofFlow, ofPacket, passesNewFlows = false }: Asked): KernelProgram | undefined {
  const out = new Assembly(Object.keys(MAPS));
  const [pass, untold, untoldFlow, next] = [out.label(), out.label(), out.label(), out.label()];
  begin(out, pass);
  if (ofFlow !== undefined)
    writeProgram(out, ofFlow, { match: ofPacket === undefined ? pass : next, mismatch: untoldFlow, pass });
  if (ofPacket !== undefined) {
    out.place(next);
    if (passesNewFlows) {
      out.load(4, 1, SCRATCH, FILTERED.flowIsNew);
      out.jump64('jne', 1, 0, pass);
    }
    writeProgram(out, ofPacket, { match: pass, mismatch: untold, pass });
  }
  end(out, { pass, untold, untoldFlow });
  return out.length > MAX_INSTRUCTIONS ? undefined : out.finish();
}

function writeProgram(out: Assembly, program: readonly Instruction[], targets: Omit<Targets, 'places'>): void {
  out.alu32('mov', A, 0);
  out.alu32('mov', X, 0);
  for (const word of memoryWords(program)) out.storeNumber(FRAME, wordAt(word), 0);
  const places = program.map(() => out.label());
  program.forEach((step, at) => {
    out.place(places[at] as Label);
    write(out, step, { ...targets, places });
  });
}

/** Which words of scratch memory are used: those are cleared first, or the verifier would see them read unwritten. */
function memoryWords(program: readonly Instruction[]): Set<number> {
  return new Set(program.flatMap((step) => ('m' in step ? [step.m] : [])));
}

function begin(out: Assembly, pass: Label): void {
  out.move64(CONTEXT, 1);
  out.storeNumber(FRAME, -4, 0);
  out.move64(2, FRAME);
  out.add64(2, -4);
  out.loadMap(1, MAPS.scratches);
  out.call(HELPER.mapLookup);
  out.jump64('jeq', 0, 0, pass);
  out.move64(SCRATCH, 0);
  out.load(2, CAPTURED, SCRATCH, SIGHTING.dataLen);
}

interface Targets {
  places: readonly Label[];
  match: Label;
  mismatch: Label;
  /** For what cannot be answered. */
  pass: Label;
}

function write(out: Assembly, step: Instruction, { places, match, mismatch, pass }: Targets): void {
  switch (step.op) {
    case 'return':
      out.goto(step.isMatch ? match : mismatch);
      return;
    case 'branch':
      writeBranch(out, step.jump, step.k, places[step.yes] as Label, places[step.no] as Label);
      return;
    case 'load':
      writeLoad(out, A, step.size, step.k, pass);
      return;
    case 'load-indirect':
      writeIndirect(out, step.size, step.k, pass);
      return;
    case 'index-header':
      writeLoad(out, X, 1, step.k, pass);
      out.alu32('and', X, 0xf);
      out.alu32('lsh', X, 2);
      return;
    case 'load-length':
      out.load(4, A, SCRATCH, SIGHTING.len);
      return;
    case 'load-number':
      out.alu32('mov', A, step.k);
      return;
    case 'load-memory':
      out.load(4, A, FRAME, wordAt(step.m));
      return;
    case 'index-memory':
      out.load(4, X, FRAME, wordAt(step.m));
      return;
    case 'store':
      out.store(4, FRAME, wordAt(step.m), A);
      return;
    case 'to-index':
      out.move32(X, A);
      return;
    case 'negate':
      out.negate32(A);
      return;
    case 'alu':
      writeAlu(out, step.alu, step.k, pass);
  }
}

function wordAt(word: number): number {
  return MEMORY_WORD - 4 * word;
}

function writeBranch(out: Assembly, jump: Jump, k: number | undefined, yes: Label, no: Label): void {
  if (k === undefined) out.jump32By(jump, A, X, yes);
  else out.jump32(jump, A, k, yes);
  out.goto(no);
}

function writeLoad(out: Assembly, to: Register, size: LoadSize, offset: number, pass: Label): void {
  if (offset + size > CAPTURED_BYTES) {
    out.goto(pass);
    return;
  }
  out.jump64('jlt', CAPTURED, offset + size, pass);
  out.load(size, to, SCRATCH, SIGHTING.data + offset);
  if (size !== 1) out.toBigEndian(to, size);
}

/** From X + k, in 64 bits: the classic machine does not wrap around. */
function writeIndirect(out: Assembly, size: LoadSize, k: number, pass: Label): void {
  if (k + size > CAPTURED_BYTES) {
    out.goto(pass);
    return;
  }
  out.move32(M1, X);
  out.add64(M1, k);
  // Once for the verifier, which knows a constant alone, and once for what was captured.
  out.jump64('jgt', M1, CAPTURED_BYTES - size, pass);
  out.move64(M2, M1);
  out.add64(M2, size);
  out.jump64By('jgt', M2, CAPTURED, pass);
  out.move64(M2, SCRATCH);
  out.add64By(M2, M1);
  out.load(size, A, M2, SIGHTING.data);
  if (size !== 1) out.toBigEndian(A, size);
}

function writeAlu(out: Assembly, alu: Alu, k: number | undefined, pass: Label): void {
  const isDivision = alu === 'div' || alu === 'mod';
  const isShift = alu === 'lsh' || alu === 'rsh';
  if (k !== undefined) {
    if (isDivision && k === 0) out.goto(pass);
    else if (isShift && k > 31) out.alu32('mov', A, 0);
    else out.alu32(alu, A, k);
    return;
  }
  if (isDivision) out.jump32('jeq', X, 0, pass);
  if (!isShift) {
    out.alu32By(alu, A, X);
    return;
  }
  const isShort = out.label();
  const done = out.label();
  out.jump32('jle', X, 31, isShort);
  out.alu32('mov', A, 0);
  out.goto(done);
  out.place(isShort);
  out.alu32By(alu, A, X);
  out.place(done);
}

function end(out: Assembly, { pass, untold, untoldFlow }: Record<'pass' | 'untold' | 'untoldFlow', Label>): void {
  const missing = out.label();
  for (const [label, body] of [
    [untold, BODY.untold],
    [untoldFlow, BODY.untoldFlow],
  ] as const) {
    out.place(label);
    goOnAt(out, body);
    out.goto(missing);
  }
  out.place(pass);
  goOnAt(out, BODY.told);
  // A tail call comes back only when there is no such body.
  out.place(missing);
  out.storeNumber(FRAME, -4, 0);
  out.move64(2, FRAME);
  out.add64(2, -4);
  out.loadMap(1, MAPS.stats);
  out.call(HELPER.mapLookup);
  const leave = out.label();
  out.jump64('jeq', 0, 0, leave);
  out.alu32('mov', 1, 1);
  out.atomicAdd64(0, STATS.noBody, 1);
  out.place(leave);
  out.alu32('mov', 0, GO_ON);
  out.exit();
}

function goOnAt(out: Assembly, body: number): void {
  out.move64(1, CONTEXT);
  out.loadMap(2, MAPS.bodies);
  out.alu32('mov', 3, body);
  out.call(HELPER.tailCall);
}
