/** Capture files of every kind that is read, in memory. */
import type { Frame } from './traffic.ts';

export interface CaptureKind {
  kind: 'pcap' | 'pcapng';
  endian: 'LE' | 'BE';
  /** Of its clock. */
  unit: 'us' | 'ns';
}

export const CAPTURE_KINDS: readonly CaptureKind[] = (['pcap', 'pcapng'] as const).flatMap((kind) =>
  (['LE', 'BE'] as const).flatMap((endian) => (['us', 'ns'] as const).map((unit) => ({ kind, endian, unit }))),
);

/** A file of them; frame n is of second n. Records may be longer than `snapBytes`. */
export function captureBytes(
  { kind, endian, unit }: CaptureKind,
  linkType: number,
  frames: readonly Frame[],
  snapBytes = 262_144,
): Buffer {
  const words = (...values: number[]) => numbers(values, 4, endian);
  const halves = (...values: number[]) => numbers(values, 2, endian);
  if (kind === 'pcap') {
    const magic = unit === 'us' ? 0xa1b2c3d4 : 0xa1b23c4d;
    const records = frames.flatMap(({ bytes, wireBytes }, second) => [words(second, 0, bytes.length, wireBytes), bytes]);
    return Buffer.concat([words(magic), halves(2, 4), words(0, 0, snapBytes, linkType), ...records]);
  }
  const block = (type: number, ...parts: Buffer[]) => {
    const body = Buffer.concat(parts);
    const padded = Buffer.concat([body, Buffer.alloc(-body.length & 3)]);
    return Buffer.concat([words(type, padded.length + 12), padded, words(padded.length + 12)]);
  };
  const ticks = unit === 'us' ? 1_000_000n : 1_000_000_000n;
  const resolution = Buffer.concat([halves(9, 1), Buffer.from([unit === 'us' ? 6 : 9, 0, 0, 0]), halves(0, 0)]);
  const packets = frames.map(({ bytes, wireBytes }, second) => {
    const time = BigInt(second) * ticks;
    return block(6, words(0, Number(time >> 32n), Number(time & 0xffff_ffffn), bytes.length, wireBytes), bytes);
  });
  return Buffer.concat([
    block(0x0a0d0d0a, words(0x1a2b3c4d), halves(1, 0), Buffer.alloc(8, 0xff)),
    block(1, halves(linkType, 0), words(snapBytes), resolution),
    ...packets,
  ]);
}

function numbers(values: readonly number[], size: 2 | 4, endian: 'LE' | 'BE'): Buffer {
  const bytes = Buffer.alloc(values.length * size);
  for (const [index, value] of values.entries())
    endian === 'LE' ? bytes.writeUIntLE(value, index * size, size) : bytes.writeUIntBE(value, index * size, size);
  return bytes;
}
