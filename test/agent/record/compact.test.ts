import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compact, restored } from '../../../src/agent/record/compact.ts';
import type { PacketEvent, TcpFacts } from '../../../src/event/types.ts';
import { fingerprintOf } from '../../../src/flow/fingerprint.ts';
import { sighting } from '../../flow/sightings.ts';
import { fc } from '../../support/fast-check.ts';
import { packet } from '../serve/fake-feed.ts';

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const of = (...headers: Uint8Array[]): PacketEvent => ({ ...packet(1), headers: headers.map(base64) });
const segment = (tcp: TcpFacts, ...headers: Uint8Array[]): PacketEvent => ({ ...of(...headers), tcp });
/** As it comes from the disk, bit for bit. */
const again = (event: PacketEvent): string => JSON.stringify(restored(JSON.parse(JSON.stringify(compact(event)))));
const SIZES = { minLength: 20, maxLength: 100 };

/** An IPv4 header with so many bytes of options, or an IPv6 header, with a TCP header behind it. */
function tcpHeader({ seq, ack }: TcpFacts, ip: { version: 4; options: number } | { version: 6 }): Buffer {
  const at = ip.version === 4 ? 20 + ip.options : 40;
  const bytes = Buffer.alloc(at + 20, 0x5a);
  bytes[0] = ip.version === 4 ? 0x40 | (at / 4) : 0x60;
  bytes[ip.version === 4 ? 9 : 6] = 6;
  bytes.writeUInt32BE(seq, at + 4);
  bytes.writeUInt32BE(ack, at + 8);
  return bytes;
}

/** As the agent makes it of what the kernel side has read. */
function fingerprintIn(bytes: Buffer, { seq, ack }: TcpFacts): string {
  const ipId = bytes.readUInt8(0) >> 4 === 4 ? bytes.readUInt16BE(4) : 0;
  return fingerprintOf(sighting({ proto: 6, ipId, tcp: { flags: 0x5a, seq, ack } })).toString(36);
}

const number = fc.nat(0xffff_ffff);
const facts = fc.record({ flags: fc.constantFrom('S', 'SA', 'A', 'PA', ''), seq: number, ack: number });
const network = fc.oneof(
  fc.record({ version: fc.constant(4 as const), options: fc.constantFrom(0, 4, 40) }),
  fc.record({ version: fc.constant(6 as const) }),
);

describe('a record of a recording', () => {
  it('is what it was, whatever its headers are', () => {
    const one = fc.uint8Array(SIZES);
    fc.assert(
      fc.property(one, one, (first, second) => assert.equal(again(of(first, second)), JSON.stringify(of(first, second)))),
    );
    fc.assert(
      fc.property(one, fc.array(fc.tuple(fc.nat(99), fc.nat(255)), { maxLength: 6 }), (first, changes) => {
        const second = Buffer.from(first);
        for (const [at, value] of changes) if (at < second.length) second[at] = value;
        assert.equal(again(of(first, second)), JSON.stringify(of(first, second)));
      }),
    );
    for (const event of [packet(1), of(Buffer.from([0x45])), of()]) assert.equal(again(event), JSON.stringify(event));
  });

  it('is what it was, with the numbers of its segment in its header or elsewhere', () => {
    fc.assert(
      fc.property(facts, facts, network, fc.nat(80), (tcp, other, ip, length) => {
        for (const told of [tcp, other]) {
          const whole = tcpHeader(told, ip);
          for (const headers of [
            [whole],
            [whole, tcpHeader(other, ip)],
            [whole.subarray(0, length)],
            [whole.subarray(0, length), whole],
          ]) {
            assert.equal(again(segment(tcp, ...headers)), JSON.stringify(segment(tcp, ...headers)));
          }
        }
      }),
    );
    fc.assert(
      fc.property(facts, fc.uint8Array(SIZES), (tcp, bytes) =>
        assert.equal(again(segment(tcp, bytes)), JSON.stringify(segment(tcp, bytes))),
      ),
    );
  });

  it('does not say twice what its header says', () => {
    const tcp = { flags: 'PA', seq: 0xfedc_ba98, ack: 7 };
    const other = packet(1).fingerprint;
    for (const ip of [{ version: 4 as const, options: 0 }, { version: 4 as const, options: 8 }, { version: 6 as const }]) {
      const bytes = tcpHeader(tcp, ip);
      const whole = { ...segment(tcp, bytes), fingerprint: fingerprintIn(bytes, tcp) };
      assert.deepEqual(compact(whole), { ...whole, tcp: { flags: 'PA' }, fingerprint: '' });
      assert.equal(again(whole), JSON.stringify(whole));
      // One that is made of something else.
      assert.deepEqual(compact(segment(tcp, bytes)), { ...of(bytes), tcp: { flags: 'PA' }, fingerprint: other });
    }
    const plain = { version: 4 as const, options: 0 };
    const wrong = { ...tcp, ack: 8 };
    const extended = tcpHeader(tcp, { version: 6 });
    extended[6] = 44;
    for (const bytes of [tcpHeader(wrong, plain), tcpHeader(tcp, plain).subarray(0, 33), extended]) {
      assert.deepEqual(compact(segment(tcp, bytes)), segment(tcp, bytes));
    }
  });

  it('is shorter where a packet went through the node with no more than its TTL changed', () => {
    const one = Buffer.from('4500005401434000400111f7b0af401020af40302', 'hex');
    const other = Buffer.from(one);
    other[8] = 0x3f;
    other[10] = 0x20;
    assert.deepEqual((compact(of(one, other)) as PacketEvent).headers?.[1], '8:Pw==,10:IA==');
  });

  it('is read as the versions of the format have it', () => {
    const first = 'RQAAPC/OQABABvRXCvQBAwpgAEC/chjrlLshaAAAAACgAv1cFsUAAAIEBYIEAggKsF+B5gAAAAABAwMK';
    const second = 'RQAAPC/OQABABvL/CvQBAwr0AQS/chjrlLshaAAAAACgAv1cGB0AAAIEBYIEAggKsF+B5gAAAAABAwMK';
    const tcp = { flags: 'S', seq: 2_495_291_752, ack: 0 };
    const version1 = { ...packet(1), fingerprint: '1fe6w0404ci', tcp, headers: [first, second] };
    const version2 = { ...version1, headers: [first, '10:8v8=,17:9AEE,36:GB0='] };
    const version3 = { ...version2, fingerprint: '', tcp: { flags: 'S' } };
    for (const written of [version1, version2, version3]) assert.deepEqual(restored(written), version1);
    assert.deepEqual(compact(version1), version3);
  });
});
