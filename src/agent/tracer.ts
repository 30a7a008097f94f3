import { decodeTuple } from '../event/decode.ts';
import { ADDRESS, FLOW, FLOW_KEY, INTERFACE, LAYOUT_VERSION, SERVICE_KEY, STATS } from '../event/layout.ts';
import { protocolName } from '../event/names.ts';
import type { InterfaceKind } from '../flow/assemble.ts';
import type { CountedFlow } from '../flow/flows.ts';
import type { BpfObject, NativeModule } from '../native/types.ts';
import { KtraceError, messageOf } from '../util/errors.ts';
import type { HookState } from './feed.ts';

/** Programs' names begin with this: filters left behind by a killed agent are found by it. */
const PROGRAM_PREFIX = 'ktrace_';
const BODIES = ['body_ingress', 'body_egress', 'body_l3_in', 'body_l3_out'];
/** From this fill of the ring on the kernel wakes the reader: a quarter of it. */
const WAKE_FRACTION = 4;

export interface TracerOptions {
  native: NativeModule;
  objectPath: string;
  /** Inode of the node's network namespace. */
  netns: number;
  ringBytes: number;
  attach: 'auto' | 'tcx' | 'clsact';
}

export type KernelStats = Record<Exclude<keyof typeof STATS, 'size'>, number>;

/** Addresses and ports for the kernel, see `enum ktrace_address`. */
export interface KernelTargets {
  /** 16 address bytes in hex → ADDRESS bits. */
  addresses: Map<string, number>;
  /** `struct ktrace_service_key` in hex. */
  servicePorts: Set<string>;
  bits: Uint8Array;
  everyPacket: boolean;
}

/** The loaded BPF object as this agent uses it: what is attached where, the targets' maps, the counters. */
export class Tracer {
  readonly object: BpfObject;
  readonly notices: { code: `KTRACE_N_${string}`; text: string }[] = [];
  readonly tcBackend: 'tcx' | 'clsact';
  readonly dropReasons: ReadonlyMap<number, string>;
  readonly #native: NativeModule;
  readonly #attached = new Map<number, number[]>();
  readonly #conntrackBackend: HookState;
  #dropHandle: number | undefined;
  #dropState: HookState;
  #addresses = new Map<string, number>();
  #servicePorts = new Set<string>();
  #generation = 1;

  /**
   * Loads the object, with what this kernel allows.
   * @throws KtraceError KTRACE_E_NO_BTF, KTRACE_E_LAYOUT, KTRACE_E_NOT_ROOT, KTRACE_E_LOAD
   */
  constructor(options: TracerOptions) {
    const { native } = options;
    this.#native = native;
    if (!native.btf.available()) {
      throw new KtraceError('KTRACE_E_NO_BTF', 'This kernel has no BTF: /sys/kernel/btf/vmlinux cannot be read', {
        hint: 'ktrace needs a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian 12, Ubuntu 22.04, RHEL 9 and later have it).',
      });
    }
    const reasons = native.btf.enumValues('skb_drop_reason') ?? {};
    this.dropReasons = new Map(Object.entries(reasons).map(([name, value]) => [value, name]));
    const hasConntrack = native.btf.hasMember('sk_buff', '_nfct') && native.btf.hasStruct('nf_conn');
    this.#conntrackBackend = hasConntrack
      ? { name: 'conntrack', backend: 'none', state: 'on', reason: 'read at the tc hooks' }
      : { name: 'conntrack', backend: 'none', state: 'unavailable', reason: 'its types are not in BTF' };
    if (!hasConntrack) {
      this.notices.push({
        code: 'KTRACE_N_NO_CONNTRACK',
        text: "translations cannot be told: conntrack's types are not in this kernel's BTF (is nf_conntrack loaded?)",
      });
    }
    const drops = native.btf.tracepointArguments('kfree_skb');
    const hasDrops = drops !== undefined && drops.length >= 3;
    const config = {
      cfg_netns: u32(options.netns),
      cfg_conntrack: Uint8Array.of(hasConntrack ? 1 : 0),
      cfg_drop_has_socket: Uint8Array.of((drops?.length ?? 0) >= 4 ? 1 : 0),
      cfg_reason_consumed: u32(reasons['SKB_CONSUMED'] ?? 1),
      cfg_wake_bytes: u64(BigInt(Math.floor(options.ringBytes / WAKE_FRACTION))),
    };
    this.#dropState = hasDrops
      ? { name: 'drops', backend: 'tracepoint', state: 'idle' }
      : { name: 'drops', backend: 'none', state: 'unavailable', reason: 'skb:kfree_skb tells no reason before Linux 5.17' };
    const open = (without: string[]) =>
      native.openObject(options.objectPath, {
        config,
        without,
        mapSizes: { sightings: options.ringBytes },
        expect: { cfg_layout_version: u32(LAYOUT_VERSION) },
        ...(hasConntrack ? { moduleBtf: 'nf_conntrack' } : {}),
      });
    this.object = this.#open(open, hasDrops);
    if (this.#dropState.state === 'unavailable') {
      this.notices.push({ code: 'KTRACE_N_NO_DROPS', text: `drops cannot be told: ${this.#dropState.reason}` });
    }
    for (const [index, program] of BODIES.entries()) this.object.mapSetProgram('bodies', index, program);
    this.tcBackend = options.attach === 'auto' ? (native.tcxSupported() ? 'tcx' : 'clsact') : options.attach;
    native.removeStaleFilters(PROGRAM_PREFIX);
    this.#setGlobal('target_generation', u32(this.#generation));
  }

