import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { LAYOUT_VERSION } from '../../event/layout.ts';
import type { HookReport } from '../../event/node-report.ts';
import { u32, u64 } from '../../native/bytes.ts';
import type { BpfObject, NativeModule } from '../../native/types.ts';
import { isOutOfMemory, KtraceError, messageOf } from '../../util/errors.ts';

/** From this fill of the ring on the kernel wakes the reader at once: a quarter of it. */
const WAKE_FRACTION = 4;
const DROP_PROGRAM = 'ktrace_drop';
/** The first with all that every program needs: bpf_snprintf (5.13), pointers as arguments of global functions (5.12), ring buffers (5.8). */
const OLDEST_KERNEL = [5, 13] as const;
/** The first whose hash maps have memory at hand for elements that come (bpf_mem_alloc), so that a program may add one wherever it runs. */
const ALLOCATING_KERNEL = [6, 1] as const;
/** A flow's element when it comes: all of them take 20 MB. */
const AS_THEY_COME = { flows: false };
/**
 * Older kernels warn of a kprobe that uses a map whose elements come later, in their log and with a backtrace, at which one with `panic_on_warn` stops
 * (kernel/bpf/verifier.c, check_map_prog_compatibility).
 */
const ALL_AT_ONCE = { targets: true, service_ports: true, interfaces: true, pod_netns: true };
/** Of no drop: before 6.2 there is no SKB_CONSUMED, and the number that it has since was that of SKB_DROP_REASON_NOT_SPECIFIED. */
const NO_REASON = 0xffff_ffff;

export interface LoadOptions {
  native: NativeModule;
  objectPath: string;
  /** Inode of the node's network namespace. */
  netns: number;
  ringBytes: number;
  /** Sightings a second that are emitted for one pod, on average; 0: no bound. */
  podRate: number;
  /** Of the flow table; undefined: as the object has it. */
  flowEntries?: number | undefined;
  /** Release of the running kernel, as `uname -r` says it. */
  kernel?: string;
}

export interface LoadNotice {
  code: `KTRACE_N_${string}`;
  text: string;
}

export interface Loaded {
  object: BpfObject;
  /** Value → name in the running kernel's `enum skb_drop_reason`. */
  dropReasons: ReadonlyMap<number, string>;
  /** The kernel tells a drop's receiving socket (6.11 and later). */
  knowsReceivers: boolean;
  conntrack: HookReport;
  drops: HookReport;
  /** What the object was fitted to this kernel by. */
  config: Record<string, Uint8Array>;
  /** What cannot be had on this kernel costs only its own facts. */
  notices: LoadNotice[];
}

/**
 * Loads the BPF object, fitted to what the running kernel's BTF says it has.
 * @throws KtraceError KTRACE_E_NO_BTF, KTRACE_E_LAYOUT, KTRACE_E_NOT_ROOT, KTRACE_E_KERNEL, KTRACE_E_LOAD
 */
export function loadForKernel(options: LoadOptions): Loaded {
  const { native, flowEntries, kernel = release() } = options;
  if (!native.btf.available()) {
    throw new KtraceError('KTRACE_E_NO_BTF', 'This kernel has no BTF: /sys/kernel/btf/vmlinux cannot be read', {
      hint: 'ktrace needs a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian 12, Ubuntu 22.04, RHEL 9 and later have it).',
    });
  }
  const reasons = native.btf.enumValues('skb_drop_reason') ?? {};
  const dropArguments = native.btf.tracepointArguments('kfree_skb')?.length ?? 0;
  const hasConntrack = knowsConntrack(native);
  const knowsReceivers = dropArguments >= 4;
  const config = {
    cfg_netns: u32(options.netns),
    cfg_conntrack: Uint8Array.of(hasConntrack ? 1 : 0),
    cfg_drop_has_socket: Uint8Array.of(knowsReceivers ? 1 : 0),
    cfg_reason_consumed: u32(reasons['SKB_CONSUMED'] ?? NO_REASON),
    cfg_reason_not_specified: u32(reasons['SKB_DROP_REASON_NOT_SPECIFIED'] ?? NO_REASON),
    cfg_told_interval_ns: u64(options.podRate === 0 ? 0n : BigInt(Math.max(1, Math.floor(1e9 / options.podRate)))),
    ...(flowEntries === undefined ? {} : flowShares(flowEntries)),
    cfg_filters: Uint8Array.of(canFilter(process.arch, kernel) ? 1 : 0),
    cfg_wake_bytes: u64(BigInt(Math.floor(options.ringBytes / WAKE_FRACTION))),
  };
  const openAt = (path: string, without: string[]) =>
    native.openObject(path, {
      config,
      without,
      mapSizes: { sightings: options.ringBytes, ...(flowEntries === undefined ? {} : { flows: flowEntries }) },
      preallocated: isBefore(kernel, ALLOCATING_KERNEL) ? ALL_AT_ONCE : AS_THEY_COME,
      expect: { cfg_layout_version: u32(LAYOUT_VERSION) },
      ...(hasConntrack ? { moduleBtf: 'nf_conntrack' } : {}),
    });
  const byCast = objectByCast(native, options.objectPath);
  let conntrack = hasConntrack ? CONNTRACK.byProbeReads : CONNTRACK.unknown;
  const open = (without: string[]) => {
    if (byCast === undefined) return openAt(options.objectPath, without);
    try {
      const object = openAt(byCast, without);
      if (hasConntrack) conntrack = CONNTRACK.byCast;
      return object;
    } catch (error) {
      // What is refused for the drops' sake the caller leaves out. Else a kernel may know the cast and not take it: the other object says the same, at more cost.
      if (isOfDrops(error) || isOutOfMemory(error)) throw error;
      return openAt(options.objectPath, without);
    }
  };
  const { object, drops } =
    dropArguments >= 3 ? openWithDrops(open, kernel) : { object: openWithout(open, kernel), drops: NO_REASONS };
  const notices: LoadNotice[] = [];
  if (!hasConntrack) notices.push(NO_CONNTRACK);
  if (drops.state === 'unavailable') {
    notices.push(noDrops(drops.reason ?? ''));
  }
  return {
    object,
    dropReasons: new Map(Object.entries(reasons).map(([name, value]) => [value, name])),
    knowsReceivers,
    conntrack,
    drops,
    config,
    notices,
  };
}

