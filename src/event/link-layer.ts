/**
 * What a captured packet begins with: an Ethernet frame, the IP header itself, or the header that Linux gives to packets of the device `any` (v1, v2).
 * `ipv4` and `ipv6` are IP headers of that version, which their first byte is not asked for.
 */
export type LinkLayer = 'ethernet' | 'raw' | 'ipv4' | 'ipv6' | 'sll' | 'sll2';
