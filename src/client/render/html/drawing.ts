import type { PacketEvent } from '../../../event/types.ts';
import { escapeText } from '../style/escape.ts';
import { type DrawnRow, drawnRows, type Mark } from './drawn-rows.ts';
import { html, type Markup } from './markup.ts';

/** Sizes in the drawing's own units; text is monospaced, and so many of its characters fit into a line. */
const SIZE = { width: 470, line: 92, text: 112, row: 17, gap: 9, fits: 47 };

/** A packet's way from top to bottom: its ends, each node a box, hops, translations and the drop on one line in their order. */
export function drawingMarkup(packet: PacketEvent, title: string): Markup {
  const rows = drawnRows(packet);
  let y = SIZE.gap;
  const drawn: Markup[] = [];
  const boxes: Markup[] = [];
  let open: { node: string; top: number } | undefined;
  const marks: number[] = [];
  const close = (): void => {
    if (open === undefined) return;
    boxes.push(boxMarkup(open.node, open.top, y));
    y += SIZE.gap;
    open = undefined;
  };
  for (const row of rows) {
    if (row.node !== open?.node) close();
    if (row.node !== undefined && open === undefined) {
      open = { node: row.node, top: y };
      y += SIZE.row + SIZE.gap;
    }
    const at = y + SIZE.row / 2;
    if (row.isOnTrack) marks.push(at);
    drawn.push(rowMarkup(row, y, at));
    y += row.lines.length * SIZE.row + SIZE.gap;
  }
  close();
  const [top = 0, bottom = 0] = [marks[0], marks.at(-1)];
  return html`<svg class="way" role="img" viewBox="0 0 ${SIZE.width} ${y}" width="${SIZE.width}" height="${y}"><title>${title}</title>
${boxes}<line class="track" x1="${SIZE.line}" y1="${top}" x2="${SIZE.line}" y2="${bottom}"/>
${drawn}</svg>`;
}

function boxMarkup(node: string, top: number, bottom: number): Markup {
  return html`<rect class="node" x="1" y="${top}" width="${SIZE.width - 2}" height="${bottom - top}" rx="6"/><text class="node-name" x="${SIZE.text}" y="${top + 18}">${fit(`node ${node}`, SIZE.fits)}</text>
`;
}

function rowMarkup({ mark, time, lines }: DrawnRow, y: number, at: number): Markup {
  return html`${markMarkup(mark, at)}<text class="time" x="${SIZE.line - 16}" y="${at + 4}" text-anchor="end">${time}</text>${lines.map(
    ({ text, style }, index) =>
      html`<text class="${style}" x="${SIZE.text}" y="${y + index * SIZE.row + SIZE.row / 2 + 4}">${fit(text, SIZE.fits)}</text>`,
  )}
`;
}

function markMarkup(mark: Mark, at: number): Markup {
  const x = SIZE.line;
  if (mark === 'hop') return html`<circle class="hop" cx="${x}" cy="${at}" r="5"/>`;
  if (mark === 'end' || mark === 'goal') return html`<circle class="${mark}" cx="${x}" cy="${at}" r="7"/>`;
  if (mark === 'translation')
    return html`<path class="translation" d="M${x} ${at - 7}L${x + 7} ${at}L${x} ${at + 7}L${x - 7} ${at}Z"/>`;
  if (mark === 'drop')
    return html`<path class="drop" d="M${x - 6} ${at - 6}L${x + 6} ${at + 6}M${x + 6} ${at - 6}L${x - 6} ${at + 6}"/>`;
  return html`<circle class="note" cx="${x}" cy="${at}" r="3"/>`;
}

/** The middle of what is too long is left out: names differ at their ends. */
function fit(text: string, most: number): string {
  const characters = [...escapeText(text)];
  if (characters.length <= most) return characters.join('');
  const head = Math.ceil((most - 1) / 2);
  return `${characters.slice(0, head).join('')}…${characters.slice(characters.length - (most - 1 - head)).join('')}`;
}
