import { stripVTControlCharacters } from 'node:util';

/** A column is as wide as the widest of so many last lines. */
const LINES = 40;

/** Lines of aligned columns that fit a terminal where they can: aligning yields to fitting, and a line that does not fit is broken. Nothing is cut. */
export class Columns {
  /** Widths of the last lines' cells, the oldest first. */
  readonly #last: number[][] = [];

  /**
   * @param cells what stands in columns; an empty one takes no room where none of the last lines had one there
   * @param parts what follows; a line is broken before a cell or a part, and goes on under the second cell
   * @param width of the terminal, in characters
   */
  line(cells: readonly string[], parts: readonly string[], width: number): string {
    this.#last.push(cells.map(visibleWidth));
    if (this.#last.length > LINES) this.#last.shift();
    const [first = '', ...rest] = [...cells, ...parts.filter((part) => part !== '')];
    const indentation = ' '.repeat(visibleWidth(first) + 1);
    const lines = broken(first, rest, width);
    const aligned = this.#aligned(lines[0] ?? [], cells.length, width);
    return [aligned, ...lines.slice(1).map((words) => `${indentation}${words.join(' ')}`)].join('\n');
  }

  /** Each column begins where it does in the other lines, if all that follows has room behind. */
  #aligned(words: readonly string[], cellCount: number, width: number): string {
    let text = '';
    let at = 0;
    let column = 0;
    for (const [index, word] of words.entries()) {
      const behind = words.slice(index).filter((one) => one !== '');
      const needed = behind.reduce((sum, one) => sum + visibleWidth(one) + 1, -1);
      const next = text === '' ? 0 : at + 1;
      const place = column > next && column + needed <= width ? column : next;
      if (word !== '') {
        text += ' '.repeat(place - at) + word;
        at = place + visibleWidth(word);
      }
      const widest = index < cellCount ? Math.max(...this.#last.map((widths) => widths[index] ?? 0)) : 0;
      column = index >= cellCount ? 0 : widest > 0 ? column + widest + 1 : column;
    }
    return text;
  }
}

/** What each line has. A part that does not fit begins the next line; only one that is wider than a whole line is broken between its words. */
function broken(first: string, rest: readonly string[], width: number): string[][] {
  let line = [first];
  const lines = [line];
  const indented = visibleWidth(first);
  let used = indented;
  for (const part of rest.flatMap((one) => (indented + 1 + visibleWidth(one) <= width ? [one] : one.split(' ')))) {
    const needed = part === '' ? 0 : visibleWidth(part) + 1;
    if (used + needed <= width) {
      used += needed;
    } else {
      line = [];
      lines.push(line);
      used = indented + needed;
    }
    // An empty cell keeps its column.
    if (part !== '' || lines.length === 1) line.push(part);
  }
  return lines;
}

/** Names in a cluster are ASCII; a wide character of an interface's name only makes a line that much longer. */
function visibleWidth(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}
