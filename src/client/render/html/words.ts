import type { Endpoint } from '../../../event/types.ts';
import { countText } from '../../../util/many-text.ts';
import { addressText, goneText, ownerText } from '../lines/names.ts';
import { palette } from '../style/colors.ts';
import { escapeText } from '../style/escape.ts';
import { bytesText, durationText } from '../style/units.ts';
import { html, type Markup } from './markup.ts';

/** Text for a page has no terminal colours. */
export const PLAIN = palette(false);

/** An end with its name, and its address behind it. */
export function endMarkup(end: Endpoint): Markup {
  const owner = ownerText(end, PLAIN);
  if (owner === undefined) return html`<span class="name">${addressText(end)}</span>`;
  return html`<span class="name">${owner}${end.port === undefined ? '' : `:${end.port}`}${goneText(end, PLAIN)}</span> <span class="address">${addressText(end)}</span>`;
}

/** The same without the port, which an initiator takes anew each time. */
export function ownerMarkup({ port: _, ...end }: Endpoint): Markup {
  return endMarkup(end);
}

/** Both directions: `12 / 9`. */
export function bothText(
  { request, reply }: { request: number; reply: number },
  text: (value: number) => string = countText,
): string {
  return `${text(request)} / ${text(reply)}`;
}

export function bothBytesText(bytes: { request: number; reply: number }): string {
  return bothText(bytes, bytesText);
}

export type Clock = (time: string) => string;

/** UTC to the microsecond; with the day where the records are of several. A page says the same wherever it is made and read. */
export function clockFor(first: string | undefined, last: string | undefined): Clock {
  const isOneDay = first?.slice(0, 10) === last?.slice(0, 10);
  return (time) =>
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/.test(time)
      ? escapeText(
          time
            .slice(isOneDay ? 11 : 5, 26)
            .replace(/[TZ]/, ' ')
            .trim(),
        )
      : escapeText(time);
}

/** `2026-11-22 08:45:00 UTC` of a time as records tell it. */
export function momentText(time: string): string {
  return `${time.slice(0, 19).replace('T', ' ')} UTC`;
}

/** From one time to another; nothing where there is nothing between, or no time. */
export function lastedText(first: string, last: string): string {
  const lastedUs = microsecondsOf(last) - microsecondsOf(first);
  return lastedUs > 0 ? durationText(lastedUs) : '';
}

/** Dates know milliseconds alone. */
function microsecondsOf(time: string): number {
  return Date.parse(`${time.slice(0, 19)}Z`) * 1000 + Number(time.slice(20, 26));
}

/** A table that scrolls by itself where the page is too narrow. Heads with `#` in front are numbers, on the right. */
export function tableMarkup(heads: readonly string[], rows: readonly Markup[][], caption?: string): Markup {
  const isNumber = heads.map((head) => head.startsWith('#'));
  const cellClass = (at: number): string => (isNumber[at] === true ? 'number' : 'text');
  return html`<div class="wide"><table>${caption === undefined ? '' : html`<caption>${caption}</caption>`}
<thead><tr>${heads.map((head, at) => html`<th class="${cellClass(at)}" scope="col">${head.replace(/^#/, '')}</th>`)}</tr></thead>
<tbody>${rows.map(
    (row) => html`<tr>${row.map((cell, at) => html`<td class="${cellClass(at)}">${cell}</td>`)}</tr>
`,
  )}</tbody></table></div>
`;
}

/** What a list does not hold. */
export function leftOutMarkup(count: number, what: string): Markup {
  return count <= 0
    ? html``
    : html`<p class="left-out">Not in this list: ${countText(count)} ${what}. The sums above count them.</p>`;
}

export function noneMarkup(text: string): Markup {
  return html`<p class="none">${text}</p>`;
}
