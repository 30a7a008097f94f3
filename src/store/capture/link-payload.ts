import type { CapturedPacket } from './captured-packet.ts';

const IPV4 = 0x0800;
const IPV6 = 0x86dd;
/** 802.1Q, 802.1ad, and what was used before 802.1ad. */
const TAGS = new Set([0x8100, 0x88a8, 0x9100]);
const MAX_TAGS = 4;
const HEADER_BYTES = { ethernet: 14, sll: 16, sll2: 20 } as const;
const TYPE_AT = { ethernet: 12, sll: 14, sll2: 0 } as const;

export interface LinkPayload {
  version: 4 | 6;
  bytes: Buffer;
  offset: number;
  vlan: { id: number } | undefined;
}

/** The IP packet in a frame, behind its VLAN tags (of several the outer one is told), and how many bytes are in front of it; undefined when it is something else. */
export function payloadOf({ layer, bytes }: Pick<CapturedPacket, 'layer' | 'bytes'>): LinkPayload | undefined {
  if (layer === 'ipv4' || layer === 'ipv6') return { version: layer === 'ipv4' ? 4 : 6, bytes, offset: 0, vlan: undefined };
  if (layer === 'raw') {
    const version = (bytes[0] ?? 0) >> 4;
    return version === 4 || version === 6 ? { version, bytes, offset: 0, vlan: undefined } : undefined;
  }
  let offset: number = HEADER_BYTES[layer];
  let typeAt: number = TYPE_AT[layer];
  let vlan: LinkPayload['vlan'];
  for (let tags = 0; tags <= MAX_TAGS && typeAt + 2 <= bytes.length; tags++) {
    const type = bytes.readUInt16BE(typeAt);
    if (type === IPV4) return { version: 4, bytes: bytes.subarray(offset), offset, vlan };
    if (type === IPV6) return { version: 6, bytes: bytes.subarray(offset), offset, vlan };
    if (!TAGS.has(type)) return undefined;
    if (offset + 2 <= bytes.length) vlan ??= { id: bytes.readUInt16BE(offset) & 0xfff };
    typeAt = offset + 2;
    offset += 4;
  }
  return undefined;
}
