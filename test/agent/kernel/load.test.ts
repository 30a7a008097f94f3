import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadForKernel } from '../../../src/agent/kernel/load.ts';
import type { BpfObject, BpfObjectOptions, NativeModule } from '../../../src/native/types.ts';
import { KtraceError } from '../../../src/util/errors.ts';

/** Numbers of the reasons that the kernel side knows, on a kernel with these. */
function known(reasons: Record<string, number>): { consumed: number; notSpecified: number } {
  let config: Record<string, Uint8Array> = {};
  const btf = {
    available: () => true,
    enumValues: () => reasons,
    tracepointArguments: () => ['skb', 'location', 'reason'],
    functionParameters: () => ({}),
    hasMember: () => true,
    hasStruct: () => true,
  };
  const native = {
    btf,
    openObject: (_: string, options: { config: Record<string, Uint8Array> }) => {
      config = options.config;
      return {} as BpfObject;
    },
  } as unknown as NativeModule;
  loadForKernel({ native, objectPath: 'object', netns: 1, ringBytes: 4096, podRate: 0 });
  const read = (name: string) => Buffer.from(config[name] ?? []).readUInt32LE();
  return { consumed: read('cfg_reason_consumed'), notSpecified: read('cfg_reason_not_specified') };
}

test('a drop’s reasons are known to the kernel side by their numbers on this kernel', () => {
  assert.deepEqual(known({ SKB_NOT_DROPPED_YET: 0, SKB_CONSUMED: 1, SKB_DROP_REASON_NOT_SPECIFIED: 2 }), {
    consumed: 1,
    notSpecified: 2,
  });
  assert.deepEqual(known({ SKB_NOT_DROPPED_YET: 0, SKB_CONSUMED: 7, SKB_DROP_REASON_NOT_SPECIFIED: 8 }), {
    consumed: 7,
    notSpecified: 8,
  });
});

test('where there is no SKB_CONSUMED no reason is left out', () => {
  const reasons = { SKB_NOT_DROPPED_YET: 0, SKB_DROP_REASON_NOT_SPECIFIED: 1, SKB_DROP_REASON_NO_SOCKET: 2 };
  assert.ok(!Object.values(reasons).includes(known(reasons).consumed));
});

/** Of a kernel that has everything. */
const BTF = {
  available: () => true,
  enumValues: () => ({}),
  tracepointArguments: () => ['skb', 'location'],
  functionParameters: () => ({}),
  hasMember: () => true,
  hasStruct: () => true,
};

/** What is thrown where the kernel refuses the programs like this. */
function refusal(kernel: string, error: { code?: string; log?: string }): KtraceError {
  const native = {
    btf: BTF,
    openObject: () => {
      throw Object.assign(new Error('load the object: refused'), error);
    },
  } as unknown as NativeModule;
  try {
    loadForKernel({ native, objectPath: 'object', netns: 1, ringBytes: 4096, podRate: 0, kernel });
  } catch (thrown) {
    assert.ok(thrown instanceof KtraceError);
    return thrown;
  }
  throw new Error('it was loaded');
}

test('a kernel before 5.13 that refuses the programs is named as too old', () => {
  for (const kernel of ['5.12.19', '5.11.22-generic', '5.8.0', '4.18.0-553.el8.x86_64']) {
    const { code, message } = refusal(kernel, { code: 'EINVAL', log: 'invalid func unknown#160' });
    assert.deepEqual(
      [code, message],
      ['KTRACE_E_KERNEL', `Expected Linux 5.13 or later, got ${kernel}: load the object: refused`],
    );
  }
});

test('a refusal of a kernel that is new enough, and one for want of rights, keep their own codes', () => {
  for (const kernel of ['5.13.0', '5.15.0-91-generic', '6.1.0-56-amd64', '10.0']) {
    assert.equal(refusal(kernel, { code: 'EINVAL', log: 'the verifier’s words' }).code, 'KTRACE_E_LOAD');
  }
  assert.equal(refusal('5.10.0', { code: 'EPERM' }).code, 'KTRACE_E_NOT_ROOT');
});

