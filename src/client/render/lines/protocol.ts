import type { IcmpFacts, PacketEvent } from '../../../event/types.ts';
import type { Palette } from '../style/colors.ts';
import { escapeText } from '../style/escape.ts';
import { durationText } from '../style/units.ts';
import { endpointText } from './names.ts';

/** The protocol with its essentials: `tcp SA`, `udp len 61`, `icmp echo-reply id 7 seq 1 433µs`. */
export function protocolText(event: PacketEvent, paint: Palette): string {
  const { icmp, len } = event;
  const id = icmp?.id === undefined ? [] : [`id ${icmp.id}`];
  const about = icmp === undefined ? [] : quotedParts(icmp, paint, event.time);
  return [escapeText(event.proto), ...essentials(event, [`len ${len}`], id, paint), ...about, ...frameWords(event)].join(' ');
}

/** The same for a narrow line: `udp 61`, an echo without its id; what an ICMP error is about is left to {@link quotedParts}. */
export function shortProtocolText(event: PacketEvent, paint: Palette): string {
  return [escapeText(event.proto), ...essentials(event, [String(event.len)], [], paint), ...frameWords(event)].join(' ');
}

function essentials({ tcp, icmp }: PacketEvent, length: string[], id: string[], paint: Palette): string[] {
  if (tcp !== undefined) return [escapeText(tcp.flags)];
  if (icmp === undefined) return length;
  const words = [escapeText(icmp.name), ...id];
  if (icmp.seq !== undefined) words.push(`seq ${icmp.seq}`);
  if (icmp.mtu !== undefined) words.push(`mtu ${icmp.mtu}`);
  if (icmp.rttUs !== undefined) words.push(paint.good(durationText(icmp.rttUs)));
  return words;
}

function frameWords({ fragment, vlan, segments }: PacketEvent): string[] {
  return [
    ...(fragment === undefined ? [] : [`fragment ${fragment.offset}${fragment.more ? '+' : ''}`]),
    ...(vlan === undefined ? [] : [`vlan ${vlan.id}`]),
    ...(segments === undefined ? [] : [`x${segments}`]),
  ];
}

/**
 * What an ICMP error is about, in parts that a line may be broken between: the quoted packet's ends, what NAT had done to it, who made the error.
 * @param here the namespace that goes without saying
 */
export function quotedParts({ about, by }: IcmpFacts, paint: Palette, time: string, here?: string): string[] {
  const parts: string[] = [];
  if (about !== undefined) {
    const { proto, src, dst, dir, nat = [] } = about;
    const ends = [src, dst].map((end) => endpointText(end, paint, time, here));
    parts.push(`about ${escapeText(proto)} ${ends.join(' -> ')}`);
    for (const { kind, after } of nat) {
      const sign = kind === 'snat' ? 'as' : dir === 'reply' ? '<=' : '=>';
      parts.push(`${paint.translation(sign)} ${endpointText(after, paint, time, here)}`);
    }
  }
  if (by !== undefined) parts.push(`by ${escapeText(by.node)}${by.if === undefined ? '' : `/${escapeText(by.if)}`}`);
  return parts;
}
