import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { PROBES } from '../../src/agent/probe-plan.ts';
import { Probes, type ProbesOptions } from '../../src/agent/probes.ts';
import type { BpfObject, BpfObjectOptions, NativeModule } from '../../src/native/types.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ktrace-probes-'));
  kernelHas(PROBES.map((probe) => probe.function));
  writeFileSync(join(folder, 'modules'), '');
});
afterEach(() => rmSync(folder, { recursive: true }));

function kernelHas(functions: readonly string[]): void {
  writeFileSync(join(folder, 'kallsyms'), functions.map((name) => `ffffffff81000000 T ${name}\n`).join(''));
}

interface Kernel {
  /** errno name by what is refused: `fentry`, `kprobe`, or a program's name at load or attach. */
  refuses?: Record<string, string>;
  attachRefuses?: Record<string, string>;
}

/** A kernel that loads and attaches everything but what it refuses, and remembers what is attached. */
function probesOn(
  { refuses = {}, attachRefuses = {} }: Kernel,
  more: Partial<ProbesOptions> = {},
): { probes: Probes; attached: Set<string>; opened: BpfObjectOptions[] } {
  const attached = new Set<string>();
  const opened: BpfObjectOptions[] = [];
  const fail = (code: string | undefined, op: string, log = ''): void => {
    if (code !== undefined) throw Object.assign(new Error(`${op}: ${code}`), { code, op, log });
  };
  const attach = (program: string): number => {
    fail(attachRefuses[program], `attach ${program}`);
    attached.add(program);
    return [...attached].indexOf(program) + 1;
  };
  const native = {
    tryFentry: () => fail(refuses['fentry'], 'try fentry'),
    tryKprobe: () => fail(refuses['kprobe'], 'try kprobe'),
    btf: {
      functionParameters: () =>
        Object.fromEntries(PROBES.map((probe) => [probe.function, [probe.parameters.map((one) => [one].flat()[0] ?? '')]])),
    },
    openObject(_: string, options: BpfObjectOptions) {
      opened.push(options);
      for (const program of options.only ?? [])
        fail(refuses[program], `load program ${program}`, 'R1 invalid mem access\nprocessed 9 insns');
      return {
        programs: () => options.only ?? [],
        attachTracing: attach,
        attachKprobe: attach,
        detach: (handle: number) => attached.delete([...attached][handle - 1] ?? ''),
        close: () => {},
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
    ...more,
  });
  return { probes, attached, opened };
}

const hook = (probes: Probes, name: string) => probes.hooks().find((one) => one.name === name);

test('fentry is taken where the kernel allows it, and attached only while somebody follows', () => {
  const { probes, attached } = probesOn({});
  assert.deepEqual(hook(probes, 'nat'), { name: 'nat', backend: 'fentry', state: 'idle' });
  assert.equal(attached.size, 0);
  probes.setActive(true);
  assert.equal(attached.size, PROBES.length);
  assert.ok(probes.hooks().every(({ state }) => state === 'on'));
});

test('kprobes are taken where fentry is refused, and the reason is told', () => {
  const { probes } = probesOn({ refuses: { fentry: 'EPERM' } });
  const { backend, state, reason } = hook(probes, 'icmp-send') ?? {};
  assert.deepEqual([backend, state], ['kprobe', 'idle']);
  assert.match(reason ?? '', /fentry is refused \(EPERM\)/);
});

test('where neither can be had nothing is loaded, and every hook says why', () => {
  const { probes, opened } = probesOn({ refuses: { fentry: 'EPERM', kprobe: 'ENODEV' } });
  assert.equal(opened.length, 0);
  assert.ok(
    probes.hooks().every(({ state, reason }) => state === 'unavailable' && /no kprobes \(CONFIG_KPROBES\)/.test(reason ?? '')),
  );
});

test('perf_event_open that is refused is told as such', () => {
  const { probes } = probesOn({ refuses: { fentry: 'EPERM', kprobe: 'EPERM' } });
  assert.match(hook(probes, 'nat')?.reason ?? '', /perf_event_open needs CAP_PERFMON .*, and a seccomp profile/);
});

test('a program that the verifier refuses is tried as a kprobe, then costs itself alone and shows the verifier’s last lines', () => {
  const { probes } = probesOn({ refuses: { fentry_nat: 'EACCES', fentry_icmp_send: 'EACCES', kprobe_icmp_send: 'EACCES' } });
  assert.deepEqual([hook(probes, 'nat')?.backend, hook(probes, 'nat')?.state], ['kprobe', 'idle']);
  assert.match(hook(probes, 'nat')?.reason ?? '', /load program fentry_nat/);
  const refused = hook(probes, 'icmp-send');
  assert.equal(refused?.state, 'unavailable');
  assert.match(refused?.reason ?? '', /load program kprobe_icmp_send: EACCES\nR1 invalid mem access\nprocessed 9 insns/);
  assert.equal(probes.hooks().filter(({ state }) => state === 'idle').length, PROBES.length - 1);
});

test('a probe that cannot be attached costs itself alone', () => {
  const { probes, attached } = probesOn({ refuses: { fentry: 'EPERM' }, attachRefuses: { kprobe_nat: 'EPERM' } });
  probes.setActive(true);
  assert.equal(attached.size, PROBES.length - 1);
  assert.deepEqual(hook(probes, 'nat')?.state, 'unavailable');
});

test('a function of a module that is loaded later is taken up, and attached while somebody follows', () => {
  kernelHas(PROBES.map((probe) => probe.function).filter((name) => !name.startsWith('nf_nat')));
  const { probes, attached } = probesOn({});
  probes.setActive(true);
  assert.match(hook(probes, 'nat')?.reason ?? '', /its module is not loaded/);
  assert.equal(probes.refresh(), false);
  kernelHas(PROBES.map((probe) => probe.function));
  writeFileSync(join(folder, 'modules'), 'nf_nat 57344 1 xt_nat, Live 0x0\n');
  assert.equal(probes.refresh(), true);
  assert.deepEqual(hook(probes, 'nat'), { name: 'nat', backend: 'fentry', state: 'on' });
  assert.equal(attached.size, PROBES.length);
});

test('switched off, no probe is loaded', () => {
  const { opened, probes } = probesOn({}, { backend: 'none' });
  assert.equal(opened.length, 0);
  assert.match(hook(probes, 'nat')?.reason ?? '', /switched off by --probes/);
});
