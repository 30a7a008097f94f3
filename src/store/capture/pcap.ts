import { type CapturedPacket, damaged, layerOf, MAX_RECORD_BYTES } from './captured-packet.ts';
import type { FileReader } from './file-reader.ts';

/** The rest of a pcap file's header behind its magic number, and of a record's. */
const HEADER_BYTES = 20;
const RECORD_BYTES = 16;
const LINK_TYPE_MASK = 0x0fff_ffff;

/** Magic numbers in file order: whose byte order, and the unit of the fractions of seconds. */
const MAGICS: Record<string, { isLittle: boolean; unitNs: bigint }> = {
  a1b2c3d4: { isLittle: false, unitNs: 1000n },
  d4c3b2a1: { isLittle: true, unitNs: 1000n },
  a1b23c4d: { isLittle: false, unitNs: 1n },
  '4d3cb2a1': { isLittle: true, unitNs: 1n },
};

/** Is this the beginning of a pcap file (draft-ietf-opsawg-pcap)? */
export function isPcap(magic: Buffer): boolean {
  return magic.toString('hex') in MAGICS;
}

/** Its packets, in order. Throws KTRACE_E_CAPTURE_DAMAGED, KTRACE_E_CAPTURE_LINK_TYPE. */
export async function* readPcap(reader: FileReader, magic: Buffer): AsyncGenerator<CapturedPacket> {
  const { isLittle, unitNs } = MAGICS[magic.toString('hex')] as { isLittle: boolean; unitNs: bigint };
  const header = await reader.take(HEADER_BYTES);
  if (header.length < HEADER_BYTES) throw damaged(reader.at, 'Expected a file header of 24 bytes, got the end of the file');
  const word = (bytes: Buffer, at: number) => (isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const layer = layerOf(word(header, 16) & LINK_TYPE_MASK);
  const snapBytes = word(header, 12) || MAX_RECORD_BYTES;
  for (;;) {
    const at = reader.at;
    const record = await reader.take(RECORD_BYTES);
    if (record.length === 0) return;
    if (record.length < RECORD_BYTES)
      throw damaged(at, `Expected a record's header of ${RECORD_BYTES} bytes, got ${record.length}`);
    const length = word(record, 8);
    if (length > MAX_RECORD_BYTES) throw damaged(at, `Expected a packet of at most ${MAX_RECORD_BYTES} bytes, got ${length}`);
    const bytes = await reader.take(length);
    if (bytes.length < length) throw damaged(at, `Expected a packet of ${length} bytes, got ${bytes.length}`);
    const timeNs = BigInt(word(record, 0)) * 1_000_000_000n + BigInt(word(record, 4)) * unitNs;
    // libpcap cuts a record that is longer than its file says, too.
    const kept = bytes.subarray(0, snapBytes);
    yield { timeNs, layer, interfaceIndex: 0, interfaceName: undefined, bytes: kept, wireBytes: word(record, 12) };
  }
}
