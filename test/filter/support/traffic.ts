/** Captured packets of every kind that the filter language speaks of, made by rule from a seed, and capture files of them. */
import { writeFileSync } from 'node:fs';
import type { LinkLayer } from '../../../src/event/link-layer.ts';
import { ipv6Words } from '../../../src/filter/language/address-words.ts';
import type { Random } from './random.ts';

export interface Frame {
  bytes: Buffer;
  wireBytes: number;
}

export const IPV4 = ['10.0.0.1', '10.0.0.2', '10.244.1.5', '192.168.0.9', '224.0.0.1', '255.255.255.255'];
export const IPV6 = ['fe80::1', '2001:db8::1', '2001:db8::2', 'ff02::1'];
export const PORTS = [53, 80, 443, 8080, 6379, 65535, 0];
export const MACS = ['ff:ff:ff:ff:ff:ff', '0a:58:00:00:00:01', '01:00:5e:00:00:01', '02:00:00:00:00:09'];
const LINK_TYPES: Record<LinkLayer, number> = { ethernet: 1, raw: 101, ipv4: 228, ipv6: 229, sll: 113, sll2: 276 };
const [HOP_BY_HOP, ROUTING, DESTINATION] = [0, 43, 60] as const;
const [TCP, UDP, SCTP, ICMP, ICMP6, FRAGMENT, IPIP] = [6, 17, 132, 1, 58, 44, 4] as const;

/** A frame; `canBeCut`: one in six is cut short by the capture, one in eight is shorter than its headers say. */
export function frame(random: Random, layer: LinkLayer, canBeCut: boolean): Frame {
  const { type, l3 } = networkPacket(random);
  const body = canBeCut && random.below(8) === 0 ? l3.slice(0, random.below(l3.length + 1)) : l3;
  const bytes = [...linkHeader(random, layer, type), ...body];
  const wireBytes = bytes.length + (random.below(4) === 0 ? random.below(50) : 0);
  const captured = canBeCut && random.below(6) === 0 ? bytes.slice(0, random.below(bytes.length) + 1) : bytes;
  return { bytes: Buffer.from(captured), wireBytes };
}

/** A pcap file of them; packet n is of second n. */
export function writeFrames(path: string, layer: LinkLayer, frames: readonly Frame[]): void {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(262_144, 16);
  header.writeUInt32LE(LINK_TYPES[layer], 20);
  const records = frames.flatMap(({ bytes, wireBytes }, index) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(index, 0);
    record.writeUInt32LE(bytes.length, 8);
    record.writeUInt32LE(wireBytes, 12);
    return [record, bytes];
  });
  writeFileSync(path, Buffer.concat([header, ...records]));
}

function networkPacket(random: Random): { type: number; l3: number[] } {
  const kind = random.below(10);
  if (kind < 6) return { type: 0x0800, l3: ipv4Packet(random) };
  if (kind < 9) return { type: 0x86dd, l3: ipv6Packet(random) };
  const arp = [0, 1, 8, 0, 6, 4, 0, 1, 1, 2, 3, 4, 5, 6, ...ipv4(random), 1, 2, 3, 4, 5, 6, ...ipv4(random)];
  return { type: random.pick([0x0806, 0x8035, 0x88cc, 40]), l3: arp };
}

function ipv4Packet(random: Random, isInner = false): number[] {
  const proto = random.pick([TCP, TCP, UDP, UDP, ICMP, 2, SCTP, 50, 51, 103, 112, 4, 47]);
  const optionWords = random.pick([0, 0, 0, 1, 3]);
  const isTunnel = !isInner && (proto === UDP || proto === IPIP) && random.below(3) === 0;
  const body = isTunnel ? tunnelled(random, proto) : transport(random, proto);
  const fragmentation = random.pick([0, 0, 0, 0x4000, 0x2000, 0x2005, 5]);
  const headerWords = 5 + optionWords;
  const length = half(headerWords * 4 + body.length);
  const fixed = [
    0x40 | headerWords,
    0,
    ...length,
    0,
    7,
    ...half(fragmentation),
    64,
    proto,
    0,
    0,
    ...ipv4(random),
    ...ipv4(random),
  ];
  return [...fixed, ...new Array(optionWords * 4).fill(1), ...body];
}

