/**
 * Instructions of the kernel's BPF machine (RFC 9669), eight bytes each, for machines whose bytes are in little-endian order. As far as a filter needs
 * them; jumps lead forward only.
 */

/** A program as the kernel takes it; a wide load of kind {@link MAP_BY_INDEX} names one of `maps`. */
export interface KernelProgram {
  code: Uint8Array;
  maps: readonly string[];
}

export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
type Comparison = 'jeq' | 'jne' | 'jgt' | 'jge' | 'jlt' | 'jle' | 'jset';
type Operation = 'add' | 'sub' | 'mul' | 'div' | 'or' | 'and' | 'lsh' | 'rsh' | 'mod' | 'xor' | 'mov';
type Size = 1 | 2 | 4;

/** A place that is jumped to. */
export interface Label {
  at: number;
}

interface Encoded {
  opcode: number;
  to: Register;
  from: number;
  offset: number;
  value: number;
  label?: Label;
}

const COMPARISONS: Record<Comparison, number> = {
  jeq: 0x10,
  jgt: 0x20,
  jge: 0x30,
  jset: 0x40,
  jne: 0x50,
  jlt: 0xa0,
  jle: 0xb0,
};
const OPERATIONS: Record<Operation, number> = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  mod: 0x90,
  xor: 0xa0,
  mov: 0xb0,
};
const SIZES: Record<Size, number> = { 1: 0x10, 2: 0x08, 4: 0x00 };
const CLASS = { loadX: 0x61, storeNumber: 0x62, storeX: 0x63, alu32: 0x04, jump64: 0x05, jump32: 0x06, alu64: 0x07 } as const;
const BY_REGISTER = 0x08;
const [WIDE_LOAD, NEGATE_32, BIG_ENDIAN, GOTO, CALL, EXIT, ATOMIC_64] = [0x18, 0x84, 0xdc, 0x05, 0x85, 0x95, 0xdb] as const;
/** `BPF_PSEUDO_MAP_IDX`: the value is the number of a map. */
const MAP_BY_INDEX = 5;
const INSTRUCTION_BYTES = 8;

/** Collects a program; `finish` gives it when every label has its place. */
export class Assembly {
  readonly #maps: readonly string[];
  readonly #instructions: Encoded[] = [];

  constructor(maps: readonly string[]) {
    this.#maps = maps;
  }

  get length(): number {
    return this.#instructions.length;
  }

  label(): Label {
    return { at: -1 };
  }

  place(label: Label): void {
    label.at = this.length;
  }

  move64(to: Register, from: Register): void {
    this.#add(CLASS.alu64 | BY_REGISTER | OPERATIONS.mov, to, from);
  }

  add64(to: Register, value: number): void {
    this.#add(CLASS.alu64 | OPERATIONS.add, to, 0, 0, value);
  }

  add64By(to: Register, by: Register): void {
    this.#add(CLASS.alu64 | BY_REGISTER | OPERATIONS.add, to, by);
  }

  /** Clears the upper half. */
  move32(to: Register, from: Register): void {
    this.alu32By('mov', to, from);
  }

  alu32(operation: Operation, to: Register, value: number): void {
    this.#add(CLASS.alu32 | OPERATIONS[operation], to, 0, 0, value);
  }

  alu32By(operation: Operation, to: Register, by: Register): void {
    this.#add(CLASS.alu32 | BY_REGISTER | OPERATIONS[operation], to, by);
  }

  negate32(register: Register): void {
    this.#add(NEGATE_32, register);
  }

  toBigEndian(register: Register, size: 2 | 4): void {
    this.#add(BIG_ENDIAN, register, 0, 0, size * 8);
  }

  load(size: Size, to: Register, from: Register, offset: number): void {
    this.#add(CLASS.loadX | SIZES[size], to, from, offset);
  }

  store(size: Size, to: Register, offset: number, from: Register): void {
    this.#add(CLASS.storeX | SIZES[size], to, from, offset);
  }

  /** 32 bits. */
  storeNumber(to: Register, offset: number, value: number): void {
    this.#add(CLASS.storeNumber, to, 0, offset, value);
  }

  loadMap(to: Register, map: number): void {
    this.#add(WIDE_LOAD, to, MAP_BY_INDEX, 0, map);
    this.#add(0, 0);
  }

  atomicAdd64(to: Register, offset: number, by: Register): void {
    this.#add(ATOMIC_64, to, by, offset);
  }

  call(helper: number): void {
    this.#add(CALL, 0, 0, 0, helper);
  }

  exit(): void {
    this.#add(EXIT, 0);
  }

  goto(label: Label): void {
    this.#jump(GOTO, 0, 0, 0, label);
  }

  jump64(comparison: Comparison, register: Register, value: number, label: Label): void {
    this.#jump(CLASS.jump64 | COMPARISONS[comparison], register, 0, value, label);
  }

  jump64By(comparison: Comparison, register: Register, by: Register, label: Label): void {
    this.#jump(CLASS.jump64 | BY_REGISTER | COMPARISONS[comparison], register, by, 0, label);
  }

  jump32(comparison: Comparison, register: Register, value: number, label: Label): void {
    this.#jump(CLASS.jump32 | COMPARISONS[comparison], register, 0, value, label);
  }

  jump32By(comparison: Comparison, register: Register, by: Register, label: Label): void {
    this.#jump(CLASS.jump32 | BY_REGISTER | COMPARISONS[comparison], register, by, 0, label);
  }

  /** Without what cannot be reached: the verifier refuses such. */
  finish(): KernelProgram {
    const places = this.#reachable();
    const code = Buffer.alloc(places.filter((place) => place !== undefined).length * INSTRUCTION_BYTES);
    this.#instructions.forEach(({ opcode, to, from, offset, value, label }, index) => {
      const place = places[index];
      if (place === undefined) return;
      const at = place * INSTRUCTION_BYTES;
      code[at] = opcode;
      code[at + 1] = to | (from << 4);
      code.writeInt16LE(label === undefined ? offset : (places[label.at] as number) - place - 1, at + 2);
      code.writeInt32LE(value | 0, at + 4);
    });
    return { code, maps: this.#maps };
  }

  /** The new place of each instruction; jumps lead forward, so one pass finds all. */
  #reachable(): (number | undefined)[] {
    const isReached = new Set([0]);
    let count = 0;
    return this.#instructions.map(({ opcode, label }, index) => {
      if (!isReached.has(index)) return undefined;
      if (label !== undefined) isReached.add(label.at);
      if (opcode !== GOTO && opcode !== EXIT) isReached.add(index + 1);
      return count++;
    });
  }

  #jump(opcode: number, to: Register, from: number, value: number, label: Label): void {
    this.#instructions.push({ opcode, to, from, offset: 0, value, label });
  }

  #add(opcode: number, to: Register, from = 0, offset = 0, value = 0): void {
    this.#instructions.push({ opcode, to, from, offset, value });
  }
}
