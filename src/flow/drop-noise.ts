import { dropReasonName, isEchoReply, protocolName, UNKNOWN_SYMBOL } from '../event/names.ts';
import type { Sighting } from '../event/sighting.ts';
import type { NodeView } from './packet-event.ts';

/** Functions that free packets without a reason and drop none: they empty a closed socket's queue, or take in a connection's last segments. */
const NO_REASON_AND_NO_DROP = new Set([
  'tcp_v4_rcv',
  'tcp_v6_rcv',
  'skb_queue_purge',
  'inet_sock_destruct',
  'sk_stream_kill_queues',
]);
const TCP = 6;
const ICMPV6 = 58;
/** Kernels without this reason free every ICMPv6 message as a drop, also those that were handled. */
const SINCE_ICMP6_HAS_REASONS = 'SKB_DROP_REASON_IPV6_NDISC_FRAG';

/**
 * Tells the drops that the kernel reports although the packet was not dropped:
 * - a queue that is emptied when its socket closes;
 * - copies of an ICMP message that a raw socket's filter refuses or that no ping socket takes (raw_rcv, ping_rcv): the receiver has its own copy;
 * - segments that a connection in TIME_WAIT took in (tcp_v4_rcv, label do_time_wait), which are freed without a reason;
 * - on kernels without reasons for ICMPv6, messages that the stack handled (icmpv6_rcv).
 * Where the names of kernel functions are hidden, the last two cannot be told from drops. Most of them are no drops, so all of them are left out.
 */
export function noiseFilter({ dropReasons, symbol }: Pick<NodeView, 'dropReasons' | 'symbol'>): (sighting: Sighting) => boolean {
  const hasIcmp6Reasons = [...dropReasons.values()].includes(SINCE_ICMP6_HAS_REASONS);
  return ({ drop, icmp, proto, ipVersion }) => {
    if (drop === undefined) return false;
    const reason = dropReasonName(dropReasons, drop.reason);
    if (reason === 'QUEUE_PURGE') return true;
    if (reason === 'NOT_SPECIFIED') {
      const at = symbol(drop.location);
      if (at === UNKNOWN_SYMBOL) return proto === TCP || (proto === ICMPV6 && !hasIcmp6Reasons);
      return NO_REASON_AND_NO_DROP.has(at) || (at === 'icmpv6_rcv' && !hasIcmp6Reasons);
    }
    if (icmp === undefined || !protocolName(proto).startsWith('icmp')) return false;
    return reason === 'SOCKET_FILTER' || (reason === 'NO_SOCKET' && isEchoReply(ipVersion, icmp.type));
  };
}
