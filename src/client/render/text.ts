import type {
  Endpoint,
  FlowEvent,
  Hop,
  KtraceEvent,
  LostEvent,
  NoticeEvent,
  PacketEvent,
  Translation,
} from '../../event/types.ts';
import type { Palette } from './colors.ts';
import { escapeText } from './escape.ts';
import { endpointText, fullEndpointText } from './names.ts';
import { noticeWords } from './notice.ts';
import { protocolText } from './protocol.ts';
import { bytesText, clockText, durationText, unansweredText } from './units.ts';

/** How much a line tells: `text` the names, `wide` addresses, chains, and each hop with node and time too. */
export type Detail = 'text' | 'wide';

/**
 * One line for an event, or undefined for one that adds nothing to what was printed. The initiator is left, a reply is drawn `<-`.
 * Everything from outside is escaped.
 */
export function eventText(event: KtraceEvent, detail: Detail, paint: Palette): string | undefined {
  switch (event.kind) {
    case 'packet':
      return packetText(event, detail, paint);
    case 'flow':
      return event.state === 'open' ? undefined : flowText(event, detail, paint);
    case 'lost':
      return lostText(event, paint);
    case 'notice':
      return noticeText(event, paint);
    default:
      return undefined;
  }
}

function packetText(event: PacketEvent, detail: Detail, paint: Palette): string {
  const words = [
    paint.dim(clockText(event.time)),
    event.nodes.map((node) => paint.node(escapeText(node))).join('>'),
    endsText(event, detail, paint),
    protocolText(event, paint),
    event.cut === true ? paint.warning('cut short') : '',
    ...translationWords(event, detail, paint),
    paint.dim(detail === 'wide' ? wideHops(event.hops) : hopsText(event.hops)),
    outcomeText(event, paint),
  ];
  return words.filter((word) => word !== '').join(' ');
}

function endsText(event: Told & { src: Endpoint; dst: Endpoint }, detail: Detail, paint: Palette): string {
  const text = detail === 'wide' ? fullEndpointText : endpointText;
  const time = timeOf(event);
  if (event.dir !== 'reply') return `${text(event.src, paint, time)} -> ${text(event.dst, paint, time)}`;
  // The reply to a masqueraded request is for whom the last translation gives it to.
  const initiator = event.nat?.findLast(({ kind }) => kind === 'snat')?.after ?? event.dst;
  return `${text(initiator, paint, time)} <- ${text(event.src, paint, time)}`;
}

/** A packet or a flow, which is named as of its beginning. */
interface Told {
  time?: string;
  startTime?: string;
  dir?: string;
  nat?: Translation[];
}

function timeOf({ time, startTime }: Told): string | undefined {
  return time ?? startTime;
}

function translationWords(event: Told, detail: Detail, paint: Palette): string[] {
  const { nat, dir } = event;
  const isReply = dir === 'reply';
  const text = detail === 'wide' ? fullEndpointText : endpointText;
  return (nat ?? []).map((translation) => {
    const sign = paint.translation(translation.kind === 'snat' ? 'as' : isReply ? '<=' : '=>');
    // Of a masquerade the address on the wire is told: what a request got, and what its reply came with.
    const end = translation.kind === 'snat' && isReply ? translation.before : translation.after;
    return `${sign} ${text(end, paint, timeOf(event))}${detail === 'wide' ? chainsText(translation, paint) : ''}`;
  });
}

function chainsText({ service, chains, seenBy }: Translation, paint: Palette): string {
  const parts = [
    ...(service === undefined ? [] : [`svc ${escapeText(service)}`]),
    ...(chains === undefined || chains.length === 0 ? [] : [chains.map(escapeText).join('>')]),
    `by ${escapeText(seenBy)}`,
  ];
  return paint.dim(` [${parts.join(' ')}]`);
}

/** `veth1a2b>cni0>flannel.1 | flannel.1>cni0>veth9`: a node's interfaces, then the next node's. */
function hopsText(hops: Hop[]): string {
  let text = '';
  for (const [index, hop] of hops.entries()) {
    const before = hops[index - 1];
    if (before !== undefined) text += before.node === hop.node ? '>' : ' | ';
    text += escapeText(hop.if);
  }
  return text;
}

function wideHops(hops: Hop[]): string {
  return hops
    .map(({ node, if: name, dir, atNs, tunnel }) => {
      const within =
        tunnel === undefined
          ? ''
          : escapeText(` (${tunnel.kind}${tunnel.vni === undefined ? '' : ` ${tunnel.vni}`} ${tunnel.src}>${tunnel.dst})`);
      return `${escapeText(`${node}/${name}`)} ${dir} +${durationText(atNs / 1000)}${within}`;
    })
    .join(', ');
}

function outcomeText(event: PacketEvent, paint: Palette): string {
  const { unanswered, drop, verdict, hops } = event;
  if (drop !== undefined) {
    const where = drop.if === undefined ? '' : ` on ${escapeText(drop.if)}`;
    return paint.bad(`DROPPED ${escapeText(drop.reason)} at ${escapeText(drop.at)}${where}`);
  }
  if (unanswered !== undefined) {
    const last = hops.at(-1);
    const seen = last === undefined ? '' : `, last seen ${escapeText(`${last.node} ${last.if}`)} ${last.dir}`;
    return paint.bad(`${unansweredText(unanswered)}${seen}`);
  }
  // A capture file says nothing of what became of a packet.
  if (event.nodes.length === 0) return '';
  const color = verdict === 'delivered' || verdict === 'answered' ? paint.good : verdict === 'dropped' ? paint.bad : paint.dim;
  return `${color(escapeText(verdict))}${event.amends === true ? paint.dim(' (told again)') : ''}`;
}

function flowText(event: FlowEvent, detail: Detail, paint: Palette): string {
  const { packets, bytes } = event;
  const counts =
    event.counted === false
      ? 'not counted'
      : `${packets.request}/${packets.reply} packets, ${bytesText(bytes.request)}/${bytesText(bytes.reply)}`;
  const lastedUs = Math.max(0, Date.parse(event.endTime) - Date.parse(event.startTime)) * 1000;
  const words = [
    clockText(event.endTime),
    escapeText(event.node),
    endsText(event, detail, paint),
    escapeText(event.proto),
    ...translationWords(event, detail, paint),
    `flow ${event.state === 'close' ? 'closed' : 'goes on'}: ${counts}`,
    `in ${durationText(lastedUs)}`,
  ];
  return paint.dim(words.join(' '));
}

function lostText({ node, stage, count, pod }: LostEvent, paint: Palette): string {
  const whose = pod === undefined ? '' : `${escapeText(pod.namespace)}/${escapeText(pod.name)} on `;
  const what = count === 1 ? 'event' : 'events';
  return paint.bad(`lost ${count} ${what} of ${whose}${escapeText(node)} (${escapeText(stage)})`);
}

function noticeText(event: NoticeEvent, paint: Palette): string {
  const { node, level, code } = event;
  const color = level === 'error' ? paint.bad : level === 'warn' ? paint.warning : paint.dim;
  const said = `${node === undefined ? '' : `${escapeText(node)}: `}${escapeText(noticeWords(event))}`;
  // That it works needs no page on what to do.
  return color(code === 'KTRACE_N_FOLLOWING' ? said : `${said} [${escapeText(code)}]`);
}
