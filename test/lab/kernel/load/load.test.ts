import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { knowsConntrack, loadForKernel } from '../../../../src/agent/kernel/load.ts';
import { KernelSymbols } from '../../../../src/agent/kernel/probes/kernel-symbols.ts';
import { PROBES } from '../../../../src/agent/kernel/probes/probe-plan.ts';
import { loadNative } from '../../../../src/native/load.ts';
import type { BpfObject } from '../../../../src/native/types.ts';
import { misnamed } from '../../../agent/kernel/probes/kallsyms.ts';
import { OBJECT_PATH, openTracer, ownNetns } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';

/** What the verifier goes through of a program is what loading it costs: 60,000 are a tenth of a second here, and a million it refuses. */
const MOST_INSTRUCTIONS = 60_000;

/** `BPF_F_NO_PREALLOC` of the kernel's linux/bpf.h. */
const NO_PREALLOC = 1;

test('no program takes the verifier long', { skip: SKIP }, (t) => {
  // As an agent has it: with a rate of a pod there is more to go through.
  const tracer = openTracer({ podRate: 2000 });
  t.after(() => tracer.close());
  const verified = verifiedOf(t, tracer.object);
  assert.ok(verified.has('body_in') && verified.has('body_told') && verified.has('ktrace_in'));
});

test('the kernel names its functions by their addresses, and no name is made up', { skip: SKIP }, (t) => {
  const tracer = openTracer();
  t.after(() => tracer.close());
  const symbols = new KernelSymbols((address) => tracer.symbolText(address));
  const { places, wrong } = misnamed(symbols);
  assert.deepEqual([symbols.at(0n), symbols.at(4711n)], ['unknown', 'unknown']);
  if (places === 0) return t.skip('this kernel shows nobody its addresses (kernel.kptr_restrict)');
  assert.deepEqual([places >= 6, wrong], [true, []]);
});

test('the kernel loads the programs of kprobes, all of them, whether or not it lets them be attached', { skip: SKIP }, (t) => {
  const native = loadNative();
  if (!knowsConntrack(native)) return t.skip("conntrack's types are not in this kernel's BTF");
  const { object, config } = loadForKernel({
    native,
    objectPath: OBJECT_PATH,
    netns: ownNetns(),
    ringBytes: 1 << 20,
    podRate: 0,
  });
  t.after(() => object.close());
  const only = PROBES.map(({ name }) => `kprobe_${name.replaceAll('-', '_')}`);
  const probes = native.openObject(OBJECT_PATH, { config, only, shareMapsOf: object, moduleBtf: 'nf_conntrack' });
  t.after(() => probes.close());
  assert.deepEqual([...verifiedOf(t, probes).keys()].sort(), only.sort());
});

test('an object for a kernel that warns of kprobes whose maps allocate has none that does', { skip: SKIP }, (t) => {
  const flagsOf = (kernel: string) => {
    const before = openMaps();
    const { object } = loadForKernel({
      native: loadNative(),
      objectPath: OBJECT_PATH,
      netns: ownNetns(),
      ringBytes: 1 << 20,
      podRate: 0,
      kernel,
    });
    try {
      const maps = [...openMaps()].flatMap(([id, info]) => (before.has(id) ? [] : [info]));
      const memory = maps.reduce((sum, info) => sum + (numberIn(info, 'memlock') ?? 0), 0);
      t.diagnostic(`${kernel}: ${maps.length} maps, ${memory} bytes`);
      return maps.map((info) => Number(/^map_flags:\s*(0x[0-9a-f]+)$/m.exec(info)?.[1]) & NO_PREALLOC);
    } finally {
      object.close();
    }
  };
  const [old, present] = [flagsOf('5.15.0'), flagsOf('6.1.0')];
  assert.deepEqual(
    old,
    old.map(() => 0),
  );
  assert.ok(present.length === old.length && present.includes(NO_PREALLOC));
});

/** What the kernel says of this process's maps, by their ids. */
function openMaps(): Map<number, string> {
  const infos = readdirSync('/proc/self/fdinfo').map(infoOf);
  return new Map(infos.flatMap((info) => (info.includes('map_type') ? [[numberIn(info, 'map_id') ?? 0, info]] : [])));
}

/** Instructions that the verifier went through, by program; none of them too many. */
function verifiedOf(t: TestContext, object: BpfObject): Map<string, number> {
  const names = new Map(object.programs().map((name) => [object.programInfo(name).id, name]));
  const verified = new Map<string, number>();
  for (const fd of readdirSync('/proc/self/fdinfo')) {
    const info = infoOf(fd);
    const name = names.get(numberIn(info, 'prog_id') ?? 0);
    const instructions = numberIn(info, 'verified_insns');
    if (name !== undefined && instructions !== undefined) verified.set(name, instructions);
  }
  const all = [...verified].sort(([, one], [, other]) => other - one);
  t.diagnostic(all.map(([name, instructions]) => `${name} ${instructions}`).join(', '));
  assert.deepEqual(
    all.filter(([, instructions]) => instructions > MOST_INSTRUCTIONS),
    [],
  );
  return verified;
}

/** Empty where the descriptor is gone, as the folder's own is. */
function infoOf(fd: string): string {
  try {
    return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
  } catch {
    return '';
  }
}

function numberIn(info: string, name: string): number | undefined {
  const found = new RegExp(`^${name}:\\s*(\\d+)$`, 'm').exec(info)?.[1];
  return found === undefined ? undefined : Number(found);
}
