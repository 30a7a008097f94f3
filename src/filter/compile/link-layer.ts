import type { LinkLayer } from '../../event/link-layer.ts';
import { all, type Condition, NEVER, not, test } from './conditions.ts';

/** Largest value of an Ethernet header's type field that is a length instead (IEEE 802.3). */
const MAX_LENGTH = 1500;
/** The type that Linux cooked headers have for 802.2 frames. */
const COOKED_802_2 = 4;
const COOKED_OUTGOING = 4;
const TYPE_OFFSET: Record<LinkLayer, number> = { ethernet: 12, raw: 0, ipv4: 0, ipv6: 0, sll: 14, sll2: 0 };
const PAYLOAD_OFFSET: Record<LinkLayer, number> = { ethernet: 14, raw: 0, ipv4: 0, ipv6: 0, sll: 16, sll2: 20 };

export const ETHERTYPE = {
  ip: 0x0800,
  arp: 0x0806,
  rarp: 0x8035,
  ip6: 0x86dd,
  vlan: 0x8100,
  provider: 0x88a8,
  qinq: 0x9100,
} as const;

/** Offsets in one link layer; they move behind a VLAN tag as soon as the filter has one. */
export class LinkView {
  readonly layer: LinkLayer;
  #tags = 0;

  constructor(layer: LinkLayer) {
    this.layer = layer;
  }

  /** Where the IP header begins. */
  get payload(): number {
    return PAYLOAD_OFFSET[this.layer] + 4 * this.#tags;
  }

  /** What follows looks behind one more VLAN tag. */
  enterVlan(): void {
    this.#tags++;
  }

  /** The payload is of this type: of Ethernet's, or up to 1500 an 802.2 SAP. */
  isType(type: number): Condition {
    const offset = TYPE_OFFSET[this.layer] + 4 * this.#tags;
    if (this.layer === 'raw') return rawType(type);
    if (this.layer === 'ipv4' || this.layer === 'ipv6')
      return { kind: 'constant', value: type === (this.layer === 'ipv4' ? ETHERTYPE.ip : ETHERTYPE.ip6) };
    if (type > MAX_LENGTH || this.layer === 'sll2') return test([{ op: 'load', size: 2, k: offset }], 'jeq', type);
    if (this.layer === 'sll') {
      return all(
        test([{ op: 'load', size: 2, k: offset }], 'jeq', COOKED_802_2),
        test([{ op: 'load', size: 1, k: this.payload }], 'jeq', type),
      );
    }
    return all(
      not(test([{ op: 'load', size: 2, k: offset }], 'jgt', MAX_LENGTH)),
      test([{ op: 'load', size: 1, k: offset + 2 }], 'jeq', type),
    );
  }

  /** An IPv4 packet that is no later fragment: those have no transport header. */
  isFirstFragment(): Condition {
    return not(test([{ op: 'load', size: 2, k: this.payload + 6 }], 'jset', 0x1fff));
  }

  /** Did this machine send it? Undefined where the link layer does not say. */
  isOutgoing(): Condition | undefined {
    if (this.layer === 'sll') return test([{ op: 'load', size: 2, k: 0 }], 'jeq', COOKED_OUTGOING);
    if (this.layer === 'sll2') return test([{ op: 'load', size: 1, k: 10 }], 'jeq', COOKED_OUTGOING);
    return undefined;
  }
}

function rawType(type: number): Condition {
  if (type === ETHERTYPE.ip) return test([{ op: 'load', size: 1, k: 0 }], 'jeq', 0x40, 0xf0);
  if (type === ETHERTYPE.ip6) return test([{ op: 'load', size: 1, k: 0 }], 'jeq', 0x60, 0xf0);
  return NEVER;
}