test('want of memory is no refusal of the drops’ program: nothing is loaded, and the hint is another one', () => {
  const open = (code: string) => () => {
    let opened = 0;
    const native = {
      btf: { ...BTF, tracepointArguments: () => ['skb', 'location', 'reason'] },
      openObject: () => {
        opened += 1;
        if (opened > 1) return {} as BpfObject;
        throw Object.assign(new Error(`load: ${code}`), { code, op: 'load program ktrace_drop' });
      },
    } as unknown as NativeModule;
    return loadForKernel({ native, objectPath: 'object', netns: 1, ringBytes: 4096, podRate: 0, kernel: '6.1.0' });
  };
  assert.equal(open('EINVAL')().drops.state, 'unavailable');
  assert.throws(open('ENOMEM'), ({ code, hint }: KtraceError) => code === 'KTRACE_E_LOAD' && /memory limit/.test(hint ?? ''));
});

test('a larger flow table is shared as the one that the object has', () => {
  const opened: { mapSizes: Record<string, number>; config: Record<string, Uint8Array> }[] = [];
  const native = {
    btf: BTF,
    openObject: (_: string, options: (typeof opened)[number]) => {
      opened.push(options);
      return {} as BpfObject;
    },
  } as unknown as NativeModule;
  const options = { native, objectPath: 'object', netns: 1, ringBytes: 4096, podRate: 0 };
  const shares = ['cfg_flows_of_pod', 'cfg_flows_of_shared'];
  for (const flowEntries of [undefined, 65_536, 262_144]) loadForKernel({ ...options, flowEntries });
  assert.deepEqual(
    opened.map(({ mapSizes, config }) => [
      mapSizes['flows'],
      ...shares.map((name) => config[name] && Buffer.from(config[name]).readUInt32LE()),
    ]),
    [
      [undefined, undefined, undefined],
      [65_536, 4096, 16_384],
      [262_144, 16_384, 65_536],
    ],
  );
  const maps = readFileSync(new URL('../../../bpf/base/maps.h', import.meta.url), 'utf8');
  assert.deepEqual(
    shares.map((name) => Number(new RegExp(`${name} = (\\d+);`).exec(maps)?.[1])),
    [4096, 16_384],
  );
});

test('the object that loads from the kernel’s own sk_buff is taken where the kernel has the cast for it and takes it, and the object is there; doctor says which', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-load-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [plain, byCast] = ['ktrace.bpf.o', 'ktrace.kern-ctx.bpf.o'].map((name) => join(folder, name)) as [string, string];
  const opened = (hasCast: boolean, isRefused = false) => {
    const paths: string[] = [];
    const native = {
      btf: { ...BTF, functionParameters: (names: string[]) => (hasCast ? { [names[0] as string]: [['obj']] } : {}) },
      openObject: (of: string) => {
        paths.push(of);
        if (isRefused && of === byCast) throw new Error('load program ktrace_in: ENOTSUPP');
        return {} as BpfObject;
      },
    } as unknown as NativeModule;
    const { conntrack } = loadForKernel({ native, objectPath: plain, netns: 1, ringBytes: 4096, podRate: 0 });
    return [...paths, conntrack.reason];
  };
  const [cast, reads] = ['bpf_cast_to_kern_ctx', 'probe reads'].map((how) => `read at the tc hooks by ${how}`);
  assert.deepEqual(opened(true), [plain, reads]);
  writeFileSync(byCast, '');
  assert.deepEqual(opened(true), [byCast, cast]);
  assert.deepEqual(opened(false), [plain, reads]);
  assert.deepEqual(opened(true, true), [byCast, plain, reads]);
});

test('maps allocate their elements as they come, or all at once where the kernel warns of kprobes that use others', () => {
  const preallocated = (kernel: string) => {
    let given: Record<string, boolean> | undefined;
    const openObject = (_: string, options: BpfObjectOptions) => {
      given = options.preallocated;
      return {} as BpfObject;
    };
    const native = { btf: BTF, openObject } as unknown as NativeModule;
    loadForKernel({ native, objectPath: 'object', netns: 1, ringBytes: 4096, podRate: 0, kernel });
    return given;
  };
  for (const kernel of ['6.1.0-56-amd64', '6.18.44', '10.0']) assert.deepEqual(preallocated(kernel), { flows: false });
  for (const kernel of ['5.15.0-91-generic', '6.0.19'])
    assert.deepEqual(preallocated(kernel), { targets: true, service_ports: true, interfaces: true, pod_netns: true });
});
