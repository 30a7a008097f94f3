import { ADDRESS, SERVICE_KEY, TARGET } from '../../event/layout.ts';
import { u32 } from '../../native/bytes.ts';
import type { BpfObject } from '../../native/types.ts';
import { addressOf, emptyBits, setBit } from './address-bits.ts';

/** Bits of the targets map. */
export const ADDRESS_BITS = ADDRESS;

/** Followed addresses and ports for the kernel's maps, see `enum ktrace_address`. */
export interface KernelTargets {
  /** 16 address bytes in hex → ADDRESS bits. */
  addresses: Map<string, number>;
  /** Addresses that a follower follows newly: their known flows are emitted again. Addresses that are new to the map may be left out. */
  gained: Set<string>;
  /** `struct ktrace_service_key` in hex. */
  servicePorts: Set<string>;
  bits: Uint8Array;
  /** The same of the node's own addresses alone. */
  nodeBits: Uint8Array;
  /** The same of followed addresses alone. */
  followedBits: Uint8Array;
  /** The ports of `servicePorts`. */
  servicePortBits: Uint8Array;
  /** How many of a follower's addresses and ports there is no room for, by the follower's index. */
  leftOut: Map<number, number>;
  /** Some address has the bit `every`. */
  everyPacket: boolean;
}

/** Whom the followers follow, in the kernel's maps and bit sets. Each change begins a generation, by which the kernel matches known flows again. */
export class TargetMaps {
  readonly #object: () => BpfObject;
  /** What is in the maps: 16 address bytes in hex, and keys of ports. */
  readonly #addresses = new Map<string, { kinds: number; gained: number }>();
  readonly #servicePorts = new Set<string>();
  #bits = emptyBits();
  #followedBits = emptyBits();
  #generation = 1;

  /** `object`: the programs that are loaded now. */
  constructor(object: () => BpfObject) {
    this.#object = object;
  }

  /** The programs are loaded anew: their maps are empty. */
  clear(): void {
    this.#addresses.clear();
    this.#servicePorts.clear();
    this.#bits = emptyBits();
    this.#followedBits = emptyBits();
    this.#object().setGlobal('target_generation', u32(this.#generation));
  }

  /**
   * Writes the differences to this target set into the kernel's maps. When there are any, flows are matched again, and those of gained addresses are
   * emitted again. An entry that the kernel refuses (a map is full) does not stop the others: the first error is thrown at the end.
   */
  set(targets: KernelTargets): void {
    const generation = this.#nextGeneration();
    let refusal: unknown;
    let hasChanged = false;
    const change = (make: () => void): void => {
      try {
        make();
        hasChanged = true;
      } catch (error) {
        refusal ??= error;
      }
    };
    for (const address of [...this.#addresses.keys()]) {
      if (targets.addresses.has(address)) continue;
      this.#addresses.delete(address);
      change(() => this.#object().mapDelete('targets', fromHex(address)));
    }
    for (const key of [...this.#servicePorts]) {
      if (targets.servicePorts.has(key)) continue;
      this.#servicePorts.delete(key);
      change(() => this.#object().mapDelete('service_ports', fromHex(key)));
    }
    for (const [address, kinds] of targets.addresses) {
      const known = this.#addresses.get(address);
      const isGained = targets.gained.has(address) || (kinds & ~(known?.kinds ?? 0) & ADDRESS.followed) !== 0;
      if (known?.kinds === kinds && !isGained) continue;
      const target = { kinds, gained: isGained ? generation : (known?.gained ?? 0) };
      change(() => {
        this.#object().mapUpdate('targets', fromHex(address), targetValue(target));
        this.#addresses.set(address, target);
      });
    }
    for (const key of targets.servicePorts) {
      if (this.#servicePorts.has(key)) continue;
      change(() => {
        this.#object().mapUpdate('service_ports', fromHex(key), u32(1));
        this.#servicePorts.add(key);
      });
    }
    this.#object().setGlobal('every_packet', u32(targets.everyPacket ? 1 : 0));
    if (hasChanged) {
      this.#bits = targets.bits.slice();
      this.#followedBits = targets.followedBits.slice();
      this.#object().setGlobal('target_bits', targets.bits);
      this.#object().setGlobal('node_bits', targets.nodeBits);
      this.#object().setGlobal('followed_bits', targets.followedBits);
      this.#object().setGlobal('service_port_bits', targets.servicePortBits);
      this.beginGeneration(generation);
    }
    if (refusal !== undefined) throw refusal;
  }

  /** Follows these addresses, too, at once and without looking at all others. The next {@link set} takes away those that it does not have. */
  add(ips: readonly string[], kinds: number): void {
    const generation = this.#nextGeneration();
    for (const { hex, bit } of ips.map(addressOf)) {
      const target = { kinds: (this.#addresses.get(hex)?.kinds ?? 0) | kinds, gained: generation };
      this.#object().mapUpdate('targets', fromHex(hex), targetValue(target));
      this.#addresses.set(hex, target);
      setBit(this.#bits, bit);
      setBit(this.#followedBits, bit);
    }
    this.#object().setGlobal('target_bits', this.#bits);
    this.#object().setGlobal('followed_bits', this.#followedBits);
    this.beginGeneration(generation);
  }

  /** Known flows are matched again, and what a filter has left out of them is looked at again. */
  beginGeneration(generation = this.#nextGeneration()): void {
    this.#generation = generation;
    this.#object().setGlobal('target_generation', u32(generation));
  }

  #nextGeneration(): number {
    return (this.#generation % 0xffffffff) + 1;
  }
}

/** Key of the service_ports map in hex. */
export function servicePortKey(address: Uint8Array, port: number, proto: number): string {
  const key = Buffer.alloc(SERVICE_KEY.size);
  key.set(address, SERVICE_KEY.address);
  key.writeUInt16LE(port, SERVICE_KEY.port);
  key.writeUInt8(proto, SERVICE_KEY.proto);
  return key.toString('hex');
}

function targetValue({ kinds, gained }: { kinds: number; gained: number }): Uint8Array {
  const value = Buffer.alloc(TARGET.size);
  value.writeUInt32LE(kinds, TARGET.kinds);
  value.writeUInt32LE(gained, TARGET.gained);
  return value;
}

function fromHex(hex: string): Uint8Array {
  return Buffer.from(hex, 'hex');
}
