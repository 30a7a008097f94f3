import { readdirSync } from 'node:fs';
import { release } from 'node:os';
import { BODY, INTERFACE, INTERFACE_VALUE, STATS } from '../../event/layout.ts';
import type { HookReport } from '../../event/node-report.ts';
import type { KernelProgram } from '../../filter/compile/ebpf-assembly.ts';
import type { InterfaceKind } from '../../flow/open-packet.ts';
import { u32, u64 } from '../../native/bytes.ts';
import type { BpfObject, NativeModule } from '../../native/types.ts';
import { messageOf } from '../../util/errors.ts';
import { KernelFlows } from './flow-table.ts';
import { canFilter, knowsConntrack, type Loaded, type LoadNotice, type LoadOptions, loadForKernel, noDrops } from './load.ts';
import { missesOf, Probes, type ProbesOptions } from './probes/probes.ts';
import { openExpediting, type RcuExpedited } from './rcu.ts';
import { TargetMaps } from './target-maps.ts';
import { TickRule } from './ticks.ts';

/** Programs' names begin with this. Filters of an agent that was killed are found by it. */
const PROGRAM_PREFIX = 'ktrace_';
/** Size of the kernel's `vxlan_ports`. */
export const MAX_VXLAN_PORTS = 4;
/** Size of the kernel's `geneve_ports`. */
export const MAX_GENEVE_PORTS = 2;
/** Size of the kernel's `uplinks`. */
export const MAX_UPLINKS = 8;
const BODIES: [number, string][] = [
  [BODY.in, 'body_in'],
  [BODY.out, 'body_out'],
  [BODY.l3In, 'body_l3_in'],
  [BODY.l3Out, 'body_l3_out'],
  [BODY.told, 'body_told'],
  [BODY.untold, 'body_untold'],
  [BODY.untoldFlow, 'body_untold_flow'],
  [BODY.closeIn, 'body_close_in'],
  [BODY.closeOut, 'body_close_out'],
  [BODY.taggedIn, 'body_tagged_in'],
  [BODY.taggedOut, 'body_tagged_out'],
];

export interface TracerOptions extends LoadOptions {
  attach: 'auto' | 'tcx' | 'clsact';
  /** How kernel functions are probed; `auto`: in whichever way the kernel allows. */
  probes?: ProbesOptions['backend'];
  /** Keep clsact filters of other agents on this node; else those that a killed agent left are removed. */
  keepFilters?: boolean;
  /** The folder with the BTF of the kernel and its modules. */
  btfFolder?: string;
  /** Whether RCU grace periods are expedited while many programs are attached or detached; `auto` unless given. */
  rcuExpedited?: RcuExpedited;
}

export type KernelStats = Record<Exclude<keyof typeof STATS, 'size' | 'countedAtOnce' | 'cutAtOnce'>, number>;

/** The BPF programs while they are loaded: attaches them, fills their maps, reads their counters. */
export class Tracer {
  readonly tcBackend: 'tcx' | 'clsact';
  readonly #options: TracerOptions;
  /** Runs work that attaches or detaches many programs. */
  readonly expedite: (work: () => void) => void;
  readonly #native: NativeModule;
  readonly #attached = new Map<number, { kind: InterfaceKind; hasLinkLayer: boolean; handles: number[] }>();
  readonly flowTable = new KernelFlows(() => this.object);
  readonly targets = new TargetMaps(() => this.object);
  readonly #keepsFilters: boolean;
  /** As they were loaded last. */
  #loaded: Loaded & { probes: Probes };
  #isLoaded = true;
  /** Names of the BTF files when they were listed last. */
  #types: string;
  readonly #podNetns = new Set<number>();
  /** Values of globals that are set again when the programs are loaded again, by name. */
  readonly #kept = new Map<string, Uint8Array>();
  readonly #tickRule = new TickRule();
  /** Counters of earlier loads. */
  #statsBefore: Partial<KernelStats> = {};
  #missesBefore = 0;
  #dropHandle: number | undefined;
  #dropState: HookReport;
  /** Why the drops' program could not be attached. */
  #dropRefusal: string | undefined;