/** The object that was built beside for kernels that let programs load from their own sk_buff; undefined where this one is no such kernel. */
function objectByCast({ btf }: NativeModule, path: string): string | undefined {
  const byCast = path.replace(/\.bpf\.o$/, '.kern-ctx.bpf.o');
  const isKnown = (btf.functionParameters([KERN_CTX])[KERN_CTX]?.length ?? 0) > 0;
  return isKnown && byCast !== path && existsSync(byCast) ? byCast : undefined;
}

function isOfDrops(error: unknown): boolean {
  return String((error as { op?: string }).op).includes(DROP_PROGRAM);
}

/** What one pod's interface may have of the flow table, and one that many share: the same parts of it as by default. */
function flowShares(entries: number): Record<string, Uint8Array> {
  return { cfg_flows_of_pod: u32(Math.floor(entries / 16)), cfg_flows_of_shared: u32(Math.floor(entries / 4)) };
}

/** Whether the running kernel has types of conntrack: those of a module come and go with it. */
export function knowsConntrack({ btf }: NativeModule): boolean {
  return btf.hasMember('sk_buff', '_nfct') && btf.hasStruct('nf_conn');
}

export function noDrops(reason: string): LoadNotice {
  return { code: 'KTRACE_N_NO_DROPS', text: `drops cannot be told: ${reason}` };
}

/** Whether a program with functions may tail-call another one: on arm64 since 6.0 (d4609a5d8c70), on x86-64 wherever the rest runs. */
export function canFilter(arch: string, kernel: string): boolean {
  return arch !== 'arm64' || Number.parseInt(kernel, 10) >= 6;
}

const KERN_CTX = 'bpf_cast_to_kern_ctx';
/** How a packet's entry is read: which of the two objects was loaded shows here alone. */
const CONNTRACK = {
  byCast: conntrackHook('on', `read at the tc hooks by ${KERN_CTX}`),
  byProbeReads: conntrackHook('on', 'read at the tc hooks by probe reads'),
  unknown: conntrackHook('unavailable', 'its types are not in BTF'),
};
const NO_CONNTRACK: LoadNotice = {
  code: 'KTRACE_N_NO_CONNTRACK',
  text: "translations cannot be told: conntrack's types are not in this kernel's BTF (is nf_conntrack loaded?)",
};
const NO_REASONS: HookReport = {
  name: 'drops',
  backend: 'none',
  state: 'unavailable',
  reason: 'skb:kfree_skb tells no reason before Linux 5.17',
};

function conntrackHook(state: HookReport['state'], reason: string): HookReport {
  return { name: 'conntrack', backend: 'none', state, reason };
}

/** With the drops' program where the kernel takes it; a refusal of that one costs the drops alone. Want of memory is no refusal: it may pass. */
function openWithDrops(open: (without: string[]) => BpfObject, kernel: string): { object: BpfObject; drops: HookReport } {
  try {
    return { object: open([]), drops: { name: 'drops', backend: 'tracepoint', state: 'idle' } };
  } catch (error) {
    if (!isOfDrops(error) || isOutOfMemory(error)) throw loadError(error, kernel);
    const drops: HookReport = { name: 'drops', backend: 'none', state: 'unavailable', reason: messageOf(error) };
    return { object: openWithout(open, kernel), drops };
  }
}

function openWithout(open: (without: string[]) => BpfObject, kernel: string): BpfObject {
  try {
    return open([DROP_PROGRAM]);
  } catch (error) {
    throw loadError(error, kernel);
  }
}

function isBefore(kernel: string, [firstMajor, firstMinor]: readonly [number, number]): boolean {
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  return major < firstMajor || (major === firstMajor && minor < firstMinor);
}

function loadError(error: unknown, kernel: string): KtraceError {
  if (error instanceof KtraceError) return error;
  const { code, log } = error as { code?: string; log?: string };
  const hasLog = log !== undefined && log !== '';
  // The verifier says EACCES as well, but not without its reasons.
  const isRefused = code === 'EPERM' || (code === 'EACCES' && !hasLog);
  // By its number: a vendor's kernel may have had all that is needed ported back, so it is asked only when the kernel has refused the programs.
  if (!isRefused && isBefore(kernel, OLDEST_KERNEL)) {
    const oldest = OLDEST_KERNEL.join('.');
    return new KtraceError('KTRACE_E_KERNEL', `Expected Linux ${oldest} or later, got ${kernel}: ${messageOf(error)}`, {
      cause: error,
      hint: `Use a node with Linux ${oldest} or later; ktrace is tested on 6.1 and 6.18.`,
    });
  }
  const tail = hasLog ? `\n${log}` : '';
  const message = `The BPF programs could not be loaded: ${messageOf(error)}${tail}`;
  return new KtraceError(isRefused ? 'KTRACE_E_NOT_ROOT' : 'KTRACE_E_LOAD', message, {
    cause: error,
    hint: isRefused
      ? 'Run as root, or with the capabilities BPF, PERFMON and NET_ADMIN.'
      : isOutOfMemory(error)
        ? "Raise the memory limit of the agent's container, or free memory of the node, and try again."
        : "The last lines above are the kernel's own words; please report them with `uname -r`.",
  });
}
