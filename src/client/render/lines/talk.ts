import type { LostEvent, NoticeEvent } from '../../../event/types.ts';
import type { Palette } from '../style/colors.ts';
import { escapeText } from '../style/escape.ts';
import { noticeWords } from './notice.ts';

export function lostText({ node, stage, count, pod }: LostEvent, paint: Palette): string {
  const whose = pod === undefined ? '' : `${escapeText(pod.namespace)}/${escapeText(pod.name)} on `;
  const what = count === 1 ? 'event' : 'events';
  return paint.bad(`lost ${count} ${what} of ${whose}${escapeText(node)} (${escapeText(stage)})`);
}

export function noticeText(event: NoticeEvent, paint: Palette): string {
  const { node, level, code } = event;
  const color = level === 'error' ? paint.bad : level === 'warn' ? paint.warning : paint.dim;
  const said = `${node === undefined ? '' : `${escapeText(node)}: `}${escapeText(noticeWords(event))}`;
  // That it works needs no page on what to do.
  return color(code === 'KTRACE_N_FOLLOWING' ? said : `${said} [${escapeText(code)}]`);
}
