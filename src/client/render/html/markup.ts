import { escapeText } from '../style/escape.ts';

/** Text that is markup already. Only {@link html} makes it, so that nothing from outside gets into a page unescaped. */
class MarkupText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type Markup = MarkupText;

type Content = string | number | Markup | undefined | readonly Content[];

/**
 * Markup from a template: what is put in is escaped, for elements and for quoted attributes alike, unless it is markup itself; lists are put
 * together, undefined is nothing. Never put anything into an attribute without quotes, a tag's name, a style or a script.
 */
export function html(strings: TemplateStringsArray, ...values: Content[]): Markup {
  let text = strings[0] ?? '';
  for (const [at, value] of values.entries()) text += textOf(value) + (strings[at + 1] ?? '');
  return new MarkupText(text);
}

/** Records of a file may have anything where their types say a text or a number. */
function textOf(value: unknown): string {
  if (value instanceof MarkupText) return value.text;
  if (Array.isArray(value)) return value.map(textOf).join('');
  if (value === undefined) return '';
  return escapeMarkup(typeof value === 'object' ? JSON.stringify(value) : String(value));
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Characters that are none (U+FFFE) are an error in a page; everything else that a terminal must not get is out of place here, too. */
function escapeMarkup(text: string): string {
  return escapeText(text)
    .replace(/\p{Noncharacter_Code_Point}/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`)
    .replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
