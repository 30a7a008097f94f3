import { countText, manyText } from '../../../util/many-text.ts';
import type { ReportFacts } from '../../report/facts.ts';
import type { Report } from '../../report/report.ts';
import { noticeWords } from '../lines/notice.ts';
import { targetText } from '../target-text.ts';
import { html, type Markup } from './markup.ts';
import { leftOutMarkup, momentText } from './words.ts';

/** What the page is about: targets, time, nodes, filters, sums. */
export function summaryMarkup(report: Report, { manifest, reading, summary }: ReportFacts): Markup {
  const { totals, conversations, first, last } = report;
  const rows: [string, Markup | undefined][] = [
    ['Asked for', manifest === undefined ? undefined : html`${manifest.targets.map(targetText).join(', ')}`],
    ['Time asked for', manifest === undefined ? undefined : html`${momentText(manifest.since)} to ${momentText(manifest.until)}`],
    ['Records from', first === undefined || last === undefined ? undefined : html`${momentText(first)} to ${momentText(last)}`],
    ['Nodes asked', manifest === undefined ? undefined : html`${manifest.nodes.join(', ') || 'none'}`],
    ['Filter', manifest?.filter === undefined ? undefined : html`<code>${manifest.filter}</code>`],
    ['Filter of this page', reading?.filter === undefined ? undefined : html`<code>${reading.filter}</code>`],
    ['The dump came to', summary === undefined ? undefined : html`${summary.replaceAll('\n', '; ')}`],
    ['Made', manifest === undefined ? undefined : html`${momentText(manifest.made)}`],
  ];
  const { begun, letGo } = conversations;
  const sums: [number, string, string, boolean][] = [
    [begun, 'conversation', letGo > 0 ? 'conversations, or a little less' : 'conversations', false],
    [totals.packets, 'packet with a record', 'packets with a record', false],
    [totals.translated, 'of them translated', 'of them translated', false],
    [totals.dropped, 'dropped', 'dropped', true],
    [totals.errors, 'ICMP error', 'ICMP errors', true],
    [totals.unanswered, 'packet without an answer', 'packets without an answer', true],
    [totals.lost, 'record lost', 'records lost', true],
  ];
  return html`<section id="summary"><h2>Summary</h2>
<dl class="facts">${rows.map(([name, value]) => (value === undefined ? html`` : html`<dt>${name}</dt><dd>${value}</dd>`))}</dl>
<ul class="sums">${sums.map(([count, one, many, isBad]) => html`<li class="${isBad && count > 0 ? 'bad' : 'sum'}"><b>${countText(count)}</b>${count === 1 ? one : many}</li>`)}</ul>
<p class="hint">A packet has a record of its own when it says something new: the first of a conversation at an interface, SYN, FIN, RST, ICMP,
a translation, a drop. All others are counted with their conversation.</p>
</section>
`;
}

/** What is missing: nodes, times, records that were lost, and what went wrong with the dump itself. */
export function missingMarkup(report: Report, { manifest, summary, troubles }: ReportFacts): Markup {
  const { limits, totals } = report;
  const lost = report.lost.shown(limits.shownRows);
  const notices = report.notices.shown(limits.shownRows);
  const missing = manifest?.missing ?? [];
  const items = [
    ...[...troubles, ...endTroubles(manifest !== undefined, summary, troubles)].map((text) => html`<li class="bad">${text}</li>`),
    ...(missing.length === 0 ? [] : [html`<li class="bad">Nothing, or not all, came from ${missing.join(', ')}.</li>`]),
    ...lost.rows.map(({ of: { node, stage, pod }, count }) => {
      const whose = pod === undefined ? '' : ` of ${pod.namespace}/${pod.name}`;
      return html`<li class="bad">${manyText(count, 'record was', 'records were')} lost${whose} on ${node} (${stage})</li>`;
    }),
    ...notices.rows.map(({ of: { node, level, code, ...said }, count }) => {
      const times = count === 1 ? '' : ` (${countText(count)} times)`;
      return html`<li class="${level}">${node === undefined ? '' : `${node}: `}${noticeWords(said)}${times} <code>${code}</code></li>`;
    }),
  ];
  return html`<section id="missing"><h2>What is missing</h2>
${items.length === 0 ? html`<p class="none">Nothing that is known of: all nodes answered, and no record was lost.</p>` : html`<ul class="notices">${items}</ul>`}
${lost.rows.length > 1 ? html`<p class="hint">Lost in all: ${countText(totals.lost)}.</p>` : ''}
${leftOutMarkup(notices.leftOut, 'more notices')}</section>
`;
}

/** A dump that failed has no last word. */
function endTroubles(hasBegun: boolean, summary: string | undefined, troubles: readonly string[]): string[] {
  return hasBegun && summary === undefined && troubles.length === 0
    ? ['The dump did not come to its end: this is not all of it.']
    : [];
}
