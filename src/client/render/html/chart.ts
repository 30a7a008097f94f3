import { countText, manyText } from '../../../util/many-text.ts';
import type { Report } from '../../report/report.ts';
import { BAR_KINDS, type BarKind } from '../../report/timeline.ts';
import { html, type Markup } from './markup.ts';
import { noneMarkup } from './words.ts';

const SIZE = { width: 1100, height: 190, left: 60, right: 1085, top: 12, bottom: 150, ticks: 6 };

const NAMES: Record<BarKind, string> = {
  told: 'packets',
  error: 'ICMP errors',
  unanswered: 'without an answer',
  dropped: 'dropped',
};

/** Packets with a record over time, as bars; below them when records were lost. */
export function timelineMarkup(report: Report): Markup {
  const bars = report.timeline.bars();
  const { widthMs } = report.timeline;
  const [first, last] = [bars[0], bars.at(-1)];
  if (first === undefined || last === undefined) {
    return html`<section id="timeline"><h2>Timeline</h2>${noneMarkup('No packet has a record.')}</section>
`;
  }
  const fromMs = first.atMs;
  const toMs = last.atMs + widthMs;
  const x = (ms: number): number => SIZE.left + ((ms - fromMs) / (toMs - fromMs)) * (SIZE.right - SIZE.left);
  const most = Math.max(...bars.map(({ counts }) => sumOf(counts)));
  const drawn = bars.map(({ atMs, counts }) => {
    const [left, width] = [x(atMs), Math.max(1, x(atMs + widthMs) - x(atMs) - 0.5)];
    let y = SIZE.bottom;
    const pieces = BAR_KINDS.filter((kind) => counts[kind] > 0).map((kind) => {
      // One dropped packet among thousands is still to be seen.
      const height = Math.max(2, (counts[kind] / most) * (SIZE.bottom - SIZE.top));
      y = Math.max(0, y - height);
      return html`<rect class="${kind}" x="${round(left)}" y="${round(y)}" width="${round(width)}" height="${round(height)}"/>`;
    });
    const told = BAR_KINDS.filter((kind) => counts[kind] > 0).map((kind) => `${countText(counts[kind])} ${NAMES[kind]}`);
    return html`<g><title>${utcText(atMs, widthMs)}: ${told.join(', ')}</title>${pieces}</g>
`;
  });
  const kinds = BAR_KINDS.filter((kind) => bars.some(({ counts }) => counts[kind] > 0));
  const lost = lostMarks(report, fromMs, toMs, x);
  const title = `Packets over time: ${manyText(report.totals.packets, 'packet')}, ${countText(report.totals.dropped)} dropped`;
  return html`<section id="timeline"><h2>Timeline</h2>
<svg role="img" viewBox="0 0 ${SIZE.width} ${SIZE.height}" width="${SIZE.width}" height="${SIZE.height}"><title>${title}</title>
<line class="grid" x1="${SIZE.left}" x2="${SIZE.right}" y1="${SIZE.bottom}" y2="${SIZE.bottom}"/><line class="grid" x1="${SIZE.left}" x2="${SIZE.right}" y1="${SIZE.top}" y2="${SIZE.top}"/>
<text class="axis" x="${SIZE.left - 8}" y="${SIZE.top + 4}" text-anchor="end">${countText(most)}</text><text class="axis" x="${SIZE.left - 8}" y="${SIZE.bottom + 4}" text-anchor="end">0</text>
${drawn}${lost}${ticks(fromMs, toMs, widthMs, x)}</svg>
<ul class="key">${kinds.map((kind) => html`<li>${keyMarkup(kind)}${NAMES[kind]}</li>`)}${lost.length > 0 ? html`<li>${keyMarkup('lost')}records lost by then (below the line)</li>` : ''}
<li>each bar is ${lengthText(widthMs)}; times are UTC</li></ul>
</section>
`;
}

/** Where in the whole time a row's records are. */
export function spanMarkup(report: Report, first: string, last: string): Markup {
  const [fromMs, toMs] = [Date.parse(report.first ?? ''), Date.parse(report.last ?? '')];
  const [startMs, endMs] = [Date.parse(first), Date.parse(last)];
  if ([fromMs, toMs, startMs, endMs].some(Number.isNaN)) return html``;
  const wholeMs = Math.max(1, toMs - fromMs);
  const x = Math.min(118, Math.max(0, ((startMs - fromMs) / wholeMs) * 120));
  const width = Math.min(120 - x, Math.max(2, ((endMs - startMs) / wholeMs) * 120));
  return html`<svg role="img" viewBox="0 0 120 12" width="120" height="12"><title>${first} to ${last}</title><line class="grid" x1="0" x2="120" y1="6" y2="6"/><rect class="span" x="${round(x)}" y="2" width="${round(width)}" height="8" rx="1"/></svg>`;
}

function lostMarks(report: Report, fromMs: number, toMs: number, x: (ms: number) => number): Markup[] {
  return report.lost.shown(report.limits.shownRows).rows.flatMap(({ of: { node }, count, last }) => {
    const ms = Date.parse(last);
    if (Number.isNaN(ms)) return [];
    const at = round(x(Math.min(toMs, Math.max(fromMs, ms))));
    return [
      html`<rect class="lost" x="${at - 1}" y="${SIZE.bottom + 2}" width="3" height="8"><title>${manyText(count, 'record')} of ${node} lost</title></rect>`,
    ];
  });
}

function ticks(fromMs: number, toMs: number, widthMs: number, x: (ms: number) => number): Markup[] {
  const count = Math.min(SIZE.ticks, Math.max(1, Math.round((toMs - fromMs) / widthMs)));
  return [...Array(count + 1).keys()].map((at) => {
    const ms = fromMs + ((toMs - fromMs) * at) / count;
    const anchor = at === 0 ? 'start' : at === count ? 'end' : 'middle';
    return html`<line class="grid" x1="${round(x(ms))}" x2="${round(x(ms))}" y1="${SIZE.bottom}" y2="${SIZE.bottom + 5}"/><text class="axis" x="${round(x(ms))}" y="${SIZE.bottom + 24}" text-anchor="${anchor}">${utcText(ms, (toMs - fromMs) / count)}</text>
`;
  });
}

function keyMarkup(kind: BarKind | 'lost'): Markup {
  return html`<svg aria-hidden="true" viewBox="0 0 10 10" width="10" height="10"><rect class="${kind}" width="10" height="10"/></svg>`;
}

function sumOf(counts: Record<BarKind, number>): number {
  return BAR_KINDS.reduce((sum, kind) => sum + counts[kind], 0);
}

/** As exact as a step of the axis needs it. A time that no calendar has is told as it is. */
function utcText(ms: number, stepMs: number): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return `${ms}`;
  const text = date.toISOString();
  if (stepMs >= 86_400_000) return text.slice(0, 10);
  return stepMs >= 1000 ? text.slice(-13, -5) : text.slice(-13, -1);
}

function lengthText(ms: number): string {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${ms / 1000} s`;
  return ms < 3_600_000 ? `${ms / 60_000} min` : `${ms / 3_600_000} h`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