  /** @throws what {@link loadForKernel} throws */
  constructor(options: TracerOptions) {
    const { native, attach } = options;
    this.#options = options;
    this.#native = native;
    this.#types = this.#listTypes();
    this.expedite = openExpediting({ guardFile: native.guardFile, choice: options.rcuExpedited });
    const loaded = loadForKernel(options);
    this.#dropState = loaded.drops;
    this.tcBackend = attach === 'auto' ? (native.tcxSupported() ? 'tcx' : 'clsact') : attach;
    this.#keepsFilters = options.keepFilters === true;
    if (!this.#keepsFilters) native.removeStaleFilters(PROGRAM_PREFIX);
    this.#loaded = this.#fill(loaded);
    this.targets.clear();
  }

  get object(): BpfObject {
    return this.#loaded.object;
  }

  get dropReasons(): ReadonlyMap<number, string> {
    return this.#loaded.dropReasons;
  }

  get knowsReceivers(): boolean {
    return this.#loaded.knowsReceivers;
  }

  get probes(): Probes {
    return this.#loaded.probes;
  }

  /** Whether conntrack was loaded after the programs: they must be loaded again to read it. Cheap while no module is loaded. */
  isOutdated(): boolean {
    if (this.#loaded.conntrack.state !== 'unavailable') return false;
    const types = this.#listTypes();
    if (types === this.#types) return false;
    this.#types = types;
    return knowsConntrack(this.#native);
  }

  /**
   * Loads the programs again, for the kernel as it is now. What was set about interfaces (pods' namespaces, tunnels, uplinks) is kept; targets, filter and
   * snap length must be set again. When loading throws, nothing has changed; when what was kept cannot be set, they are not loaded any more.
   * @param stop called when the new programs are loaded. It detaches everything and stops reading the ring
   */
  reload(stop: () => void): void {
    const loaded = this.#fill(loadForKernel(this.#options));
    stop();
    this.#closeObjects();
    this.#use(loaded);
  }

  /**
   * Loads the programs after {@link unload}, as {@link reload} does. True when they were not loaded.
   * @throws what {@link loadForKernel} throws; they are not loaded then
   */
  load(): boolean {
    if (this.#isLoaded) return false;
    this.#types = this.#listTypes();
    this.#use(this.#fill(loadForKernel(this.#options)));
    return true;
  }

  /** Gives the kernel the memory of programs and maps back. Until {@link load} nothing can be attached or asked of the kernel here; counters and hooks are told as they were. */
  unload(): void {
    if (!this.#isLoaded) return;
    for (const ifindex of [...this.#attached.keys()]) this.detach(ifindex);
    this.detachStack();
    this.#closeObjects();
  }

  get isLoaded(): boolean {
    return this.#isLoaded;
  }

  #closeObjects(): void {
    const [stats, misses] = [this.stats(), this.recursionMisses()];
    this.#statsBefore = stats;
    this.#missesBefore = misses;
    this.#isLoaded = false;
    this.#loaded.probes.close();
    this.#loaded.object.close();
    this.flowTable.clear();
  }

  #use(loaded: Loaded & { probes: Probes }): void {
    this.#loaded = loaded;
    this.#isLoaded = true;
    this.#dropState = loaded.drops;
    this.#dropRefusal = undefined;
    try {
      this.targets.clear();
      for (const netns of this.#podNetns) this.setPodNetns(netns, true);
      for (const [name, value] of this.#kept) this.#setGlobal(name, value);
    } catch (error) {
      // Half of it would trace, and tell less than there is.
      this.#closeObjects();
      throw error;
    }
  }

  /** Sets the bodies, and prepares the probes. */
  #fill(loaded: Loaded): Loaded & { probes: Probes } {
    const { native, objectPath, probes: backend = 'auto' } = this.#options;
    try {
      for (const [index, program] of BODIES) loaded.object.mapSetProgram('bodies', index, program);
      const probes = new Probes({ native, objectPath, shareMapsOf: loaded.object, config: loaded.config, backend });
      return { ...loaded, probes };
    } catch (error) {
      loaded.object.close();
      throw error;
    }
  }

  #listTypes(): string {
    try {
      return readdirSync(this.#options.btfFolder ?? '/sys/kernel/btf').join('\n');
    } catch {
      return '';
    }
  }

  hooks(): HookReport[] {
    return [
      { name: 'tc', backend: this.tcBackend, state: this.#attached.size > 0 ? 'on' : 'idle' },
      this.#dropRefusal === undefined
        ? { ...this.#dropState }
        : { name: 'drops', backend: 'none', state: 'unavailable', reason: this.#dropRefusal },
      { ...this.#loaded.conntrack },
      ...this.probes.hooks(),
    ];
  }

  /** What this kernel does not allow to trace. */
  get notices(): readonly LoadNotice[] {
    const { notices } = this.#loaded;
    return this.#dropRefusal === undefined ? notices : [...notices, noDrops(this.#dropRefusal)];
  }

  get attachedInterfaces(): number {
    return this.#attached.size;
  }

  /** Attaches to both directions of an interface. Throws the kernel's error; ENODEV when the interface is gone. */
  attach(ifindex: number, kind: InterfaceKind, hasLinkLayer: boolean): void {
    if (this.#attached.has(ifindex)) return;
    this.#setInterface(ifindex, kind, 0);
    const [into, outOf] = hasLinkLayer ? ['ktrace_in', 'ktrace_out'] : ['ktrace_l3_in', 'ktrace_l3_out'];
    const handles: number[] = [];
    try {
      handles.push(this.object.attachTc(into as string, ifindex, 'in', this.tcBackend));
      handles.push(this.object.attachTc(outOf as string, ifindex, 'out', this.tcBackend));
    } catch (error) {
      this.#release(handles);
      // Without programs nothing is seen at this interface, and the kernel side must not assume that it is.
      this.object.mapDelete('interfaces', u32(ifindex));
      throw error;
    }
    this.#attached.set(ifindex, { kind, hasLinkLayer, handles });
  }

  /** Also of an interface that is gone. All its handles are freed; when the kernel refuses to detach one, that error is thrown at the end. */
  detach(ifindex: number): void {
    const attached = this.#attached.get(ifindex);
    if (attached === undefined) return;
    this.#attached.delete(ifindex);
    const refusal = this.#release(attached.handles);
    this.object.mapDelete('interfaces', u32(ifindex));
    if (refusal !== undefined) throw refusal;
  }

  /** Detaches all; gives the first error. */
  #release(handles: readonly number[]): unknown {
    let refusal: unknown;
    for (const handle of handles) {
      try {
        this.object.detach(handle);
      } catch (error) {
        refusal ??= error;
      }
    }
    return refusal;
  }

  isAttached(ifindex: number): boolean {
    return this.#attached.has(ifindex);
  }

  /** Attached by us, but another program has removed or replaced one of the filters. */
  isDisplaced(ifindex: number): boolean {
    return this.#attached.get(ifindex)?.handles.some((handle) => !this.object.isAttached(handle)) ?? false;
  }

  /** Detaches what is left at an interface, and attaches again; throws what {@link attach} throws. */
  reattach(ifindex: number): void {
    const attached = this.#attached.get(ifindex);
    if (attached === undefined) return;
    this.#attached.delete(ifindex);
    this.#release(attached.handles);
    this.attach(ifindex, attached.kind, attached.hasLinkLayer);
  }

  /** Attaches to drops and to kernel functions. When the kernel refuses one, only its facts are missing; the next call tries again. */
  attachStack(): void {
    this.probes.setActive(true);
    if (this.#dropState.state !== 'idle') return;
    try {
      this.#dropHandle = this.object.attachTracing('ktrace_drop');
      this.#dropState = { ...this.#dropState, state: 'on' };
      this.#dropRefusal = undefined;
    } catch (error) {
      this.#dropRefusal = messageOf(error);
    }
  }

  detachStack(): void {
    this.probes.setActive(false);
    const handle = this.#dropHandle;
    if (handle === undefined) return;
    this.#dropHandle = undefined;
    this.#dropState = { ...this.#dropState, state: 'idle' };
    this.object.detach(handle);
  }

  /** Inode of the network namespace of a veth's or netkit's other end; 0 when it is not known. Runs a program once, and attaches nothing. */
  peerNetns(ifindex: number): number {
    this.object.testRun('ktrace_peer', new Uint8Array(64), ifindex);
    return this.object.getGlobal('peer_netns').readUInt32LE();
  }

  /** What the kernel calls an address: `function` or `function [module]`; the address where it knows none. Runs a program once, and attaches nothing. */
  symbolText(address: bigint): string {
    const packet = new Uint8Array(64);
    packet.set(u64(address));
    this.object.testRun('ktrace_symbol', packet);
    const text = this.object.getGlobal('symbol_text');
    return text.toString('latin1', 0, text.indexOf(0));
  }

  /**
   * Lets the kernel side take the time of what it counts from its ticks, once two calls of this, half a second apart, have shown how long they are. Later calls
   * correct it.
   */
  readTicks(): void {
    this.object.testRun('ktrace_ticks', new Uint8Array(64));
    const ticks = this.#tickRule.add({
      count: this.object.getGlobal('ticks_counted').readBigUInt64LE(),
      ns: this.object.getGlobal('ticks_counted_ns').readBigUInt64LE(),
    });
    if (ticks === undefined) return;
    this.#keepGlobal('tick_base_ns', u64(BigInt.asUintN(64, ticks.baseNs)));
    this.#keepGlobal('tick_ns', u64(ticks.tickNs));
  }

  /** Kept while the programs are not loaded. */
  setPodNetns(netns: number, isOurs: boolean): void {
    if (isOurs) {
      if (this.#isLoaded) this.object.mapUpdate('pod_netns', u32(netns), u32(1));
      this.#podNetns.add(netns);
    } else {
      this.#podNetns.delete(netns);
      if (this.#isLoaded) this.object.mapDelete('pod_netns', u32(netns));
    }
  }

  /** At most {@link MAX_VXLAN_PORTS}. */
  setVxlanPorts(ports: readonly number[]): void {
    this.#keepGlobal('vxlan_ports', portBytes(ports, MAX_VXLAN_PORTS));
  }

  /** At most {@link MAX_GENEVE_PORTS}. */
  setGenevePorts(ports: readonly number[]): void {
    this.#keepGlobal('geneve_ports', portBytes(ports, MAX_GENEVE_PORTS));
  }

  /** Whether the node has a device for IP in IP. Without one, protocols 4 and 41 are not treated as tunnels. */
  setIpTunnels(hasSome: boolean): void {
    this.#keepGlobal('has_ip_tunnels', u32(hasSome ? 1 : 0));
  }

  /** The interfaces where the kernel side looks into tunnels; at most {@link MAX_UPLINKS}. */
  setUplinks(ifindexes: readonly number[]): void {
    const bytes = new Uint8Array(MAX_UPLINKS * 4);
    const view = new DataView(bytes.buffer);
    for (const [index, ifindex] of ifindexes.entries()) view.setUint32(index * 4, ifindex, true);
    this.#keepGlobal('uplinks', bytes);
  }

  /** Packets of addresses with the bit `snap` are captured up to this length, or to the end of their headers if that is more. At most `CAPTURE.most`. */
  setSnapBytes(bytes: number): void {
    this.#setGlobal('snap_bytes', u32(bytes));
  }

  /** Only what this program takes is emitted; undefined: everything. One map update, nothing is attached again. Throws the verifier's error. */
  setFilter(program: KernelProgram | undefined): void {
    if (program === undefined) {
      this.#setGlobal('filter_is_set', u32(0));
      this.object.mapDelete('filters', u32(0));
    } else {
      if (!canFilter(process.arch, release())) throw new Error('on arm64 a kernel of 6.0 or later can be given filters');
      this.object.mapSetCode('filters', 0, program.code, program.maps);
      this.#setGlobal('filter_is_set', u32(1));
    }
    // Last: what the former filter has left out of a flow is looked at again.
    this.targets.beginGeneration();
  }

  /** Sets in the kernel how many entries each interface has: the kernel itself only adds new ones. */
  settleFlowShares(): void {
    for (const [ifindex, { kind }] of this.#attached) {
      const flows = this.flowTable.shares.get(ifindex);
      if (flows !== undefined) this.#setInterface(ifindex, kind, flows);
    }
  }

  /** The kernel's map of rates, keys and values; see {@link CutRates}. */
  rates(): Buffer {
    return this.object.mapEntries('rates');
  }

  /** What the kernel cut of pods without a closer look, by their interfaces and addresses; see {@link CutRates}. */
  podCuts(): Buffer {
    return this.object.getGlobal('pod_cuts');
  }

  /** The kernel side's counters since the start, summed over all CPUs. */
  stats(): KernelStats {
    const values = (this.#isLoaded ? this.object.mapLookup('stats', u32(0)) : undefined) ?? Buffer.alloc(0);
    const sumAt = (offset: number): number => {
      let sum = 0n;
      for (let at = 0; at + STATS.size <= values.length; at += STATS.size) sum += values.readBigUInt64LE(at + offset);
      return Number(sum);
    };
    const { size: _size, countedAtOnce, cutAtOnce, ...offsets } = STATS;
    const counted = sumAt(countedAtOnce);
    const cut = sumAt(cutAtOnce);
    const atOnce: Partial<KernelStats> = { matched: counted + cut, counted, cut };
    const sums = {} as KernelStats;
    for (const [name, offset] of Object.entries(offsets) as [keyof KernelStats, number][]) {
      sums[name] = (this.#statsBefore[name] ?? 0) + sumAt(offset) + (atOnce[name] ?? 0);
    }
    return sums;
  }

  /** Program runs that the kernel skipped because a program was already running on that CPU. */
  recursionMisses(): number {
    return this.#missesBefore + (this.#isLoaded ? missesOf(this.object) + this.probes.recursionMisses() : 0);
  }

  close(): void {
    this.unload();
    if (this.tcBackend === 'clsact' && !this.#keepsFilters) this.#native.removeStaleFilters(PROGRAM_PREFIX);
  }

  #setInterface(ifindex: number, kind: InterfaceKind, flows: number): void {
    const value = Buffer.alloc(INTERFACE_VALUE.size);
    value.writeUInt32LE(INTERFACE[kind], INTERFACE_VALUE.kind);
    value.writeUInt32LE(flows, INTERFACE_VALUE.flows);
    this.object.mapUpdate('interfaces', u32(ifindex), value);
  }

  /** Sets a global now, where the programs are loaded, and whenever they are loaded again. */
  #keepGlobal(name: string, value: Uint8Array): void {
    this.#kept.set(name, value);
    if (this.#isLoaded) this.#setGlobal(name, value);
  }

  #setGlobal(name: string, value: Uint8Array): void {
    this.object.setGlobal(name, value);
  }
}

function portBytes(ports: readonly number[], room: number): Uint8Array {
  const bytes = new Uint8Array(room * 2);
  const view = new DataView(bytes.buffer);
  for (const [index, port] of ports.entries()) view.setUint16(index * 2, port, true);
  return bytes;
}
