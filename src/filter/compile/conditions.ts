import type { Jump, Step } from './program.ts';

/** A filter as a tree of tests on the packet, before it is a program: each test loads something into `A` and compares it. */
export type Condition =
  | { kind: 'constant'; value: boolean }
  | { kind: 'test'; steps: Step[]; jump: Jump; k?: number }
  | { kind: 'not'; of: Condition }
  | { kind: 'and' | 'or'; left: Condition; right: Condition };

export const NEVER: Condition = { kind: 'constant', value: false };
const ALWAYS: Condition = { kind: 'constant', value: true };

/** All of them, tested in this order. */
export function all(...conditions: Condition[]): Condition {
  return chain('and', conditions, ALWAYS);
}

/** Any of them, tested in this order. */
export function any(...conditions: Condition[]): Condition {
  return chain('or', conditions, NEVER);
}

export function not(of: Condition): Condition {
  return { kind: 'not', of };
}

/** Compares what `steps` leave in `A`, masked where a mask is given. */
export function test(steps: Step[], jump: Jump, k: number, mask = 0xffff_ffff): Condition {
  return { kind: 'test', steps: mask === 0xffff_ffff ? steps : [...steps, { op: 'alu', alu: 'and', k: mask }], jump, k };
}

function chain(kind: 'and' | 'or', conditions: Condition[], empty: Condition): Condition {
  const [first = empty, ...rest] = conditions;
  return rest.reduce((left, right) => ({ kind, left, right }), first);
}
