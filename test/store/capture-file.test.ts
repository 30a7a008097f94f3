import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { readCapture } from '../../src/store/capture/capture-file.ts';
import type { CapturedPacket } from '../../src/store/capture/captured-packet.ts';
import { FileReader } from '../../src/store/capture/file-reader.ts';
import { KtraceError } from '../../src/util/errors.ts';

/** An IPv4 UDP packet from 10.0.0.1:1000 to 10.0.0.2:53, and one of ICMP. */
const UDP = Buffer.from('4500001c00010000401100000a0000010a00000203e8003500080000', 'hex');
const ICMP = Buffer.from('4500001c00020000400100000a0000010a0000020800000000010001', 'hex');

type Endian = 'LE' | 'BE';
const words = (endian: Endian, ...values: number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes[`writeUInt32${endian}`](value, index * 4);
  return bytes;
};
const halves = (endian: Endian, ...values: number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 2);
  for (const [index, value] of values.entries()) bytes[`writeUInt16${endian}`](value, index * 2);
  return bytes;
};

function pcap(endian: Endian, magic: number, linkType: number, fraction: number): Buffer {
  const record = (bytes: Buffer) => [words(endian, 1_700_000_000, fraction, bytes.length, bytes.length + 4), bytes];
  return Buffer.concat([
    words(endian, magic),
    halves(endian, 2, 4),
    words(endian, 0, 0, 65_535, linkType),
    ...record(UDP),
    ...record(ICMP),
  ]);
}

function block(endian: Endian, type: number, body: Buffer): Buffer {
  const padded = Buffer.concat([body, Buffer.alloc((4 - (body.length % 4)) % 4)]);
  const length = padded.length + 12;
  return Buffer.concat([words(endian, type, length), padded, words(endian, length)]);
}

