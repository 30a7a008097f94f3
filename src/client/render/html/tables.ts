import type { PacketEvent } from '../../../event/types.ts';
import { countText } from '../../../util/many-text.ts';
import type { Report } from '../../report/report.ts';
import { endpointText } from '../lines/names.ts';
import { protocolText } from '../lines/protocol.ts';
import { html, type Markup } from './markup.ts';
import { type Clock, endMarkup, leftOutMarkup, noneMarkup, ownerMarkup, PLAIN, tableMarkup } from './words.ts';

/** Drops by reason and place, and ICMP errors by who made them. */
export function troublesMarkup(report: Report, clock: Clock): Markup {
  const { limits } = report;
  const drops = report.drops.shown(limits.shownRows);
  const errors = report.errors.shown(limits.shownRows);
  const dropRows = drops.rows.map(({ of: { drop, node, proto, src, dst }, count, first, last }) => [
    html`<span class="bad reason">${drop.reason}</span>`,
    html`<code>${drop.at}</code>`,
    html`${node}${drop.if === undefined ? '' : ` ${drop.if}`}`,
    html`${proto} ${ownerMarkup(src)} → ${endMarkup(dst)}`,
    html`${countText(count)}`,
    ...timesMarkup(first, last, clock),
  ]);
  const errorRows = errors.rows.map(({ of: { icmp, src, dst }, count, first, last }) => [
    html`<span class="warning">${icmp.name}${icmp.mtu === undefined ? '' : `, mtu ${icmp.mtu}`}</span>`,
    icmp.by === undefined ? ownerMarkup(src) : html`${icmp.by.node}${icmp.by.if === undefined ? '' : ` ${icmp.by.if}`}`,
    ownerMarkup(dst),
    icmp.about === undefined ? html`` : html`${icmp.about.proto} ${ownerMarkup(icmp.about.src)} → ${endMarkup(icmp.about.dst)}`,
    html`${countText(count)}`,
    ...timesMarkup(first, last, clock),
  ]);
  return html`<section id="troubles"><h2>Drops and ICMP errors</h2>
${dropRows.length === 0 ? noneMarkup('No packet was seen being dropped.') : tableMarkup(['Reason', 'In the kernel at', 'Node', 'Packet', '#Count', 'First', 'Last'], dropRows, 'Drops')}${leftOutMarkup(drops.leftOut, 'drops')}
${errorRows.length === 0 ? noneMarkup('No ICMP error was seen.') : tableMarkup(['Error', 'Made by', 'Sent to', 'About', '#Count', 'First', 'Last'], errorRows, 'ICMP errors')}${leftOutMarkup(errors.leftOut, 'ICMP errors')}
</section>
`;
}

/** What NAT did, as it does it to requests; replies are the same the other way around, and counted with them. */
export function translationsMarkup(report: Report, clock: Clock): Markup {
  const { rows, leftOut } = report.translations.shown(report.limits.shownRows);
  const cells = rows.map(({ of: { kind, before, after, service, chains = [] }, count, first, last }) => [
    html`<span class="translated">${kind.toUpperCase()}</span>`,
    html`${service}`,
    kind === 'dnat' ? endMarkup(before) : ownerMarkup(before),
    kind === 'dnat' ? endMarkup(after) : ownerMarkup(after),
    html`${chains.map((chain) => html`<code>${chain}</code> `)}`,
    html`${countText(count)}`,
    ...timesMarkup(first, last, clock),
  ]);
  return html`<section id="translations"><h2>Translations</h2>
${cells.length === 0 ? noneMarkup('No packet was seen being translated.') : tableMarkup(['', 'Service', 'Before', 'After', 'Chains', '#Packets', 'First', 'Last'], cells)}${leftOutMarkup(leftOut, 'translations')}
</section>
`;
}

/** The last packets, one a line. */
export function packetsMarkup(report: Report, clock: Clock): Markup {
  const packets = report.lastPackets;
  const before = report.totals.packets - packets.length;
  const rows = packets.map((packet) => [
    html`<span class="time">${clock(packet.time)}</span>`,
    html`${packet.nodes.join(' > ')}`,
    packet.dir === 'reply'
      ? html`${endpointText(packet.dst, PLAIN, packet.time)} ← ${endpointText(packet.src, PLAIN, packet.time)}`
      : html`${endpointText(packet.src, PLAIN, packet.time)} → ${endpointText(packet.dst, PLAIN, packet.time)}`,
    html`${protocolText(packet, PLAIN)}`,
    html`${(packet.nat ?? []).map(({ kind, after }) => html`<span class="translated">${kind}</span> ${endpointText(after, PLAIN, packet.time)} `)}`,
    outcomeMarkup(packet),
  ]);
  return html`<section id="packets"><h2>The last packets</h2>
${rows.length === 0 ? noneMarkup('No packet has a record.') : tableMarkup(['Time', 'Nodes', 'Ends', 'Protocol', 'Translated to', 'Outcome'], rows)}${leftOutMarkup(before, 'packets before these')}
</section>
`;
}

function outcomeMarkup({ drop, unanswered, verdict }: PacketEvent): Markup {
  if (drop !== undefined) return html`<span class="bad">dropped: <span class="reason">${drop.reason}</span></span>`;
  if (unanswered !== undefined) return html`<span class="bad">no answer</span>`;
  return html`<span class="${verdict === 'delivered' || verdict === 'answered' ? 'good' : 'verdict'}">${verdict}</span>`;
}

function timesMarkup(first: string, last: string, clock: Clock): [Markup, Markup] {
  return [html`<span class="time">${clock(first)}</span>`, html`<span class="time">${clock(last)}</span>`];
}
