import { isEchoReply, protocolName } from '../event/names.ts';
import type { Sighting } from '../event/sighting.ts';

/**
 * Frees that the kernel reports as drops and that are no packet's fate: a queue emptied when its socket closes, and the copies of an ICMP message
 * that raw sockets' filters refuse, or that no ping socket takes, while the ping that waits for it has its own (raw_rcv, ping_rcv), and what a
 * connection that waits for its last segments took in (tcp_v4_rcv, label do_time_wait: it is freed without a reason once it is seen to).
 * @param reason name without its prefix
 * @param at name of the kernel function that freed it
 */
export function isNoise(sighting: Sighting, reason: string, at: string): boolean {
  if (reason === 'QUEUE_PURGE') return true;
  if (reason === 'NOT_SPECIFIED' && (at === 'tcp_v4_rcv' || at === 'tcp_v6_rcv')) return true;
  if (sighting.icmp === undefined || !protocolName(sighting.proto).startsWith('icmp')) return false;
  return reason === 'SOCKET_FILTER' || (reason === 'NO_SOCKET' && isEchoReply(sighting.ipVersion, sighting.icmp.type));
}
