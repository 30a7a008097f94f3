import type { LinkLayer } from '../../event/link-layer.ts';
import { type CapturedPacket, damaged, layerOf, MAX_RECORD_BYTES } from './captured-packet.ts';
import type { FileReader } from './file-reader.ts';

const SECTION = 0x0a0d0d0a;
const INTERFACE = 1;
const OLD_PACKET = 2;
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;
const ORDER_MAGIC = 0x1a2b3c4d;
const MIN_BLOCK_BYTES = 12;
const MAX_BLOCK_BYTES = MAX_RECORD_BYTES + 64 * 1024;
const MAX_INTERFACES = 65_536;
const OPTION_NAME = 2;
const OPTION_RESOLUTION = 9;
const OPTION_OFFSET = 14;
const NS = 1_000_000_000n;
/** The last moment of the year 9999, beyond which no text of a time goes. */
const LATEST_NS = 253_402_300_799_999_999_999n;

interface Interface {
  /** Undefined until a packet needs it: an interface without packets may be of any type. */
  linkType: number;
  layer: LinkLayer | undefined;
  name: string | undefined;
  snapBytes: number;
  /** Ticks of its clock in a second. */
  ticks: bigint;
  offsetSeconds: bigint;
}

interface Section {
  isLittle: boolean;
  interfaces: Interface[];
}

/** Is this the beginning of a pcapng file (draft-ietf-opsawg-pcapng)? */
export function isPcapng(magic: Buffer): boolean {
  return magic.length === 4 && magic.readUInt32BE(0) === SECTION;
}

/** Its packets, in order; blocks that are none are passed over. Throws KTRACE_E_CAPTURE_DAMAGED, KTRACE_E_CAPTURE_LINK_TYPE. */
export async function* readPcapng(reader: FileReader, magic: Buffer): AsyncGenerator<CapturedPacket> {
  let section: Section = { isLittle: true, interfaces: [] };
  for (let type = magic; ; type = await reader.take(4)) {
    const at = reader.at - type.length;
    if (type.length === 0) return;
    const length = await reader.take(4);
    if (type.length < 4 || length.length < 4) throw damaged(at, 'Expected a block, got the end of the file');
    if (type.readUInt32BE(0) === SECTION) {
      section = await readSection(reader, length, at);
      continue;
    }
    const body = await readBody(reader, word(section, length, 0), at);
    const packet = readBlock(section, word(section, type, 0), body, at);
    if (packet !== undefined) yield packet;
  }
}

/** A new section, which says the byte order of what follows and forgets the interfaces of the section before. */
async function readSection(reader: FileReader, length: Buffer, at: number): Promise<Section> {
  const order = await reader.take(4);
  const isLittle = order.length === 4 && order.readUInt32LE(0) === ORDER_MAGIC;
  if (order.length < 4 || (!isLittle && order.readUInt32BE(0) !== ORDER_MAGIC)) {
    throw damaged(at, "Expected a section's byte-order magic");
  }
  const section = { isLittle, interfaces: [] };
  await readBody(reader, word(section, length, 0) - 4, at);
  return section;
}

/** What is between a block's head and the length that is repeated behind it. */
async function readBody(reader: FileReader, blockBytes: number, at: number): Promise<Buffer> {
  const isPossible = blockBytes >= MIN_BLOCK_BYTES - 4 && blockBytes <= MAX_BLOCK_BYTES && blockBytes % 4 === 0;
  if (!isPossible) throw damaged(at, `Expected a block of at most ${MAX_BLOCK_BYTES} bytes in words of 4, got ${blockBytes}`);
  const body = await reader.take(blockBytes - 8);
  if (body.length < blockBytes - 8) throw damaged(at, `Expected a block of ${blockBytes} bytes, got ${body.length + 8}`);
  return body.subarray(0, -4);
}

