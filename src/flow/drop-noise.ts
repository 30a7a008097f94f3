import { dropReasonName, isEchoReply, protocolName, UNKNOWN_SYMBOL } from '../event/names.ts';
import type { Sighting } from '../event/sighting.ts';
import type { NodeView } from './open-packet.ts';

/** Functions that empty a closed socket's queue (kernels that have QUEUE_PURGE say so). */
const QUEUES_EMPTIED = ['skb_queue_purge', 'inet_sock_destruct', 'sk_stream_kill_queues'];
/** Functions that free what a closed connection, or one that is being opened, takes in, without a reason. */
const TAKEN_IN = ['tcp_v4_rcv', 'tcp_v6_rcv'];
const TCP = 6;
const ICMPV6 = 58;
/** Kernels without this reason free every ICMPv6 message as a drop, also those that were handled. */
const SINCE_ICMP6_HAS_REASONS = 'SKB_DROP_REASON_IPV6_NDISC_FRAG';

/**
 * Tells the drops that the kernel reports although the packet was not dropped:
 * - a queue that is emptied when its socket closes;
 * - copies of an ICMP message that a raw socket's filter refuses or that no ping socket takes (raw_rcv, ping_rcv): the receiver has its own copy;
 * - segments that TCP took in and frees without a reason (tcp_v4_rcv, label do_time_wait): from 6.11 on the kernel side leaves them out by the receiving
 *   socket's state (`was_taken_in` in bpf/hook/drop.h); before, the kernel does not report that socket, and the function decides;
 * - on kernels without reasons for ICMPv6, messages that the stack handled (icmpv6_rcv).
 * Where the kernel has no names for its functions, the last cannot be told from drops, and before 6.11 neither can the one before it. Most of them are no
 * drops, so all of them are left out.
 */
export function noiseFilter({
  dropReasons,
  knowsReceivers,
  symbol,
}: Pick<NodeView, 'dropReasons' | 'knowsReceivers' | 'symbol'>): (sighting: Sighting) => boolean {
  const hasIcmp6Reasons = [...dropReasons.values()].includes(SINCE_ICMP6_HAS_REASONS);
  const noDropAt = new Set([...QUEUES_EMPTIED, ...(knowsReceivers ? [] : TAKEN_IN), ...(hasIcmp6Reasons ? [] : ['icmpv6_rcv'])]);
  return ({ drop, icmp, proto, ipVersion }) => {
    if (drop === undefined) return false;
    const reason = dropReasonName(dropReasons, drop.reason);
    if (reason === 'QUEUE_PURGE') return true;
    if (reason === 'NOT_SPECIFIED') {
      const at = symbol(drop.location);
      if (at !== UNKNOWN_SYMBOL) return noDropAt.has(at);
      return (proto === TCP && !knowsReceivers) || (proto === ICMPV6 && !hasIcmp6Reasons);
    }
    if (icmp === undefined || !protocolName(proto).startsWith('icmp')) return false;
    return reason === 'SOCKET_FILTER' || (reason === 'NO_SOCKET' && isEchoReply(ipVersion, icmp.type));
  };
}
