import type { TestContext } from 'node:test';
import { Tracer, type TracerOptions } from '../../../src/agent/kernel/tracer.ts';
import { STATS } from '../../../src/event/layout.ts';
import type { BpfObject, BpfObjectOptions, NativeModule } from '../../../src/native/types.ts';

/** What a fake kernel holds, and what it refuses. */
export interface TracedKernel {
  /** By handle: the program, and the interface where it is at one. */
  attached: Map<number, string>;
  /** What is neither attached nor detached, as it stands in `attached`; a program's name; `open`; or `update MAP`. */
  refused: Set<string>;
  /** By name of the map, then by key in hex. */
  maps: Map<string, Map<string, Uint8Array>>;
  globals: Map<string, Uint8Array>;
  /** Objects that are open, with what they were opened with. */
  objects: BpfObjectOptions[];
  /** Structs in BTF. */
  structs: Set<string>;
  /** What each counter of the object that was opened first stands at; another one's have counted nothing. */
  stats: bigint;
}

/** A tracer over a kernel that takes everything but what a test lets it refuse. */
export function openTracer(
  t: TestContext,
  options: Partial<TracerOptions> = {},
  more: Partial<TracedKernel> = {},
): { tracer: Tracer; kernel: TracedKernel; native: NativeModule } {
  const kernel: TracedKernel = {
    attached: new Map(),
    refused: new Set(),
    maps: new Map(),
    globals: new Map(),
    objects: [],
    structs: new Set(['nf_conn']),
    stats: 0n,
    ...more,
  };
  const native = fakeNative(kernel);
  const defaults: TracerOptions = {
    native,
    objectPath: 'ktrace.bpf.o',
    netns: 1,
    ringBytes: 65536,
    podRate: 0,
    attach: 'auto',
    probes: 'none',
  };
  const tracer = new Tracer({ ...defaults, ...options });
  t.after(() => tracer.close());
  return { tracer, kernel, native };
}

function fakeNative(kernel: TracedKernel): NativeModule {
  return {
    btf: {
      available: () => true,
      enumValues: () => ({ SKB_CONSUMED: 1 }),
      tracepointArguments: () => ['struct sk_buff *', 'void *', 'enum skb_drop_reason'],
      hasMember: () => true,
      hasStruct: (name: string) => kernel.structs.has(name),
      functionParameters: () => ({}),
    },
    tcxSupported: () => true,
    removeStaleFilters: () => 0,
    tryFentry: () => undefined,
    tryKprobe: () => undefined,
    openObject(_path: string, options: BpfObjectOptions = {}) {
      if (kernel.refused.has('open')) throw new Error('load: ENOMEM');
      return fakeObject(kernel, options);
    },
  } as unknown as NativeModule;
}

let lastHandle = 0;

function fakeObject(kernel: TracedKernel, options: BpfObjectOptions): BpfObject {
  const isFirst = kernel.objects.length === 0;
  kernel.objects = [...kernel.objects, options];
  const maps = new Map<string, Map<string, Uint8Array>>();
  if (options.shareMapsOf === undefined) {
    kernel.maps = maps;
    kernel.globals = new Map();
  }
  const map = (name: string): Map<string, Uint8Array> => {
    const found = maps.get(name) ?? new Map<string, Uint8Array>();
    maps.set(name, found);
    return found;
  };
  const hex = (key: Uint8Array): string => Buffer.from(key).toString('hex');
  const attach = (what: string): number => {
    if (kernel.refused.has(what)) throw Object.assign(new Error(`attach ${what}: EBUSY`), { code: 'EBUSY' });
    lastHandle += 1;
    kernel.attached.set(lastHandle, what);
    return lastHandle;
  };
  return {
    mapUpdate(name: string, key: Uint8Array, value: Uint8Array) {
      if (kernel.refused.has(`update ${name}`)) throw Object.assign(new Error(`update ${name}: ENOMEM`), { code: 'ENOMEM' });
      map(name).set(hex(key), value);
    },
    mapLookup: () => Buffer.from(new BigUint64Array(STATS.size / 8).fill(isFirst ? kernel.stats : 0n).buffer),
    mapDelete: (name: string, key: Uint8Array) => map(name).delete(hex(key)),
    mapEntries: () => Buffer.alloc(0),
    mapSetProgram: (name: string, index: number, program: string) => void map(name).set(String(index), Buffer.from(program)),
    mapSetCode: () => undefined,
    setGlobal: (name: string, value: Uint8Array) => void kernel.globals.set(name, value),
    getGlobal: (name: string) => Buffer.from(kernel.globals.get(name) ?? new Uint8Array(8)),
    attachTc: (program: string, ifindex: number) => attach(`${program} ${ifindex}`),
    attachTracing: attach,
    attachKprobe: attach,
    detach(handle: number) {
      const what = kernel.attached.get(handle) ?? '';
      if (kernel.refused.has(what)) throw new Error(`detach ${what}: EBUSY`);
      kernel.attached.delete(handle);
    },
    programs: () => [],
    testRun: () => ({ returnValue: 0, durationNs: 0 }),
    close() {
      kernel.objects = kernel.objects.filter((other) => other !== options);
    },
  } as unknown as BpfObject;
}
