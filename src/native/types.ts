/** What the addon gives. It has no policy: it opens, loads, attaches, reads; who decides sits in `agent/`. */

/** A network interface of the namespace the process runs in, from RTM_NEWLINK. */
export interface Link {
  ifindex: number;
  name: string;
  /** IFLA_INFO_KIND: `veth`, `bridge`, `vxlan`, `ipip`, `tun`, …; empty for hardware. */
  kind: string;
  up: boolean;
  mtu: number;
  /** IFLA_LINK: the peer of a veth, the lower device of a vlan; 0 when none. */
  link: number;
  /** IFLA_LINK_NETNSID: the namespace id where `link` lives; -1 when it is this one. */
  linkNetnsId: number;
  /** IFLA_MASTER: the bridge; 0 when none. */
  master: number;
  /** IFLA_VXLAN_PORT; 0 when this is no VXLAN device. */
  vxlanPort: number;
  /** IFLA_GENEVE_PORT; 0 when this is no Geneve device. */
  genevePort: number;
  /** ARPHRD_*, e.g. 1 Ethernet, 65534 none (tun, L3), 768 IPIP. Says whether packets carry an Ethernet header. */
  arpType: number;
}

export type LinkChange =
  | { kind: 'new'; link: Link }
  | { kind: 'gone'; ifindex: number; name: string }
  /** An address of this interface came, went or changed. */
  | { kind: 'address'; ifindex: number }
  /** A default route of the main table came, went or changed. */
  | { kind: 'route' }
  /** The kernel dropped netlink messages (ENOBUFS): read everything anew. */
  | { kind: 'overrun' };

export interface Address {
  ifindex: number;
  /** Canonical text without the prefix. */
  ip: string;
  prefixLength: number;
}

export interface ProgramInfo {
  id: number;
  /** Kernel statistics; zero unless kernel.bpf_stats_enabled. */
  runCount: bigint;
  runNs: bigint;
  recursionMisses: bigint;
  /** Translated instructions. */
  instructions: number;
}

export interface TestRunResult {
  returnValue: number;
  durationNs: number;
}

/**
 * An opened and loaded BPF object. Every failure throws an Error with `code` (errno name), `op`
 * (what was tried, e.g. `load program ktrace_in`), and `log` (the verifier's last lines, when there are any).
 * An object that is collected, or whose environment ends, without `close()` is closed all the same.
 * After `close()` every method throws with code `KTRACE_E_CLOSED`; a second `close()` does nothing.
 */
