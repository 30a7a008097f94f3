/** A node's pipeline without Kubernetes, in the namespace it is started in; {@link TracedNode} talks with it by messages. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Interfaces } from '../../../src/agent/kernel/interfaces.ts';
import { KernelSymbols } from '../../../src/agent/kernel/probes/kernel-symbols.ts';
import type { Follower } from '../../../src/agent/pipeline/feed.ts';
import { Pipeline } from '../../../src/agent/pipeline/pipeline.ts';
import type { Subscription } from '../../../src/event/target.ts';
import { u32 } from '../../../src/native/bytes.ts';
import { loadNative } from '../../../src/native/load.ts';
import type { NativeModule } from '../../../src/native/types.ts';
import { createLog } from '../../../src/util/log.ts';
import { resolvedTo } from '../../support/resolved.ts';
import { flowEntries, openTracer } from './kernel.ts';
import type { Ask, NodeOptions, NodeState } from './traced-node.ts';

const options = JSON.parse(process.argv[2] ?? '{}') as NodeOptions;
const { withoutConntrack = false } = options;
let isWithoutConntrack = withoutConntrack !== false;
const native = withPortSpans(
  hidingConntrack(loadNative(), () => isWithoutConntrack),
  options.portSpanShift,
);
const btfFolder = withoutConntrack === 'at-first' ? mkdtempSync(join(tmpdir(), 'ktrace-btf-')) : undefined;
const tracer = openTracer({
  native,
  ringBytes: options.ringBytes ?? 1 << 20,
  attach: options.attach ?? 'auto',
  podRate: options.podRate ?? 0,
  flowEntries: options.flowEntries,
  // What the kernel's functions say of a translation is read by the same types.
  probes: withoutConntrack === false ? (options.probes ?? 'auto') : 'none',
  ...(btfFolder === undefined ? {} : { btfFolder }),
});
const attachedAtMs: Record<number, number> = {};
const attach = tracer.attach.bind(tracer);
tracer.attach = (ifindex, kind, hasLinkLayer) => {
  attach(ifindex, kind, hasLinkLayer);
  attachedAtMs[ifindex] = Date.now();
};
const log = createLog('test', 'error');
const interfaces = new Interfaces({ native, tracer, log });
const pipeline = new Pipeline({
  node: options.node,
  native,
  tracer,
  interfaces,
  symbols: new KernelSymbols((address) => (options.hidesSymbols === true ? '' : tracer.symbolText(address))),
  log,
  naming: {
    resolve: () => resolvedTo({ addresses: options.addresses, serviceAddresses: options.serviceAddresses ?? [] }),
    placeOf: () => 'unknown',
    namePacket: () => {},
    nameFlow: () => {},
    podOf: () => undefined,
    notReady: () => undefined,
  },
  ...(options.unloadAfterMs === undefined ? {} : { unloadAfterMs: options.unloadAfterMs }),
});
interfaces.onOwnAddressesChange = () => pipeline.resolveAgain({ kind: 'list' });

let follower: Follower | undefined;
function follow(): number {
  const started = performance.now();
  follower = pipeline.follow(
    subscription(options.filter),
    {
      event: (event) => process.send?.({ event }),
      resolved: () => {},
    },
    'all',
  );
  return performance.now() - started;
}

function changeFilter(text: string): number {
  const started = performance.now();
  follower?.update(subscription(text), 'all');
  return performance.now() - started;
}

function subscription(filter: string | undefined): Subscription {
  return {
    targets: [{ kind: 'all' }],
    addresses: [],
    units: options.units ?? 'flows',
    ...(filter === undefined ? {} : { filter: { text: filter, revision: 1 } }),
  };
}

function state(tookMs = 0): NodeState {
  return {
    stats: tracer.stats(),
    misses: tracer.recursionMisses(),
    hooks: tracer.hooks(),
    attached: tracer.attachedInterfaces,
    kernelFilter: pipeline.kernelFilter,
    bpfFiles: bpfFiles(),
    programIds: tracer.isLoaded ? programIds() : {},
    counts: { ...pipeline.assembler.counts },
    malformed: pipeline.malformed,
    flowEntries: tracer.isLoaded ? flowEntries(tracer) : 0,
    attachFailures: interfaces.failures,
    attachedAtMs,
    tookMs,
  };
}

function programIds(): Record<string, number> {
  return Object.fromEntries(tracer.object.programs().map((program) => [program, tracer.object.programInfo(program).id]));
}

function bpfFiles(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return /^(map|prog|link|btf)_id:/m.test(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
    } catch {
      // It was the folder's own.
      return false;
    }
  }).length;
}

process.on('message', (ask: Ask) => {
  let tookMs = 0;
  if (ask === 'follow') tookMs = follow();
  if (typeof ask === 'object') tookMs = changeFilter(ask.filter);
  if (ask === 'unfollow') follower?.close();
  if (ask === 'conntrack' && btfFolder !== undefined) {
    isWithoutConntrack = false;
    writeFileSync(join(btfFolder, 'nf_conntrack'), '');
  }
  if (ask === 'close') {
    if (btfFolder !== undefined) rmSync(btfFolder, { recursive: true });
    pipeline.close();
    interfaces.close();
    const closing = { ...state() };
    tracer.close();
    process.send?.({ state: closing }, () => process.exit());
    return;
  }
  const report = ask === 'doctor' ? { report: pipeline.report() } : {};
  process.send?.({ state: { ...state(tookMs), ...report } });
});
process.on('disconnect', () => process.exit());
process.send?.({ state: state() });

function withPortSpans(native: NativeModule, shift: number | undefined): NativeModule {
  if (shift === undefined) return native;
  const config = { cfg_port_span_shift: u32(shift) };
  const openObject: NativeModule['openObject'] = (path, how) =>
    native.openObject(path, { ...how, config: { ...how?.config, ...config } });
  return { ...native, openObject };
}

function hidingConntrack(whole: NativeModule, isHidden: () => boolean): NativeModule {
  const hasStruct = (name: string): boolean => !(name === 'nf_conn' && isHidden()) && whole.btf.hasStruct(name);
  return { ...whole, btf: { ...whole.btf, hasStruct } };
}