function option(endian: Endian, code: number, value: Buffer): Buffer {
  return Buffer.concat([halves(endian, code, value.length), value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
}

function pcapng(endian: Endian): Buffer {
  const section = block(
    endian,
    0x0a0d0d0a,
    Buffer.concat([words(endian, 0x1a2b3c4d), halves(endian, 1, 0), Buffer.alloc(8, 0xff)]),
  );
  const options = Buffer.concat([
    option(endian, 2, Buffer.from('veth7')),
    option(endian, 9, Buffer.from([9])),
    option(endian, 0, Buffer.alloc(0)),
  ]);
  const nanoseconds = block(endian, 1, Buffer.concat([halves(endian, 101, 0), words(endian, 0), options]));
  const binary = block(
    endian,
    1,
    Buffer.concat([halves(endian, 1, 0), words(endian, 0), option(endian, 9, Buffer.from([0x80 | 10]))]),
  );
  const ns = 1_700_000_000_123_456_789n;
  const enhanced = (index: number, ticks: bigint, bytes: Buffer) =>
    block(
      endian,
      6,
      Buffer.concat([
        words(endian, index, Number(ticks >> 32n), Number(ticks & 0xffff_ffffn), bytes.length, bytes.length),
        bytes,
      ]),
    );
  const frame = Buffer.concat([Buffer.alloc(12), Buffer.from('0800', 'hex'), ICMP]);
  return Buffer.concat([
    section,
    nanoseconds,
    block(endian, 0x0bad, Buffer.from('a block that nobody knows')),
    enhanced(0, ns, UDP),
    binary,
    enhanced(1, 1_700_000_000n * 1024n + 512n, frame),
    block(endian, 3, Buffer.concat([words(endian, ICMP.length), ICMP])),
    section,
    nanoseconds,
    enhanced(0, ns, UDP),
  ]);
}

async function packetsOf(file: Buffer): Promise<{ packets: CapturedPacket[]; error: unknown }> {
  const packets: CapturedPacket[] = [];
  try {
    // In pieces of 7 bytes, so that nothing lies in one.
    const pieces = Array.from({ length: Math.ceil(file.length / 7) }, (_, index) => file.subarray(index * 7, index * 7 + 7));
    for await (const packet of readCapture('-', new FileReader(Readable.from(pieces)))) packets.push(packet);
    return { packets, error: undefined };
  } catch (error) {
    return { packets, error };
  }
}

describe('a pcap file', () => {
  for (const [name, endian, magic, fraction] of [
    ['of microseconds, little-endian', 'LE', 0xa1b2c3d4, 5],
    ['of microseconds, big-endian', 'BE', 0xa1b2c3d4, 5],
    ['of nanoseconds, little-endian', 'LE', 0xa1b23c4d, 5000],
    ['of nanoseconds, big-endian', 'BE', 0xa1b23c4d, 5000],
  ] as const) {
    test(`${name} is read`, async () => {
      const { packets, error } = await packetsOf(pcap(endian, magic, 101, fraction));
      assert.equal(error, undefined);
      assert.deepEqual(
        packets.map(({ timeNs, layer, bytes, wireBytes }) => ({ timeNs, layer, bytes, wireBytes })),
        [UDP, ICMP].map((bytes) => ({ timeNs: 1_700_000_000_000_005_000n, layer: 'raw', bytes, wireBytes: bytes.length + 4 })),
      );
    });
  }

  test('of a link type without IP is refused', async () => {
    const { error } = await packetsOf(pcap('LE', 0xa1b2c3d4, 105, 0));
    assert.equal((error as KtraceError).code, 'KTRACE_E_CAPTURE_LINK_TYPE');
    assert.match((error as KtraceError).message, /got link type 105/);
  });
});

describe('a pcapng file', () => {
  for (const endian of ['LE', 'BE'] as const) {
    test(`is read with the clock and the name of each interface, through all its sections (${endian})`, async () => {
      const { packets, error } = await packetsOf(pcapng(endian));
      assert.equal(error, undefined);
      assert.deepEqual(
        packets.map(({ timeNs, layer, interfaceIndex, interfaceName }) => [timeNs, layer, interfaceIndex, interfaceName]),
        [
          [1_700_000_000_123_456_789n, 'raw', 0, 'veth7'],
          [1_700_000_000_500_000_000n, 'ethernet', 1, undefined],
          [0n, 'raw', 0, 'veth7'],
          [1_700_000_000_123_456_789n, 'raw', 0, 'veth7'],
        ],
      );
    });
  }
});

describe('a damaged file', () => {
  for (const [name, file] of [
    ['pcap', pcap('LE', 0xa1b2c3d4, 101, 0)],
    ['pcapng', pcapng('BE')],
  ] as const) {
    test(`that ends anywhere gives every whole packet, then says where it is broken (${name})`, async () => {
      const whole = await packetsOf(file);
      for (let length = 0; length < file.length; length++) {
        const { packets, error } = await packetsOf(file.subarray(0, length));
        assert.deepEqual(packets, whole.packets.slice(0, packets.length), `cut at ${length}`);
        if (error === undefined) continue;
        assert.ok(error instanceof KtraceError, String(error));
        assert.ok(
          length < 4 ? error.code === 'KTRACE_E_CAPTURE_FORMAT' : /at byte \d+ of the file/.test(error.message),
          error.message,
        );
      }
    });

    test(`with any one byte changed ends in packets or in an error of ours (${name})`, async () => {
      for (let at = 0; at < file.length; at++) {
        const broken = Buffer.from(file);
        broken[at] = (broken[at] ?? 0) ^ 0xff;
        const { error } = await packetsOf(broken);
        assert.ok(error === undefined || error instanceof KtraceError, `byte ${at}: ${error}`);
      }
    });
  }

  test('that is something else says with what it begins', async () => {
    const { error } = await packetsOf(Buffer.from('root:x:0:0'));
    assert.match((error as KtraceError).message, /got a file that begins with 726f6f74/);
    assert.match(((await packetsOf(Buffer.alloc(0))).error as KtraceError).message, /got an empty file/);
  });

  test('that claims a giant packet is refused before memory is asked for', async () => {
    const file = Buffer.concat([pcap('LE', 0xa1b2c3d4, 101, 0), words('LE', 1, 0, 0xffff_ffff, 0xffff_ffff)]);
    const { packets, error } = await packetsOf(file);
    assert.equal(packets.length, 2);
    assert.match((error as KtraceError).message, /at most 16777216 bytes, got 4294967295/);
  });
});