function ipv6Packet(random: Random): number[] {
  const proto = random.pick([TCP, UDP, ICMP6, SCTP, FRAGMENT, HOP_BY_HOP, ROUTING, DESTINATION, 50]);
  const next = random.pick([TCP, UDP, ICMP6]);
  const extension = extensionHeader(random, proto, next);
  const body = [...extension, ...transport(random, extension.length > 0 ? next : proto)];
  return [0x60, 0, 0, 0, ...half(body.length), proto, 64, ...ipv6(random), ...ipv6(random), ...body];
}

function extensionHeader(random: Random, proto: number, next: number): number[] {
  if (proto === FRAGMENT) return [next, 0, 0, random.pick([0, 1, 9]), 0, 0, 0, 1];
  if (proto === HOP_BY_HOP || proto === DESTINATION) return [next, 0, 1, 4, 0, 0, 0, 0];
  return proto === ROUTING ? [next, 2, 4, 0, 0, 0, 0, 0, ...ipv6(random)] : [];
}

/** In IPIP, or in VXLAN on flannel's port or IANA's. */
function tunnelled(random: Random, proto: number): number[] {
  if (proto === IPIP) return ipv4Packet(random, true);
  const isV6 = random.below(3) === 0;
  const inner = isV6 ? ipv6Packet(random) : ipv4Packet(random, true);
  const frame = [...mac(random), ...mac(random), ...(isV6 ? [0x86, 0xdd] : [8, 0]), ...inner];
  const ports = [...half(49_152 + random.below(1000)), ...half(random.pick([4789, 8472]))];
  return [...ports, ...half(16 + frame.length), 0, 0, 8, 0, 0, 0, 0, 0, 1, 0, ...frame];
}

function transport(random: Random, proto: number): number[] {
  const any = () => random.below(256);
  if (proto === TCP) {
    const ports = [...half(random.pick(PORTS)), ...half(random.pick(PORTS))];
    return [...ports, 0, 0, 0, random.below(3), 0, 0, 0, random.below(3), 0x50, any(), 1, 2, 0, 0, 0, 0, any()];
  }
  if (proto === UDP || proto === SCTP)
    return [...half(random.pick(PORTS)), ...half(random.pick(PORTS)), 0, 12, 0, 0, any(), 1, 2, 3];
  if (proto === ICMP || proto === ICMP6) {
    return [
      random.pick([0, 3, 8, 11, 128, 129, 135]),
      random.below(4),
      0,
      0,
      0,
      random.below(5),
      0,
      random.below(5),
      1,
      2,
      3,
      4,
      5,
    ];
  }
  return [any(), any(), 1, 2, 3, 4, 5, 6, 7, 8];
}

function linkHeader(random: Random, layer: LinkLayer, type: number): number[] {
  const way = random.pick([0, 1, 4]);
  if (layer === 'raw' || layer === 'ipv4' || layer === 'ipv6') return [];
  if (layer === 'sll') return [...half(way), 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, ...half(type)];
  if (layer === 'sll2') return [...half(type), 0, 0, 0, 0, 0, 3, 0, 1, way, 6, 1, 2, 3, 4, 5, 6, 0, 0];
  const isTagged = random.below(6) === 0;
  const tags = isTagged ? [...half(random.pick([0x8100, 0x88a8])), 0, random.pick([5, 100])] : [];
  const inner = isTagged && random.below(2) === 0 ? [0x81, 0, 0, random.pick([5, 7])] : [];
  return [...mac(random), ...mac(random), ...tags, ...inner, ...half(type)];
}

function half(value: number): number[] {
  return [value >> 8, value & 255];
}

function ipv4(random: Random): number[] {
  return random.pick(IPV4).split('.').map(Number);
}

function ipv6(random: Random): number[] {
  return ipv6Words(random.pick(IPV6)).flatMap((word) => [...half(word >>> 16), ...half(word & 0xffff)]);
}

function mac(random: Random): number[] {
  return random
    .pick(MACS)
    .split(':')
    .map((digits) => Number.parseInt(digits, 16));
}
