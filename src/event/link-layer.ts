/** What a captured packet begins with: an Ethernet frame, the IP header itself, or the header that Linux gives to packets of the device `any` (v1, v2). */
export type LinkLayer = 'ethernet' | 'raw' | 'sll' | 'sll2';