export interface BpfObject {
  /** Map value and key are exact in size; per-CPU values are all CPUs' one after the other, each rounded up to 8 bytes. */
  mapUpdate(map: string, key: Uint8Array, value: Uint8Array, flags?: number): void;
  mapLookup(map: string, key: Uint8Array): Buffer | undefined;
  /** False when there was none. */
  mapDelete(map: string, key: Uint8Array): boolean;
  /** Removes these entries, of a map that is not per CPU, and gives those that were there as they were last: as in mapEntries. `keys`: one after the other. */
  mapTake(map: string, keys: Uint8Array): Buffer;
  /** All entries: key, value, key, value, … (values as in mapLookup, nothing in between). At most `max` entries. */
  mapEntries(map: string, max?: number): Buffer;
  /** `{ keyBytes, valueBytes, maxEntries }`; valueBytes of a per-CPU map is that of all CPUs. */
  mapInfo(map: string): { keyBytes: number; valueBytes: number; maxEntries: number };
  /** Puts a program into a program array. */
  mapSetProgram(map: string, index: number, program: string): void;
  /**
   * Loads a tc program of these instructions (8 bytes each, as the kernel takes them) and puts it into a program array, in place of what was there.
   * `BPF_PSEUDO_MAP_IDX` in a wide load stands for the map of this object with that index in `maps`. The array alone keeps the program.
   */
  mapSetCode(map: string, index: number, code: Uint8Array, maps: readonly string[]): void;
  /** Writes a global variable of .data or .bss (not of .rodata once loaded), in place by mmap; 4 and 8 bytes at once, more in pieces. */
  setGlobal(name: string, value: Uint8Array): void;
  getGlobal(name: string): Buffer;
  /**
   * Attaches before all others; gives a handle. `clsact` creates the qdisc where it is missing, and fails with EINVAL where another
   * kind of filter holds priority 1. Detaching removes such a qdisc again when no filter is left on it.
   * tcx costs 4 to 30 ms to attach and as much to detach, in which the loop stands still: the kernel waits for an RCU grace period
   * with the RTNL lock held (tcx_entry_sync, measured on 6.18), so several threads gain nothing. clsact costs about 0.15 ms.
   */
  attachTc(program: string, ifindex: number, direction: 'in' | 'out', how: 'tcx' | 'clsact'): number;
  /** tp_btf, fentry, fexit. */
  attachTracing(program: string): number;
  /** To the beginning of a kernel function, a module's too, by its name. */
  attachKprobe(program: string, kernelFunction: string): number;
  detach(handle: number): void;
  /** False when somebody else has removed a filter of clsact, or replaced it; what tcx and tracing attached stays until it is detached. */
  isAttached(handle: number): boolean;
  testRun(program: string, data: Uint8Array, ifindex?: number, repeat?: number): TestRunResult;
  programInfo(program: string): ProgramInfo;
  programs(): string[];
  close(): void;
}

export interface BpfObjectOptions {
  /** Values of `const volatile` variables, by name, exact in size. */
  config?: Record<string, Uint8Array>;
  /** max_entries (ring buffers: bytes, a power of two times the page size), by map name. */
  mapSizes?: Record<string, number>;
  /** Whether a hash map's elements are all allocated when it is made, by map name, or each when it comes; others are as the object has them. */
  preallocated?: Record<string, boolean>;
  /** Programs not to load. */
  without?: string[];
  /** Programs to load, and no others; those whose section begins with `?` are loaded only when they are named here. */
  only?: string[];
  /** The kernel functions that programs of fentry are for, by program. Modules' functions need CAP_SYS_ADMIN (libbpf 1.1 asks for their BTF by id). */
  targets?: Record<string, string>;
  /** Use this object's maps and global variables instead of own ones; what is fixed at load stays each object's own. */
  shareMapsOf?: BpfObject;
  /** `const volatile` variables that the object must bring with exactly these values, else KTRACE_E_LAYOUT tells both. */
  expect?: Record<string, Uint8Array>;
  /** A kernel module (e.g. `nf_conntrack`) whose types CO-RE shall find too; ignored where it has no BTF of its own. */
  moduleBtf?: string;
}

export interface RingReader {
  /** Consumes now; the callback runs before this returns. */
  drain(): void;
  /** Consumes this often from now on, in place of every `intervalMs`. */
  pace(intervalMs: number): void;
  /** Totals since the start. */
  stats(): { records: number; bytes: number; calls: number; wakeups: number };
  close(): void;
}

export interface LinkWatcher {
  /** All links at this moment. */
  links(): Link[];
  close(): void;
}

