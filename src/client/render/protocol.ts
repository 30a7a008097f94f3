import type { IcmpFacts, PacketEvent } from '../../event/types.ts';
import type { Palette } from './colors.ts';
import { escapeText } from './escape.ts';
import { endpointText } from './names.ts';
import { durationText } from './units.ts';

/** The protocol with its essentials: `tcp SA`, `udp len 61`, `icmp echo-reply id 7 seq 1 433µs`. */
export function protocolText(event: PacketEvent, paint: Palette): string {
  const words = [escapeText(event.proto), ...essentials(event, paint)];
  if (event.fragment !== undefined) words.push(`fragment ${event.fragment.offset}${event.fragment.more ? '+' : ''}`);
  if (event.vlan !== undefined) words.push(`vlan ${event.vlan.id}`);
  if (event.segments !== undefined) words.push(`x${event.segments}`);
  return words.join(' ');
}

function essentials(event: PacketEvent, paint: Palette): string[] {
  if (event.tcp !== undefined) return [escapeText(event.tcp.flags)];
  if (event.icmp !== undefined) return icmpWords(event.icmp, paint, event.time);
  return [`len ${event.len}`];
}

function icmpWords(icmp: IcmpFacts, paint: Palette, time: string): string[] {
  const words = [escapeText(icmp.name)];
  if (icmp.id !== undefined) words.push(`id ${icmp.id}`);
  if (icmp.seq !== undefined) words.push(`seq ${icmp.seq}`);
  if (icmp.mtu !== undefined) words.push(`mtu ${icmp.mtu}`);
  if (icmp.rttUs !== undefined) words.push(paint.good(durationText(icmp.rttUs)));
  if (icmp.about !== undefined) {
    const { proto, src, dst, dir, nat = [] } = icmp.about;
    words.push(`about ${escapeText(proto)} ${endpointText(src, paint, time)} -> ${endpointText(dst, paint, time)}`);
    for (const { kind, after } of nat) {
      const sign = kind === 'snat' ? 'as' : dir === 'reply' ? '<=' : '=>';
      words.push(`${paint.translation(sign)} ${endpointText(after, paint, time)}`);
    }
  }
  if (icmp.by !== undefined)
    words.push(`by ${escapeText(icmp.by.node)}${icmp.by.if === undefined ? '' : `/${escapeText(icmp.by.if)}`}`);
  return words;
}