  hooks(): HookState[] {
    return [
      { name: 'tc', backend: this.tcBackend, state: this.#attached.size > 0 ? 'on' : 'idle' },
      { ...this.#dropState },
      { ...this.#conntrackBackend },
    ];
  }

  get attachedInterfaces(): number {
    return this.#attached.size;
  }

  /** Attaches both directions of an interface. Throws what the kernel said; ENODEV when it has gone meanwhile. */
  attach(ifindex: number, kind: InterfaceKind, hasLinkLayer: boolean): void {
    if (this.#attached.has(ifindex)) return;
    this.object.mapUpdate('interfaces', u32(ifindex), u32(INTERFACE[kind]));
    const [ingress, egress] = hasLinkLayer ? ['ktrace_ingress', 'ktrace_egress'] : ['ktrace_l3_in', 'ktrace_l3_out'];
    const handles: number[] = [];
    try {
      handles.push(this.object.attachTc(ingress as string, ifindex, 'ingress', this.tcBackend));
      handles.push(this.object.attachTc(egress as string, ifindex, 'egress', this.tcBackend));
    } catch (error) {
      for (const handle of handles) this.object.detach(handle);
      throw error;
    }
    this.#attached.set(ifindex, handles);
  }

  /** Also for an interface that has gone: its handles are freed. */
  detach(ifindex: number): void {
    for (const handle of this.#attached.get(ifindex) ?? []) this.object.detach(handle);
    if (this.#attached.delete(ifindex)) this.object.mapDelete('interfaces', u32(ifindex));
  }

  isAttached(ifindex: number): boolean {
    return this.#attached.has(ifindex);
  }

  attachDrops(): void {
    if (this.#dropState.state !== 'idle') return;
    this.#dropHandle = this.object.attachTracing('ktrace_drop');
    this.#dropState = { ...this.#dropState, state: 'on' };
  }

  detachDrops(): void {
    if (this.#dropHandle === undefined) return;
    this.object.detach(this.#dropHandle);
    this.#dropHandle = undefined;
    this.#dropState = { ...this.#dropState, state: 'idle' };
  }

  /** Inode of the network namespace that a veth's other end is in; 0 when it cannot be told. Runs a program once, attaches nothing. */
  peerNetns(ifindex: number): number {
    this.object.testRun('ktrace_peer', new Uint8Array(64), ifindex);
    return this.object.getGlobal('peer_netns').readUInt32LE();
  }

  setPodNetns(netns: number, isOurs: boolean): void {
    if (isOurs) this.object.mapUpdate('pod_netns', u32(netns), u32(1));
    else this.object.mapDelete('pod_netns', u32(netns));
  }

  setVxlanPorts(ports: readonly number[]): void {
    const bytes = new Uint8Array(8);
    const view = new DataView(bytes.buffer);
    for (const [index, port] of ports.slice(0, 4).entries()) view.setUint16(index * 2, port, true);
    this.#setGlobal('vxlan_ports', bytes);
  }

  /** Brings the kernel's maps to this target set, by differences; flows matched against the old one are matched anew. */
  setTargets(targets: KernelTargets): void {
    for (const [address, kind] of targets.addresses) {
      if (this.#addresses.get(address) !== kind) this.object.mapUpdate('targets', fromHex(address), u32(kind));
    }
    for (const key of targets.servicePorts) {
      if (!this.#servicePorts.has(key)) this.object.mapUpdate('service_ports', fromHex(key), u32(1));
    }
    this.#setGlobal('every_packet', u32(targets.everyPacket ? 1 : 0));
    this.#setGlobal('target_bits', targets.bits);
    for (const address of this.#addresses.keys()) {
      if (!targets.addresses.has(address)) this.object.mapDelete('targets', fromHex(address));
    }
    for (const key of this.#servicePorts) {
      if (!targets.servicePorts.has(key)) this.object.mapDelete('service_ports', fromHex(key));
    }
    this.#addresses = targets.addresses;
    this.#servicePorts = targets.servicePorts;
    this.#generation = (this.#generation % 0xffffffff) + 1;
    this.#setGlobal('target_generation', u32(this.#generation));
  }

  /** The kernel's flow table. */
  countedFlows(): CountedFlow[] {
    const entries = this.object.mapEntries('flows');
    const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
    const flows: CountedFlow[] = [];
    for (let at = 0; at + FLOW_KEY.size + FLOW.size <= entries.byteLength; at += FLOW_KEY.size + FLOW.size) {
      const value = at + FLOW_KEY.size;
      const kind = view.getUint32(value + FLOW.interfaceKind, true);
      flows.push({
        proto: protocolName(view.getUint8(at + FLOW_KEY.proto)),
        tuple: decodeTuple(view, at + FLOW_KEY.tuple),
        ifindex: view.getUint32(at + FLOW_KEY.ifindex, true),
        interfaceKind: KIND_NAMES.get(kind),
        packets: Number(view.getBigUint64(value + FLOW.packets, true)),
        bytes: Number(view.getBigUint64(value + FLOW.bytes, true)),
        firstNs: view.getBigUint64(value + FLOW.firstNs, true),
        lastNs: view.getBigUint64(value + FLOW.lastNs, true),
        key: entries.subarray(at, at + FLOW_KEY.size),
      });
    }
    return flows;
  }

  removeFlows(keys: readonly Uint8Array[]): void {
    for (const key of keys) this.object.mapDelete('flows', key);
  }

  /** The kernel side's counters since the start, of all CPUs. */
  stats(): KernelStats {
    const values = this.object.mapLookup('stats', u32(0));
    const sums = {} as KernelStats;
    for (const [name, offset] of Object.entries(STATS)) {
      if (name === 'size') continue;
      let sum = 0n;
      for (let at = 0; values !== undefined && at + STATS.size <= values.length; at += STATS.size) {
        sum += values.readBigUInt64LE(at + offset);
      }
      sums[name as keyof KernelStats] = Number(sum);
    }
    return sums;
  }

  /** Runs that the kernel refused because the program was running on that CPU already. */
  recursionMisses(): number {
    return this.object.programs().reduce((sum, program) => sum + Number(this.object.programInfo(program).recursionMisses), 0);
  }

  close(): void {
    for (const ifindex of [...this.#attached.keys()]) this.detach(ifindex);
    this.detachDrops();
    this.object.close();
    if (this.tcBackend === 'clsact') this.#native.removeStaleFilters(PROGRAM_PREFIX);
  }

  #open(open: (without: string[]) => BpfObject, hasDrops: boolean): BpfObject {
    try {
      return open(hasDrops ? [] : ['ktrace_drop']);
    } catch (error) {
      if (!hasDrops || !String((error as { op?: string }).op).includes('ktrace_drop')) throw loadError(error);
      this.#dropState = { name: 'drops', backend: 'none', state: 'unavailable', reason: messageOf(error) };
    }
    try {
      return open(['ktrace_drop']);
    } catch (error) {
      throw loadError(error);
    }
  }

  #setGlobal(name: string, value: Uint8Array): void {
    this.object.setGlobal(name, value);
  }
}

const KIND_NAMES = new Map(Object.entries(INTERFACE).map(([name, value]) => [value as number, name as InterfaceKind]));

/** Key of the service_ports map in hex. */
export function servicePortKey(address: Uint8Array, port: number, proto: number): string {
  const key = Buffer.alloc(SERVICE_KEY.size);
  key.set(address, SERVICE_KEY.address);
  key.writeUInt16LE(port, SERVICE_KEY.port);
  key.writeUInt8(proto, SERVICE_KEY.proto);
  return key.toString('hex');
}

/** Bits of the targets map. */
export const ADDRESS_BITS = ADDRESS;

function loadError(error: unknown): KtraceError {
  if (error instanceof KtraceError) return error;
  const { code, log } = error as { code?: string; log?: string };
  const isRefused = code === 'EPERM' || code === 'EACCES';
  const tail = log === undefined || log === '' ? '' : `\n${log}`;
  return new KtraceError(
    isRefused ? 'KTRACE_E_NOT_ROOT' : 'KTRACE_E_LOAD',
    `The BPF programs could not be loaded: ${messageOf(error)}${tail}`,
    {
      cause: error,
      hint: isRefused
        ? 'Run as root, or with the capabilities BPF, PERFMON and NET_ADMIN.'
        : "The last lines above are the kernel's own words; please report them with `uname -r`.",
    },
  );
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function u64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

function fromHex(hex: string): Uint8Array {
  return Buffer.from(hex, 'hex');
}
