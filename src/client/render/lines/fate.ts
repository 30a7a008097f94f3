import type { Hop, PacketEvent } from '../../../event/types.ts';
import type { Palette } from '../style/colors.ts';
import { escapeText } from '../style/escape.ts';
import { unansweredText } from '../style/units.ts';

/** `veth1a2b>cni0>flannel.1 | flannel.1>cni0>veth9`: a node's interfaces, then the next node's. */
export function hopsText(hops: readonly Hop[]): string {
  let text = '';
  for (const [index, hop] of hops.entries()) {
    const before = hops[index - 1];
    if (before !== undefined) text += before.node === hop.node ? '>' : ' | ';
    text += escapeText(hop.if);
  }
  return text;
}

/** Whether its line tells how it ended instead of that it arrived: it was dropped, or nothing answered it. */
export function hasDied({ drop, unanswered }: PacketEvent): boolean {
  return drop !== undefined || unanswered !== undefined;
}

function endText({ drop, unanswered, hops }: PacketEvent, paint: Palette, isShort: boolean): string | undefined {
  const last = hops.at(-1);
  if (drop !== undefined) {
    const where = drop.if === undefined || (isShort && drop.if === last?.if) ? '' : ` on ${escapeText(drop.if)}`;
    return paint.bad(`DROPPED ${escapeText(drop.reason)} at ${escapeText(drop.at)}${where}`);
  }
  if (unanswered === undefined) return undefined;
  const seen = last === undefined || isShort ? '' : `, last seen ${escapeText(`${last.node} ${last.if}`)} ${last.dir}`;
  return paint.bad(`${unansweredText(unanswered)}${seen}`);
}

/**
 * What became of a packet; empty for one of a capture file, which does not know. `isShort`: beside its way, so that the end does not repeat where
 * it was, and an arrival is a mere sign.
 */
export function fateText(event: PacketEvent, paint: Palette, isShort: boolean): string {
  const { verdict, nodes, amends } = event;
  const end = endText(event, paint, isShort);
  if (end !== undefined) return end;
  if (nodes.length === 0) return '';
  const isGood = verdict === 'delivered' || verdict === 'answered';
  const color = isGood ? paint.good : verdict === 'dropped' ? paint.bad : paint.dim;
  return `${color(isGood && isShort ? '✓' : escapeText(verdict))}${amends === true ? paint.dim(' (told again)') : ''}`;
}
