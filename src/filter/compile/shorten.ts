import type { Branch, Instruction, Step } from './program.ts';

/** Longer programs stay as they are: what is known is compared at every test. */
const MOST_TESTS = 4000;

/** A test of a program: steps that depend on nothing but the packet, and the branch behind them. */
interface Test {
  at: number;
  branch: Branch;
  /** What the steps leave in `A`, as text, and what that is compared with. */
  value: string;
  /** Of the tests, or the two verdicts. */
  yes: number;
  no: number;
}

/** What is known of the packet at a place of a program: of a comparison, whether it holds; of a value, what it is equal to. */
type Known = ReadonlyMap<string, boolean | number>;

/**
 * The same program without tests whose outcome is known where they stand: of 20 terms on `tcp` one asks for the protocol. A test that is asked again
 * reads bytes that were there the first time, so packets that are cut are decided alike. `program` is one of `compileFilter`.
 */
export function shortened(program: readonly Instruction[]): Instruction[] {
  const tests = testsOf(program);
  if (tests === undefined || tests.length > MOST_TESTS) return [...program];
  const [match, mismatch] = [tests.length, tests.length + 1];
  const times = new Map<string, number>();
  for (const one of tests) for (const key of [keyOf(one), one.value]) times.set(key, (times.get(key) ?? 0) + 1);
  // What is asked once need not be remembered: most of a long filter is.
  const isAskedAgain = (key: string) => (times.get(key) ?? 0) > 1;
  const knownAt = new Map<number, Known>([[0, new Map()]]);
  const targets = tests.map(({ yes, no }) => ({ yes, no }));
  for (const [index, one] of tests.entries()) {
    const known = knownAt.get(index);
    if (known === undefined) continue;
    for (const outcome of ['yes', 'no'] as const) {
      const then = new Map(known);
      if (isAskedAgain(keyOf(one))) then.set(keyOf(one), outcome === 'yes');
      const isEquality = one.branch.jump === 'jeq' && one.branch.k !== undefined;
      if (outcome === 'yes' && isEquality && isAskedAgain(one.value)) then.set(one.value, one.branch.k as number);
      let to = one[outcome];
      for (let next = tests[to]; next !== undefined; next = tests[to]) {
        const answer = answerOf(next, then);
        if (answer === undefined) break;
        to = answer ? next.yes : next.no;
      }
      (targets[index] as { yes: number; no: number })[outcome] = to;
      const before = knownAt.get(to);
      knownAt.set(to, before === undefined ? then : both(before, then));
    }
  }
  const result: Instruction[] = [];
  const places = new Map<number, number>();
  for (const [index, { at, branch }] of tests.entries()) {
    if (!knownAt.has(index)) continue;
    places.set(index, result.length);
    const begins = index === 0 ? 0 : (tests[index - 1] as Test).at + 1;
    result.push(...program.slice(begins, at), { ...branch, ...(targets[index] as { yes: number; no: number }) });
  }
  places.set(match, result.length);
  places.set(mismatch, result.length + 1);
  result.push({ op: 'return', isMatch: true }, { op: 'return', isMatch: false });
  for (const step of result) {
    if (step.op !== 'branch') continue;
    step.yes = places.get(step.yes) as number;
    step.no = places.get(step.no) as number;
  }
  return result;
}

/** Undefined for a program that is none of tests and two verdicts. */
function testsOf(program: readonly Instruction[]): Test[] | undefined {
  const [match, mismatch] = [program.length - 2, program.length - 1];
  const ends = program.flatMap((step, at) => (step.op === 'branch' ? [at] : []));
  if (program[match]?.op !== 'return' || program[mismatch]?.op !== 'return') return undefined;
  const indexAt = new Map<number, number>([
    [match, ends.length],
    [mismatch, ends.length + 1],
  ]);
  for (const index of ends.keys()) indexAt.set(index === 0 ? 0 : (ends[index - 1] as number) + 1, index);
  return ends.map((at, index) => {
    const branch = program[at] as Branch;
    const steps = program.slice(index === 0 ? 0 : (ends[index - 1] as number) + 1, at) as Step[];
    const [yes, no] = [indexAt.get(branch.yes) as number, indexAt.get(branch.no) as number];
    return { at, branch, value: JSON.stringify(steps), yes, no };
  });
}

function keyOf({ branch, value }: Test): string {
  return `${branch.jump} ${branch.k ?? 'x'} ${value}`;
}

function answerOf(test: Test, known: Known): boolean | undefined {
  const { branch, value } = test;
  // A constant.
  if (branch.yes === branch.no) return true;
  const found = known.get(keyOf(test));
  if (typeof found === 'boolean') return found;
  // What is equal to one number is equal to no other.
  const equal = branch.jump === 'jeq' && branch.k !== undefined ? known.get(value) : undefined;
  return equal === undefined ? undefined : equal === branch.k;
}

function both(one: Known, other: Known): Known {
  return new Map([...one].filter(([key, value]) => other.get(key) === value));
}
