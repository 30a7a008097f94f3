import { randomBytes } from 'node:crypto';
import type { Sighting, Tuple } from '../event/sighting.ts';

/**
 * A hash of 53 bits that is the same for a packet at every hook and on every node, also behind NAT. It is made of what no hop changes: protocol, IP id,
 * fragment offset, TCP seq, ack and flags, ICMP type, code and seq, a hash of UDP's first payload bytes. It leaves out addresses, ports and ICMP ids (NAT
 * changes them), TTL, and lengths (GSO, GRO and defragmentation change them). Different packets may have the same: compare the addresses, too.
 */
export function fingerprintOf(sighting: Pick<Sighting, 'proto' | 'ipId' | 'fragment' | 'tcp' | 'icmp' | 'payloadHash'>): number {
  let high = mix(0x811c9dc5, sighting.proto);
  let low = mix(0x01000193, sighting.ipId);
  high = mix(high, sighting.ipId);
  low = mix(low, sighting.fragment?.offset ?? 0);
  const { tcp, icmp } = sighting;
  if (tcp !== undefined) {
    high = mix(mix(high, tcp.seq), tcp.flags);
    low = mix(mix(low, tcp.ack), tcp.seq);
  } else if (icmp !== undefined) {
    high = mix(high, (icmp.type << 8) | icmp.code);
    low = mix(mix(low, icmp.seq), sighting.payloadHash);
  } else {
    high = mix(high, sighting.payloadHash);
    low = mix(low, sighting.payloadHash);
  }
  return finish(high) * 0x200000 + (finish(low) >>> 11);
}

/** Different in each process: else a sender could make packets whose keys a hash table has in one place. */
const SEED = randomBytes(4).readInt32LE();

/** Fingerprints may collide, so both addresses are in the key, whichever way round. A translated packet has a key for each pair of addresses. */
export function contentKey(fingerprint: number, { src, dst }: Tuple): number {
  return fingerprint + (hashOf(src) ^ hashOf(dst) ^ SEED) * 0x100000;
}

function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash ^ (hash >>> 15);
}

function mix(hash: number, value: number): number {
  const mixed = Math.imul(hash ^ value, 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
}

function finish(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (mixed ^ (mixed >>> 13)) >>> 0;
}
