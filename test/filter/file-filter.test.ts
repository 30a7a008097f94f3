import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FileFilter } from '../../src/filter/evaluate/file-filter.ts';
import { LiveFilter } from '../../src/filter/evaluate/judge.ts';
import { parseFilter } from '../../src/filter/language/parse.ts';
import { payloadOf } from '../../src/store/capture/link-payload.ts';
import { hop, packet } from '../client/events.ts';

const IP_OF_TYPE = { 4: [8, 0], 6: [0x86, 0xdd] } as const;

/** `outer` addresses are 172.18.0.1 and .2, a pod's 10.244.1.2 and 10.244.3.2. */
function ipv4(proto: number, body: number[], isOuter = false): number[] {
  const [src, dst] = isOuter
    ? [
        [172, 18, 0, 1],
        [172, 18, 0, 2],
      ]
    : [
        [10, 244, 1, 2],
        [10, 244, 3, 2],
      ];
  return [0x45, 0, ...half(20 + body.length), 0, 0, 0, 0, 64, proto, 0, 0, ...(src as number[]), ...(dst as number[]), ...body];
}

function ipv6(proto: number, body: number[]): number[] {
  const address = (last: number) => [0xfd, ...new Array(14).fill(0), last];
  return [0x60, 0, 0, 0, ...half(body.length), proto, 64, ...address(1), ...address(2), ...body];
}

function half(value: number): number[] {
  return [value >> 8, value & 255];
}

const tcp = (port: number) => [...half(40_000), ...half(port), 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0];
const udp = (port: number, body: number[] = []) => [...half(50_000), ...half(port), ...half(8 + body.length), 0, 0, ...body];
const frame = (ip: number[]) => [...new Array(12).fill(2), ...IP_OF_TYPE[(ip[0] as number) >> 4 === 4 ? 4 : 6], ...ip];
const vxlan = (ip: number[], port = 8472) => ipv4(17, udp(port, [8, 0, 0, 0, 0, 0, 1, 0, ...frame(ip)]), true);
/** With two words of options. */
const geneve = (type: number, data: number[], flags = 0) =>
  ipv4(17, udp(6081, [2, flags, ...half(type), 0, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, ...data]), true);

const PLAIN = ipv4(6, tcp(80));
const TCP6 = ipv6(6, tcp(80));
const IN_VXLAN = vxlan(PLAIN);
const TWO_DEEP = vxlan(ipv4(4, ipv4(17, udp(53))));

function takes(text: string, ip: number[], capturedBytes = ip.length, interfaceName?: string): boolean {
  const bytes = Buffer.from(frame(ip)).subarray(0, 14 + capturedBytes);
  const filter = new FileFilter(parseFilter(text, 'file'), (one) => payloadOf(one)?.bytes);
  return filter.takes({ layer: 'ethernet', bytes, wireBytes: 14 + ip.length, interfaceName });
}

