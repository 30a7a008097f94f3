import { countText, manyText } from '../../../util/many-text.ts';
import { type Conversation, isTroubled } from '../../report/conversations.ts';
import { isSilent, type Peers } from '../../report/peers.ts';
import type { Report } from '../../report/report.ts';
import { isBadWay, type Way } from '../../report/ways.ts';
import { addressText, endpointText } from '../lines/names.ts';
import { protocolText } from '../lines/protocol.ts';
import { spanMarkup } from './chart.ts';
import { drawingMarkup } from './drawing.ts';
import { html, type Markup } from './markup.ts';
import {
  bothBytesText,
  bothText,
  type Clock,
  endMarkup,
  lastedText,
  leftOutMarkup,
  noneMarkup,
  ownerMarkup,
  PLAIN,
  tableMarkup,
} from './words.ts';

/** The table of who spoke with whom, its rows pointing at the articles below. */
export function peersMarkup(report: Report): Markup {
  const { rows, leftOut } = report.peers.shown(report.limits.shownRows);
  const cells = rows.map((row, index) => [
    html`<a href="#flow-${index + 1}">${index + 1}</a>`,
    ownerMarkup(row.src),
    endMarkup(row.dst),
    html`${row.proto}`,
    html`${countText(row.conversations)}`,
    html`${bothText(row.told)}`,
    html`${row.isCounted ? bothText(row.packets) : ''}`,
    html`${row.isCounted ? bothBytesText(row.bytes) : ''}`,
    troubleMarkup(row),
    spanMarkup(report, row.first, row.last),
  ]);
  const heads = ['#', 'From', 'To', 'Protocol', '#Conversations', '#Records', '#Packets', '#Bytes', 'Trouble', 'When'];
  return html`<section id="peers"><h2>Flows by peer</h2>
${cells.length === 0 ? noneMarkup('No conversation was recorded.') : tableMarkup(heads, cells, 'Requests / replies. Records: packets with a record of their own; packets and bytes as the kernel counted them, where it did.')}
${leftOut.conversations > 0 ? html`<p class="left-out">Not in this list: ${manyText(leftOut.conversations, 'conversation')}, ${manyText(leftOut.told, 'packet')} with a record. The sums above count them.</p>` : ''}
${report.conversations.letGo > 0 ? html`<p class="left-out">More conversations went on at one time than are told apart: ${countText(report.conversations.letGo)} of them are counted again, with all their packets, where they were seen later.</p>` : ''}
</section>
`;
}

/** Each pair of peers with its conversations and a drawing for every way that their packets took. */
export function* flowArticles(report: Report, clock: Clock): Generator<Markup> {
  yield html`<section id="paths"><h2>Conversations and the ways of their packets</h2>
`;
  const { limits, totals } = report;
  const { rows } = report.peers.shown(limits.shownRows);
  const numbers = new Map<Way, number>();
  if (rows.length === 0) yield noneMarkup('No conversation was recorded.');
  for (const [index, row] of rows.entries()) {
    // A way that two rows share is drawn once.
    const own = [...row.ways].filter((way) => !numbers.has(way));
    own.sort((a, b) => Number(isBadWay(b)) - Number(isBadWay(a)) || b.count - a.count);
    const shown = own.slice(0, Math.min(limits.shownWaysOfPeers, limits.shownWays - numbers.size));
    for (const way of shown) numbers.set(way, numbers.size + 1);
    yield articleMarkup(index + 1, row, shown, numbers, clock);
  }
  const drawn = [...numbers.keys()].reduce((sum, { count }) => sum + count, 0);
  yield html`${leftOutMarkup(totals.packets - drawn, 'packets went ways that are not drawn')}</section>
`;
}

