/** A block of a packet, see {@link PcapngWriter.packet}. */
export interface WrittenPacket {
  interface: string;
  /** Unix nanoseconds. */
  timeNs: bigint;
  isOutgoing: boolean;
  /** From the IP header on. */
  bytes: Uint8Array;
  /** What the whole packet has. */
  lengthBytes: number;
  comment: string;
}

/**
 * LINUX_SLL, a header without addresses. Raw IP would do, but of raw files with several interfaces libpcap (1.10.3) reads only the first one: it compares
 * link type 101 with what it itself calls the first one's, 12.
 */
const LINK_TYPE = 113;
const LINK_HEADER_BYTES = 16;
/** The packet's direction, ARPHRD_NONE, no address, the protocol. */
const LINK = { incoming: 0, outgoing: 4, hardware: 0xfffe, ip4: 0x0800, ip6: 0x86dd } as const;
const OPTION_END = Buffer.alloc(4);
const OPTION = { comment: 1, ifName: 2, resolution: 9, application: 4, dropped: 5 } as const;
const NANOSECONDS = Buffer.from([9]);
/** A name resolution record's address is followed by its name; 2 for IPv6. */
const RECORD = { ip4: 1, ip6: 2, end: 0 } as const;
/** Option lengths have 16 bits. */
const MAX_COMMENT_BYTES = 4096;

/**
 * Blocks of a pcapng file (draft-ietf-opsawg-pcapng), little endian, one section, link type LINUX_SLL, times in nanoseconds. Each method gives the bytes to
 * write; what a packet needs before it (its interface) comes with it.
 */
export class PcapngWriter {
  readonly #interfaces = new Map<string, number>();

  begin(application: string): Buffer {
    const head = Buffer.alloc(16);
    head.writeUInt32LE(0x1a2b3c4d, 0);
    head.writeUInt16LE(1, 4);
    head.writeBigInt64LE(-1n, 8);
    return block(0x0a0d0d0a, head, option(OPTION.application, Buffer.from(application)), OPTION_END);
  }

  packet({ interface: name, timeNs, isOutgoing, bytes, lengthBytes, comment }: WrittenPacket): Buffer {
    const { number, declared } = this.#interface(name);
    const head = Buffer.alloc(20);
    head.writeUInt32LE(number, 0);
    head.writeUInt32LE(Number(timeNs >> 32n), 4);
    head.writeUInt32LE(Number(timeNs & 0xffff_ffffn), 8);
    head.writeUInt32LE(LINK_HEADER_BYTES + bytes.length, 12);
    head.writeUInt32LE(LINK_HEADER_BYTES + Math.max(lengthBytes, bytes.length), 16);
    const said = Buffer.from(comment).subarray(0, MAX_COMMENT_BYTES);
    const packet = block(6, head, linkHeader(bytes, isOutgoing), padded(bytes), option(OPTION.comment, said), OPTION_END);
    return declared === undefined ? packet : Buffer.concat([declared, packet]);
  }

  /** Names of addresses, 4 or 16 bytes each. */
  names(records: readonly { address: Uint8Array; name: string }[]): Buffer {
    const parts = records.map(({ address, name }) => {
      const value = Buffer.concat([address, Buffer.from(`${name}\0`)]);
      return option(address.length === 4 ? RECORD.ip4 : RECORD.ip6, value);
    });
    return block(4, ...parts, OPTION_END);
  }

  /** How many packets an interface is known to miss. */
  dropped(name: string, count: number, timeNs: bigint): Buffer {
    const { number, declared = Buffer.alloc(0) } = this.#interface(name);
    const head = Buffer.alloc(12);
    head.writeUInt32LE(number, 0);
    head.writeUInt32LE(Number(timeNs >> 32n), 4);
    head.writeUInt32LE(Number(timeNs & 0xffff_ffffn), 8);
    const value = Buffer.alloc(8);
    value.writeBigUInt64LE(BigInt(count));
    return Buffer.concat([declared, block(5, head, option(OPTION.dropped, value), OPTION_END)]);
  }

  get interfaces(): Iterable<string> {
    return this.#interfaces.keys();
  }

  /** `declared`: its block, which comes before anything of it; undefined: it has been written. */
  #interface(name: string): { number: number; declared?: Buffer } {
    const known = this.#interfaces.get(name);
    if (known !== undefined) return { number: known };
    const number = this.#interfaces.size;
    this.#interfaces.set(name, number);
    return { number, declared: interfaceBlock(name) };
  }
}

function linkHeader(bytes: Uint8Array, isOutgoing: boolean): Buffer {
  const header = Buffer.alloc(LINK_HEADER_BYTES);
  header.writeUInt16BE(isOutgoing ? LINK.outgoing : LINK.incoming, 0);
  header.writeUInt16BE(LINK.hardware, 2);
  header.writeUInt16BE((bytes[0] ?? 0) >> 4 === 6 ? LINK.ip6 : LINK.ip4, 14);
  return header;
}

function interfaceBlock(name: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16LE(LINK_TYPE, 0);
  return block(1, head, option(OPTION.ifName, Buffer.from(name)), option(OPTION.resolution, NANOSECONDS), OPTION_END);
}

function block(type: number, ...parts: Uint8Array[]): Buffer {
  const length = 12 + parts.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(length, 4);
  return Buffer.concat([head, ...parts, head.subarray(4)]);
}

function option(code: number, value: Uint8Array): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(code, 0);
  head.writeUInt16LE(value.length, 2);
  return Buffer.concat([head, padded(value)]);
}

function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