describe('in a capture file', () => {
  for (const [text, ip, expected] of [
    ['inner tcp', IN_VXLAN, true],
    ['inner tcp', vxlan(PLAIN, 4789), true],
    ['inner tcp', vxlan(PLAIN, 6784), true],
    ['inner tcp', vxlan(PLAIN, 4790), false],
    ['inner (ip6 and tcp port 80)', vxlan(TCP6), true],
    ['inner tcp', geneve(0x6558, frame(PLAIN)), true],
    ['inner (ip6 and tcp)', geneve(0x86dd, TCP6), true],
    // A control message, another version of the header, and no IP.
    ['inner tcp', geneve(0x6558, frame(PLAIN), 0x80), false],
    ['inner tcp', geneve(0x88b5, PLAIN), false],
    ['inner tcp', ipv4(41, TCP6, true), true],
    ['inner udp', IN_VXLAN, false],
    ['udp and host 172.18.0.1', IN_VXLAN, true],
    ['outer udp', IN_VXLAN, true],
    ['tcp', IN_VXLAN, false],
    ['host 10.244.1.2', IN_VXLAN, false],
    ['inner host 10.244.1.2', IN_VXLAN, true],
    ['not inner tcp', IN_VXLAN, false],
    ['inner (not tcp)', IN_VXLAN, false],
    ['inner (not udp)', IN_VXLAN, true],
    ['inner tcp', PLAIN, false],
    ['not inner tcp', PLAIN, true],
    ['inner (not tcp)', PLAIN, true],
    ['inner (ip or ip6) and inner (not tcp)', PLAIN, false],
    // Each word is true when it is true of any packet inside.
    ['inner udp port 53', TWO_DEEP, true],
    ['inner (udp and proto 4)', TWO_DEEP, true],
    ['inner (not udp)', TWO_DEEP, false],
    ['inner (tcp or udp port 53)', TWO_DEEP, true],
    ['inner udp and udp port 8472', TWO_DEEP, true],
  ] as const)
    test(`${text} takes ${expected ? '' : 'not '}${Buffer.from(ip).toString('hex').slice(0, 70)}…`, () =>
      assert.equal(takes(text, [...ip]), expected));

  test('a byte inside that was not captured is no match, also under a not', () => {
    const toInner = IN_VXLAN.length - PLAIN.length;
    for (const text of ['inner tcp port 80', 'inner (not tcp port 80)', 'not inner tcp port 80'])
      assert.equal(takes(text, IN_VXLAN, toInner + 20), false, text);
    assert.equal(takes('inner tcp', IN_VXLAN, toInner + 20), true);
    assert.equal(takes('inner (not tcp port 81)', IN_VXLAN, toInner + 24), true);
  });

  test('packets that were captured too short are counted, with how far the filter reads them', () => {
    const shortages = (text: string, ip: number[], capturedBytes: number) => {
      const filter = new FileFilter(parseFilter(text, 'file'), (one) => payloadOf(one)?.bytes);
      const bytes = Buffer.from(frame(ip)).subarray(0, 14 + capturedBytes);
      filter.takes({ layer: 'ethernet', bytes, wireBytes: 14 + ip.length, interfaceName: undefined });
      return filter.shortages;
    };
    const toInner = IN_VXLAN.length - PLAIN.length;
    const none = { packets: 0, wantsBytes: 0 };
    assert.deepEqual(shortages('tcp port 80', PLAIN, 20), { packets: 1, wantsBytes: 14 + 22 });
    assert.deepEqual(shortages('inner tcp[13] = 2', IN_VXLAN, toInner + 20), { packets: 1, wantsBytes: 14 + toInner + 34 });
    // Captured as a whole, and shorter than the filter reads; and decided without the byte.
    assert.deepEqual(shortages('tcp[100] = 1', PLAIN, PLAIN.length), none);
    assert.deepEqual(shortages('tcp or tcp[13] = 2', PLAIN, 20), none);
    assert.deepEqual(shortages('1 / (tcp[0] - tcp[0]) = 1', PLAIN, PLAIN.length), none);
  });

  test('iface is the name that the file has, also behind inner', () => {
    assert.equal(takes('iface veth* and inner tcp', IN_VXLAN, undefined, 'veth1'), true);
    assert.equal(takes('inner (iface veth* and tcp)', IN_VXLAN, undefined, 'veth1'), true);
    assert.equal(takes('iface veth*', IN_VXLAN), false);
  });
});

test('inner means the same of a tunnelled packet in a file and on a follow', () => {
  const told = packet({
    id: '1',
    src: { ip: '10.244.1.2', port: 40_000 },
    dst: { ip: '10.244.3.2', port: 80 },
    len: PLAIN.length,
    hops: [hop('host1', 'flannel.1', 'out', 0, { kind: 'vxlan', vni: 1, src: '172.18.0.1', dst: '172.18.0.2' })],
  });
  for (const inner of [
    'tcp',
    'not tcp',
    'udp',
    'not (udp or icmp)',
    'tcp and not host 10.244.1.2',
    'not (tcp and dst port 80)',
    'host 172.18.0.1 or tcp[13] = 2',
    'not (not tcp[13] & 2 = 0)',
    'tcp[400] = 1 or tcp',
    'not tcp[400] = 1',
    'len = 40',
  ]) {
    const text = `inner (${inner})`;
    const { outcome } = new LiveFilter(text).judge(told, { captured: [Buffer.from(PLAIN)], vxlanPort: 8472, isWhole: true });
    assert.equal(takes(text, IN_VXLAN), outcome === 'match', text);
  }
});