export interface NativeModule {
  /** Opens and loads; all maps and programs exist when it returns. */
  openObject(path: string, options?: BpfObjectOptions): BpfObject;
  /**
   * Consumes a ring buffer every `intervalMs` and when the kernel side asks for it (forced wake-up). One call a wake-up, with one Buffer
   * of many records, each preceded by 8 bytes (its length as u32 in the machine's order, and a zero u32) and padded to 8 bytes, so that
   * a record is as aligned as the Buffer (length counts neither the prefix nor the padding). The Buffer is a copy: it may be kept.
   * At most `batchBytes` a call (1 MiB unless told; a larger record comes alone); what does not fit comes in the loop's next
   * turns, one call each, so that timers and sockets are never kept waiting for longer than one call takes. A callback that throws becomes an uncaught exception and the reader goes on.
   * A callback may close the reader. Does not keep the process alive on its own when `unref` is true. Until it is closed the reader keeps
   * its object from being collected; after the object's `close()` it can still drain what the ring holds.
   * `mostBusy`, above 0 and 1 at most (1 unless told): the share of the thread's time that readings with their callbacks may take. After one that took long
   * it pauses accordingly, for 250 ms at most, and is not woken either; meanwhile the ring fills, and what it cannot hold is for the kernel side to count.
   * `restsIn` names a variable of four bytes: after some readings that found nothing it is set to 1, and the ring is read every 2 s alone until the kernel
   * side, which clears it, asks for more.
   */
  readRing(
    object: BpfObject,
    map: string,
    options: { intervalMs: number; batchBytes?: number; mostBusy?: number; unref?: boolean; restsIn?: string },
    onRecords: (records: Buffer) => void,
  ): RingReader;
  /** Netlink, no polling: `new` for every change of a link, too. Keeps the process alive until it is closed. */
  watchLinks(onChange: (change: LinkChange) => void): LinkWatcher;
  /** Addresses of this namespace, or, by RTM_GETADDR with IFA_TARGET_NETNSID, of the namespace with this id. */
  addresses(netnsId?: number): Address[];
  /** Interface indexes of the default routes, IPv4 and IPv6, of the main table. */
  defaultRouteInterfaces(): number[];
  /** CLOCK_REALTIME − CLOCK_MONOTONIC in ns, read with the least disturbance of several tries. */
  realtimeOffsetNs(): bigint;
  /** Gives memory that malloc keeps, and nothing uses, back to the system. */
  trimMemory(): void;
  btf: {
    /** True when /sys/kernel/btf/vmlinux can be read and parsed (or the file given at loading). */
    available(): boolean;
    /** Name → value of an enum of the running kernel; undefined when there is no such enum. */
    enumValues(name: string): Record<string, number> | undefined;
    hasStruct(name: string): boolean;
    hasMember(struct: string, member: string): boolean;
    /**
     * Types of the parameters of the tracepoint's `btf_trace_NAME`, as C writes them (`struct sk_buff *`, `enum skb_drop_reason`), without
     * the leading void*; undefined when there is no such tracepoint.
     */
    tracepointArguments(name: string): string[] | undefined;
    /** By name: the names of the parameters of every function of this name that the kernel and its modules have types of. */
    functionParameters(names: readonly string[]): Record<string, string[][]>;
  };
  /** Throws what the kernel says to a program of fentry, attached to one of its own functions and detached again. */
  tryFentry(): void;
  /** Throws what the kernel says to a program for kprobes; it is loaded and not attached. */
  tryKprobe(): void;
  /** True when the running kernel has tcx (6.6+), found out without attaching anything. */
  tcxSupported(): boolean;
  /** Removes clsact filters whose program name starts with `prefix` on all interfaces, living ones of this process too, and a clsact qdisc
   * that is empty afterwards. Gives how many filters were removed. */
  removeStaleFilters(prefix: string): number;
  /**
   * Writes `mark` (at most 31 bytes, as `value`) to a file, and `value` in its place when the handle is closed, or collected, or when this process has ended in whatever
   * way: a child waits for that (`pid()`), which holds none of this process's descriptors and is ended by the close. Of the file's content only `mark` is
   * replaced. Throws, with the file as it was, when it cannot be written or there can be no child. Closing throws nothing.
   */
  guardFile(path: string, mark: string, value: string): { pid(): number; close(): void };
  /** Turns kernel.bpf_stats on while the handle is open (BPF_ENABLE_STATS); needs CAP_SYS_ADMIN, unlike all else here. Close it: it is not collected soon. */
  enableStats(): { close(): void };
}
