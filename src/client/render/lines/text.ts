import type { Endpoint, FlowEvent, Hop, KtraceEvent, PacketEvent, Translation } from '../../../event/types.ts';
import type { Palette } from '../style/colors.ts';
import { escapeText } from '../style/escape.ts';
import { bytesText, clockText, durationText, type Timestamps } from '../style/units.ts';
import { fateText, hopsText } from './fate.ts';
import { endpointText, fullEndpointText } from './names.ts';
import { protocolText } from './protocol.ts';
import { lostText, noticeText } from './talk.ts';

/** How much a line tells: `text` the names, `wide` addresses, chains, and each hop with node and time too. */
export type Detail = 'text' | 'wide';

/**
 * One line for an event, with all that its detail has, or undefined for one that adds nothing to what was printed. The initiator is left, a reply
 * is drawn `<-`, a conversation `<>`. Everything from outside is escaped.
 */
export function eventText(event: KtraceEvent, detail: Detail, paint: Palette, timestamps?: Timestamps): string | undefined {
  switch (event.kind) {
    case 'packet':
      return packetText(event, detail, paint, timestamps);
    case 'flow':
      return event.state === 'open' ? undefined : flowText(event, detail, paint, timestamps);
    case 'lost':
      return lostText(event, paint);
    case 'notice':
      return noticeText(event, paint);
    default:
      return undefined;
  }
}

function packetText(event: PacketEvent, detail: Detail, paint: Palette, timestamps?: Timestamps): string {
  const words = [
    paint.dim(clockText(event.time, timestamps)),
    event.nodes.map((node) => paint.node(escapeText(node))).join('>'),
    endsText(event, event.dir === 'reply' ? '<-' : '->', detail, paint),
    protocolText(event, paint),
    event.cut === true ? paint.warning('cut short') : '',
    ...translationWords(event, detail, paint),
    paint.dim(detail === 'wide' ? wideHops(event.hops) : hopsText(event.hops)),
    fateText(event, paint, false),
  ];
  return words.filter((word) => word !== '').join(' ');
}

function endsText(event: Told & Ended, sign: string, detail: Detail, paint: Palette): string {
  const text = detail === 'wide' ? fullEndpointText : endpointText;
  const time = timeOf(event);
  const { src, dst } = firstEnds(event);
  const [who, whom] = event.dir === 'reply' ? [initiatorOf(event), src] : [src, dst];
  return `${text(who, paint, time)} ${sign} ${text(whom, paint, time)}`;
}

/** Its ends before any translation: the record has those of where it was first seen, which may be behind one. */
export function firstEnds({ src, dst, dir, nat = [] }: Ended): { src: Endpoint; dst: Endpoint } {
  const before = (kind: Translation['kind']): Endpoint | undefined => nat.find((one) => one.kind === kind)?.before;
  // A reply's source is what a dnat gave its request, and it is given back.
  const isReply = dir === 'reply';
  return { src: before(isReply ? 'dnat' : 'snat') ?? src, dst: before(isReply ? 'snat' : 'dnat') ?? dst };
}

/** Whom a reply is for: that to a masqueraded request is for whom the last translation gives it to. */
export function initiatorOf({ dst, nat }: { dst: Endpoint; nat?: Translation[] }): Endpoint {
  return nat?.findLast(({ kind }) => kind === 'snat')?.after ?? dst;
}

/** A packet or a flow, which is named as of its beginning. */
interface Told {
  time?: string;
  startTime?: string;
  dir?: string;
  nat?: Translation[];
}

/** What has a record's ends. */
interface Ended {
  src: Endpoint;
  dst: Endpoint;
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

function chainsText({ service, chains, hook, seenBy }: Translation, paint: Palette): string {
  const parts = [
    ...(service === undefined ? [] : [`svc ${escapeText(service)}`]),
    ...(chains === undefined || chains.length === 0 ? [] : [chains.map(escapeText).join('>')]),
    `${hook === undefined ? '' : `in ${escapeText(hook)} `}by ${escapeText(seenBy)}`,
  ];
  return paint.dim(` [${parts.join(' ')}]`);
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

function flowText(event: FlowEvent, detail: Detail, paint: Palette, timestamps?: Timestamps): string {
  const words = [
    clockText(event.endTime, timestamps),
    escapeText(event.node),
    endsText(event, '<>', detail, paint),
    escapeText(event.proto),
    ...translationWords(event, detail, paint),
    countsText(event),
  ];
  return paint.dim(words.join(' '));
}

/** When a packet that is only counted was last seen is known by ticks of the kernel (bpf/base/ticks.h): of what was shorter than two, not how long it was. */
const TWO_TICKS_US = 20_000;

/** What became of a conversation: `flow closed: 10/9 packets, 1.2kB/34.0kB in 10.2s`. */
export function countsText({ state, counted, packets, bytes, startTime, endTime }: FlowEvent): string {
  const counts =
    counted === false
      ? 'not counted'
      : `${packets.request}/${packets.reply} packets, ${bytesText(bytes.request)}/${bytesText(bytes.reply)}`;
  const lastedUs = Math.max(0, Date.parse(endTime) - Date.parse(startTime)) * 1000;
  const lasted = lastedUs < TWO_TICKS_US ? '<20ms' : durationText(lastedUs);
  return `flow ${state === 'close' ? 'closed' : 'goes on'}: ${counts} in ${lasted}`;
}