function readBlock(section: Section, type: number, body: Buffer, at: number): CapturedPacket | undefined {
  switch (type) {
    case INTERFACE:
      if (section.interfaces.length >= MAX_INTERFACES) throw damaged(at, `Expected at most ${MAX_INTERFACES} interfaces`);
      section.interfaces.push(readInterface(section, body, at));
      return undefined;
    case ENHANCED_PACKET: {
      need(body, 20, at);
      return packetOf(section, word(section, body, 0), { body, time: 4, captured: 12, wire: 16, data: 20 }, at);
    }
    case OLD_PACKET: {
      need(body, 20, at);
      return packetOf(section, half(section, body, 0), { body, time: 4, captured: 12, wire: 16, data: 20 }, at);
    }
    case SIMPLE_PACKET: {
      need(body, 4, at);
      const { interface: of, layer } = interfaceAt(section, 0, at);
      const wireBytes = word(section, body, 0);
      const length = Math.min(wireBytes, of.snapBytes === 0 ? wireBytes : of.snapBytes);
      need(body, 4 + length, at);
      const bytes = body.subarray(4, 4 + length);
      return { timeNs: 0n, layer, interfaceIndex: 0, interfaceName: of.name, bytes, wireBytes };
    }
    default:
      return undefined;
  }
}

interface PacketPlaces {
  body: Buffer;
  time: number;
  captured: number;
  wire: number;
  data: number;
}

function packetOf(
  section: Section,
  index: number,
  { body, time, captured, wire, data }: PacketPlaces,
  at: number,
): CapturedPacket {
  const { interface: of, layer } = interfaceAt(section, index, at);
  const length = word(section, body, captured);
  need(body, data + length, at);
  const ticks = (BigInt(word(section, body, time)) << 32n) | BigInt(word(section, body, time + 4));
  const timeNs = (ticks / of.ticks + of.offsetSeconds) * NS + ((ticks % of.ticks) * NS) / of.ticks;
  return {
    timeNs: timeNs < 0n ? 0n : timeNs > LATEST_NS ? LATEST_NS : timeNs,
    layer,
    interfaceIndex: index,
    interfaceName: of.name,
    bytes: body.subarray(data, data + length),
    wireBytes: word(section, body, wire),
  };
}

function interfaceAt(section: Section, index: number, at: number): { interface: Interface; layer: LinkLayer } {
  const found = section.interfaces[index];
  if (found === undefined)
    throw damaged(at, `Expected a packet of one of ${section.interfaces.length} interfaces, got one of number ${index}`);
  found.layer ??= layerOf(found.linkType);
  return { interface: found, layer: found.layer };
}

function readInterface(section: Section, body: Buffer, at: number): Interface {
  need(body, 8, at);
  const found: Interface = {
    linkType: half(section, body, 0),
    layer: undefined,
    name: undefined,
    snapBytes: word(section, body, 4),
    ticks: 1_000_000n,
    offsetSeconds: 0n,
  };
  for (let place = 8; place + 4 <= body.length; ) {
    const code = half(section, body, place);
    const length = half(section, body, place + 2);
    const value = body.subarray(place + 4, place + 4 + length);
    if (code === 0 || value.length < length) break;
    if (code === OPTION_NAME) found.name = value.toString('utf8').replace(/\0.*$/s, '').slice(0, 64);
    if (code === OPTION_RESOLUTION && length === 1) found.ticks = resolution(value.readUInt8(0));
    if (code === OPTION_OFFSET && length === 8)
      found.offsetSeconds = section.isLittle ? value.readBigInt64LE(0) : value.readBigInt64BE(0);
    place += 4 + Math.ceil(length / 4) * 4;
  }
  return found;
}

/** `if_tsresol`: a power of 10, or with the highest bit set one of 2. */
function resolution(value: number): bigint {
  return (value & 0x80) === 0 ? 10n ** BigInt(value) : 2n ** BigInt(value & 0x7f);
}

function need(body: Buffer, bytes: number, at: number): void {
  if (body.length < bytes) throw damaged(at, `Expected a block with ${bytes} bytes of content, got ${body.length}`);
}

function word({ isLittle }: Section, bytes: Buffer, at: number): number {
  return isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
}

function half({ isLittle }: Section, bytes: Buffer, at: number): number {
  return isLittle ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
}
