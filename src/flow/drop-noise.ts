import { dropReasonName, isEchoReply, protocolName, UNKNOWN_SYMBOL } from '../event/names.ts';
import type { Sighting } from '../event/sighting.ts';
import type { NodeView } from './packet-event.ts';

/** Where a socket's queue is emptied (kernels that have QUEUE_PURGE say so), and where a connection's last segments go. */
const NO_REASON_AND_NO_DROP = new Set([
  'tcp_v4_rcv',
  'tcp_v6_rcv',
  'skb_queue_purge',
  'inet_sock_destruct',
  'sk_stream_kill_queues',
]);
const TCP = 6;
const ICMPV6 = 58;
/** Came with the drop reasons of ICMPv6: before them every ICMPv6 message is freed as a drop, whatever was done with it. */
const SINCE_ICMP6_HAS_REASONS = 'SKB_DROP_REASON_IPV6_NDISC_FRAG';

/**
 * Which frees the kernel reports as drops are no packet's fate: a queue emptied when its socket closes, and the copies of an ICMP message
 * that raw sockets' filters refuse, or that no ping socket takes, while the ping that waits for it has its own (raw_rcv, ping_rcv), what a
 * connection that waits for its last segments took in (tcp_v4_rcv, label do_time_wait: it is freed without a reason once it is seen to), and, on
 * kernels that say no more than that of any of them, ICMPv6 messages that the stack has taken (icmpv6_rcv). Where the kernel's names are hidden,
 * none of the latter can be told from a drop, and a connection's last segments are by far the most of them: a drop is not made up.
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
