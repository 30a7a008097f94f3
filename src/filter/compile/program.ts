/**
 * Programs of the classic BPF machine (`bpf(4)`; Linux `Documentation/networking/filter.rst`), as libpcap makes them: accumulator `A`, index
 * register `X`, 16 words of scratch memory, loads from the packet in network order. A load beyond the captured bytes ends the program with
 * "no match", also under a `not`.
 */

export type LoadSize = 1 | 2 | 4;
export type Alu = 'add' | 'sub' | 'mul' | 'div' | 'mod' | 'and' | 'or' | 'xor' | 'lsh' | 'rsh';
export type Jump = 'jeq' | 'jgt' | 'jge' | 'jset';

/** One step without a branch. `k` and `m` are the operand and the scratch word. */
export type Step =
  | { op: 'load'; size: LoadSize; k: number }
  /** From `X` + `k`. */
  | { op: 'load-indirect'; size: LoadSize; k: number }
  | { op: 'load-length' }
  | { op: 'load-number'; k: number }
  | { op: 'load-memory'; m: number }
  | { op: 'store'; m: number }
  | { op: 'index-memory'; m: number }
  /** `X` = 4 × the lower half of the byte at `k`: the length of an IPv4 header. */
  | { op: 'index-header'; k: number }
  | { op: 'to-index' }
  | { op: 'negate' }
  /** With `k`, else with `X`. */
  | { op: 'alu'; alu: Alu; k?: number };

/** Compares `A` with `k`, else with `X`; goes on at the step with the number `yes` or `no`. Jumps lead forward only. */
export interface Branch {
  op: 'branch';
  jump: Jump;
  k?: number;
  yes: number;
  no: number;
}

/** Ends the program. */
export interface Verdict {
  op: 'return';
  isMatch: boolean;
}

export type Instruction = Step | Branch | Verdict;