function articleMarkup(number: number, row: Peers, ways: Way[], numbers: Map<Way, number>, clock: Clock): Markup {
  const cells = [...row.listed]
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))
    .map((one) => conversationCells(one, numbers, clock));
  const heads = ['From', 'Got', 'First', '#Lasted', '#Records', '#Packets', '#Bytes', 'State', 'Ways'];
  return html`<article id="flow-${number}"><h3>${number}. ${row.proto} ${ownerMarkup(row.src)} → ${endMarkup(row.dst)} ${troubleMarkup(row)}</h3>
${tableMarkup(heads, cells)}${leftOutMarkup(row.conversations - row.listed.length, 'more conversations of these two')}
${row.ways.size === 0 ? noneMarkup('No packet of theirs has a record: the way is not known.') : ''}<div class="figures">${ways.map((way) => figureMarkup(way, numbers.get(way) ?? 0, clock))}</div>
</article>
`;
}

function conversationCells(one: Conversation, numbers: Map<Way, number>, clock: Clock): Markup[] {
  const { src, nat, told, counted, isClosed, first, last } = one;
  const got = nat.findLast(({ kind }) => kind === 'dnat')?.after;
  const as = nat.findLast(({ kind }) => kind === 'snat')?.after;
  const own = [...one.ways].flatMap((way) => numbers.get(way) ?? []).sort((a, b) => a - b);
  return [
    html`<span class="address">${addressText(src)}</span>`,
    html`${got === undefined ? '' : endMarkup(got)}${as === undefined ? '' : html` as ${endMarkup(as)}`}`,
    html`<span class="time">${clock(first)}</span>`,
    html`${lastedText(first, last)}`,
    html`${bothText(told)}`,
    html`${counted === undefined ? '' : bothText(counted.packets)}`,
    html`${counted === undefined ? '' : bothBytesText(counted.bytes)}`,
    html`${counted === undefined ? '' : isClosed ? 'ended ' : 'went on '}${troubleMarkup({ ...one, silent: isSilent(one) ? 1 : 0 })}`,
    html`${own.map((number) => html`<a href="#way-${number}">${number}</a> `)}`,
  ];
}

function figureMarkup(way: Way, number: number, clock: Clock): Markup {
  const { dir, packet, count, first, last } = way;
  const what = dir === 'error' ? 'ICMP error' : dir;
  const time = (text: string): Markup => html`<span class="time">${clock(text)}</span>`;
  const times =
    count === 1 ? html`at ${time(first)}` : html`from ${time(first)} to ${time(last)}; drawn is the one of ${time(packet.time)}`;
  const title = `Way ${number}, ${what}: ${endpointText(packet.src, PLAIN)} to ${endpointText(packet.dst, PLAIN)}`;
  return html`<figure id="way-${number}" class="${isBadWay(way) ? 'bad-way' : 'way'}"><figcaption>Way ${number}, ${what}: ${manyText(count, 'packet')} ${times}: ${protocolText(packet, PLAIN)}</figcaption>
${drawingMarkup(packet, title)}</figure>
`;
}

type Troubles = Pick<Peers, 'drops' | 'errors' | 'unanswered' | 'resets' | 'silent'>;

function troubleMarkup({ drops, errors, unanswered, resets, silent }: Troubles): Markup {
  const bad = [
    ...(drops > 0 ? [`${countText(drops)} dropped`] : []),
    ...(errors > 0 ? [manyText(errors, 'ICMP error')] : []),
    ...(unanswered > 0 ? [`${countText(unanswered)} without an answer`] : []),
  ];
  const odd = [
    ...(resets > 0 ? [`${countText(resets)} with RST`] : []),
    ...(silent > 0 && !isTroubled({ drops, errors, unanswered })
      ? [silent === 1 ? 'no reply' : `${countText(silent)} without reply`]
      : []),
  ];
  return html`${bad.length > 0 ? html`<span class="bad">${bad.join(', ')}</span>` : ''}${bad.length > 0 && odd.length > 0 ? ', ' : ''}${odd.length > 0 ? html`<span class="warning">${odd.join(', ')}</span>` : ''}`;
}
