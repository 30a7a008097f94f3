import type { Endpoint, PacketEvent, Translation } from '../../../event/types.ts';
import { exitTuple } from '../../merge/packet.ts';
import { type Step, stepsOf } from '../../report/steps.ts';
import { addressText, endpointText, goneText, ownerText } from '../lines/names.ts';
import { firstEnds } from '../lines/text.ts';
import { durationText, unansweredText } from '../style/units.ts';
import { PLAIN } from './words.ts';

/** `goal` is an end that the packet was not seen to reach. */
export type Mark = 'end' | 'goal' | 'hop' | 'translation' | 'drop' | 'note';

interface Line {
  text: string;
  style: 'strong' | 'plain' | 'dim' | 'bad' | 'translated';
}

/** What stands beside one mark of a drawing. Not escaped. */
export interface DrawnRow {
  mark: Mark;
  /** The node whose box it is in. */
  node: string | undefined;
  time: string;
  lines: Line[];
  /** Its place in the packet's way is known. */
  isOnTrack: boolean;
}

/** A packet's way as rows, from its source to where it ended; below them what happened at a place that is not known. */
export function drawnRows(packet: PacketEvent): DrawnRow[] {
  const steps = stepsOf(packet);
  const isUnplaced = (step: Step): boolean => step.kind === 'translation' && step.node === undefined;
  return [
    endRow(firstEnds(packet).src, 'end', 'from'),
    ...steps.filter((step) => !isUnplaced(step)).map((step) => rowOf(step, packet)),
    ...endRows(packet),
    ...steps.filter(isUnplaced).map((step) => rowOf(step, packet)),
  ];
}

function row(mark: Mark, node: string | undefined, time: string, ...lines: (Line | undefined)[]): DrawnRow {
  return { mark, node, time, lines: lines.filter((line) => line !== undefined), isOnTrack: true };
}

function line(text: string, style: Line['style']): Line {
  return { text, style };
}

function endRow(end: Endpoint, mark: 'end' | 'goal', word: string): DrawnRow {
  const owner = ownerText(end, PLAIN);
  const address = line(addressText(end), owner === undefined ? 'strong' : 'dim');
  return row(mark, undefined, word, owner === undefined ? undefined : line(`${owner}${goneText(end, PLAIN)}`, 'strong'), address);
}

function rowOf(step: Step, packet: PacketEvent): DrawnRow {
  switch (step.kind) {
    case 'hop': {
      const { node, if: name, dir, atNs, tunnel } = step.hop;
      const within =
        tunnel === undefined
          ? undefined
          : `${tunnel.kind}${tunnel.vni === undefined ? '' : ` ${tunnel.vni}`} ${tunnel.src} to ${tunnel.dst}`;
      return row(
        ...(['hop', node, `+${durationText(atNs / 1000)}`] as const),
        line(`${dir === 'in' ? 'received from' : 'sent to'} ${name}`, 'plain'),
        within === undefined ? undefined : line(within, 'dim'),
      );
    }
    case 'translation':
      return translationRow(step.translation, step.node, packet.dir === 'reply');
    case 'drop': {
      const { reason = '', at = '', if: name } = packet.drop ?? {};
      return row(
        'drop',
        step.node,
        'dropped',
        line(reason, 'bad'),
        line(`at ${at}${name === undefined ? '' : ` on ${name}`}`, 'dim'),
      );
    }
    case 'origin': {
      const { if: name, seenBy } = packet.icmp?.by ?? {};
      const told =
        seenBy === 'kprobe'
          ? 'the kernel was seen making it'
          : seenBy === 'address'
            ? 'told from its source'
            : 'its way begins here';
      return row(
        'note',
        step.node,
        'made',
        line(name === undefined ? 'by this node' : `by this node, at ${name}`, 'plain'),
        line(told, 'dim'),
      );
    }
  }
}

function translationRow(translation: Translation, node: string | undefined, isBack: boolean): DrawnRow {
  const { kind, before, after, service, chains = [], hook, atNs, seenBy } = translation;
  const words = [kind.toUpperCase(), isBack ? 'back' : '', hook ?? '', service === undefined ? '' : `for ${service}`];
  const what = words.filter((word) => word !== '').join(' ');
  const told = row(
    ...([
      'translation',
      node,
      atNs === undefined ? '' : `${atNs < 0 ? '-' : '+'}${durationText(Math.abs(atNs) / 1000)}`,
    ] as const),
    line(what, 'translated'),
    line(endpointText(before, PLAIN), 'plain'),
    line(`→ ${endpointText(after, PLAIN)}`, 'plain'),
    ...chains.map((chain) => line(chain, 'dim')),
    node === undefined ? line(`by ${seenBy}; at which place is not known`, 'dim') : undefined,
  );
  return { ...told, isOnTrack: node !== undefined };
}

/** Where it went. A packet that was dropped went nowhere. */
function endRows(packet: PacketEvent): DrawnRow[] {
  const { verdict, drop, unanswered } = packet;
  if (drop !== undefined) return [];
  const { dst } = exitTuple(packet);
  if (unanswered !== undefined) {
    return [endRow(dst, 'goal', 'to'), row('drop', undefined, '', line(unansweredText(unanswered), 'bad'))];
  }
  if (verdict === 'delivered' || verdict === 'answered') return [endRow(dst, 'end', verdict)];
  const text = verdict === 'forwarded' ? 'sent on; what came after was not seen' : 'last seen inside the node';
  return [row('note', undefined, '', line(text, 'dim')), endRow(dst, 'goal', 'to')];
}
