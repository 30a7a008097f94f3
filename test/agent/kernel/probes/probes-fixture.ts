import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { PROBES } from '../../../../src/agent/kernel/probes/probe-plan.ts';
import { Probes, type ProbesOptions } from '../../../../src/agent/kernel/probes/probes.ts';
import type { BpfObject, BpfObjectOptions, NativeModule } from '../../../../src/native/types.ts';

/** What a kernel has that has every function that is traced, and each part that may be absent. */
export const EVERYTHING: readonly string[] = [
  ...PROBES.map((probe) => probe.function),
  'nf_conntrack_in',
  'nf_nat_setup_info',
  'ipv6_rcv',
];

/** The same, with NAT's functions in a module. */
export const NAT_IN_MODULE: readonly string[] = EVERYTHING.map((name) => (/^nf_nat/.test(name) ? `${name}\t[nf_nat]` : name));

export const without = (pattern: RegExp): string[] => EVERYTHING.filter((name) => !pattern.test(name));

/** A kernel whose answers a test decides. */
export interface FakeKernel {
  /** What /proc/kallsyms and /proc/modules have from now on. A function of a module is followed by it: `name\t[module]`. */
  lists(functions: readonly string[], modules?: readonly string[]): void;
  /** Functions whose module has no types yet. */
  untyped: Set<string>;
  /** errno name by what is refused: `fentry`, `kprobe`, or a program's name at load or attach. */
  refuses: Record<string, string>;
  attachRefuses: Record<string, string>;
  attached: Set<string>;
  opened: BpfObjectOptions[];
  /** Of the objects that are open: how often a run of theirs was refused. */
  misses: Map<BpfObjectOptions, number>;
}

/** Probes on a kernel that loads and attaches everything but what it refuses, and remembers what is attached. */
export function openProbes(
  t: TestContext,
  { functions = EVERYTHING, ...more }: Partial<FakeKernel> & { functions?: readonly string[] } = {},
  options: Partial<ProbesOptions> = {},
): { probes: Probes; kernel: FakeKernel } {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-probes-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const kernel: FakeKernel = {
    untyped: new Set(),
    refuses: {},
    attachRefuses: {},
    attached: new Set(),
    opened: [],
    misses: new Map(),
    ...more,
    lists(names, modules = []) {
      writeFileSync(join(folder, 'kallsyms'), names.map((name) => `ffffffff81000000 T ${name}\n`).join(''));
      writeFileSync(join(folder, 'modules'), modules.map((line) => `${line}\n`).join(''));
    },
  };
  kernel.lists(functions);
  const fail = (code: string | undefined, op: string, log = ''): void => {
    if (code !== undefined) throw Object.assign(new Error(`${op}: ${code}`), { code, op, log });
  };
  const handles: string[] = [];
  const attach = (program: string): number => {
    fail(kernel.attachRefuses[program], `attach ${program}`);
    kernel.attached.add(program);
    return handles.push(program);
  };
  const native = {
    tryFentry: () => fail(kernel.refuses['fentry'], 'try fentry'),
    tryKprobe: () => fail(kernel.refuses['kprobe'], 'try kprobe'),
    btf: {
      functionParameters: () =>
        Object.fromEntries(
          PROBES.map((probe) => [
            probe.function,
            kernel.untyped.has(probe.function) ? [] : [probe.parameters.map((one) => [one].flat()[0] ?? '')],
          ]),
        ),
    },
    openObject(_: string, opened: BpfObjectOptions) {
      kernel.opened.push(opened);
      for (const program of opened.only ?? [])
        fail(kernel.refuses[program], `load program ${program}`, 'R1 invalid mem access\nprocessed 9 insns');
      kernel.misses.set(opened, 0);
      return {
        programs: () => opened.only ?? [],
        programInfo: (program: string) => ({
          recursionMisses: BigInt(program === opened.only?.[0] ? (kernel.misses.get(opened) ?? 0) : 0),
        }),
        attachTracing: attach,
        attachKprobe: attach,
        detach: (handle: number) => kernel.attached.delete(handles[handle - 1] ?? ''),
        close: () => kernel.misses.delete(opened),
      } as unknown as BpfObject;
    },
  } as unknown as NativeModule;
  const probes = new Probes({
    native,
    objectPath: 'x.o',
    shareMapsOf: {} as BpfObject,
    config: {},
    backend: 'auto',
    kallsyms: join(folder, 'kallsyms'),
    modules: join(folder, 'modules'),
    ...options,
  });
  return { probes, kernel };
}
