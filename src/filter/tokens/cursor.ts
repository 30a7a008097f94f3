import { filterFailure } from './failure.ts';
import { type Token, tokenAt } from './lexer.ts';

/** Where a filter is to be applied: to packets as they are seen, or to a capture file. Each knows words that mean nothing to the other. */
export type Place = 'live' | 'file';

/** How deep parentheses, `not` and arithmetic may nest. */
const MAX_DEPTH = 100;
/** Longer ones are refused before they are read. */
const MAX_FILTER_CHARS = 8192;
const VALUE = /(\s*)([^\s()]*)/y;

/** Where the parser is in the filter. Throws KTRACE_E_FILTER. */
export class Cursor {
  readonly text: string;
  /** Undefined: words for every place are taken. */
  readonly place: Place | undefined;
  /** Read when it is asked for: what stands behind `pod` or `iface` is no token of the language. */
  #token: Token | undefined;
  /** What was found is wrong whatever it is read as. */
  isRefused = false;
  #lastEnd = 0;
  #depth = 0;

  constructor(text: string, place?: Place) {
    if (text.length > MAX_FILTER_CHARS) {
      throw filterFailure(text, 0, `Expected a filter of at most ${MAX_FILTER_CHARS} characters, got ${text.length}`);
    }
    this.text = text;
    this.place = place;
  }

  /** What comes next. */
  get token(): Token {
    this.#token ??= tokenAt(this.text, this.#lastEnd);
    return this.#token;
  }

  get isAtEnd(): boolean {
    return this.token.kind === 'end';
  }

  /** Index behind the last token that was taken. */
  get lastEnd(): number {
    return this.#lastEnd;
  }

  /** What comes behind the next token. */
  peek(): Token {
    return this.token.kind === 'end' ? this.token : tokenAt(this.text, this.token.end);
  }

  /** Is the next token this word or sign? */
  is(...texts: string[]): boolean {
    const { kind, text } = this.token;
    return (kind === 'word' || kind === 'sign') && texts.includes(text);
  }

  take(): Token {
    const taken = this.token;
    this.#lastEnd = taken.end;
    this.#token = undefined;
    return taken;
  }

  /** Takes a value that is no token, up to a blank or a parenthesis; `what` it is, and the whole of its `shape`. */
  takeValue(what: string, shape: RegExp, hint: string): string {
    VALUE.lastIndex = this.#lastEnd;
    const [, blanks = '', value = ''] = VALUE.exec(this.text) ?? [];
    const at = this.#lastEnd + blanks.length;
    if (!shape.test(value)) {
      const got =
        value === '' ? (at < this.text.length ? JSON.stringify(this.text[at]) : 'the end of the filter') : JSON.stringify(value);
      throw this.failure(`Expected ${what}, got ${got}`, hint, at);
    }
    this.#lastEnd = at + value.length;
    this.#token = undefined;
    return value;
  }

  /** Takes the next token when it is this word or sign. */
  accept(...texts: string[]): boolean {
    if (!this.is(...texts)) return false;
    this.take();
    return true;
  }

  /** Takes the next token, which has to be this sign. */
  expect(sign: string, after: string): void {
    if (!this.accept(sign)) throw this.expected(`"${sign}" ${after}`);
  }

  /** Goes back to a token that was taken. */
  returnTo(token: Token): void {
    this.#token = token;
    this.#lastEnd = token.at;
  }

  /** Runs `parse` one level deeper. */
  nested<Result>(parse: () => Result): Result {
    if (this.#depth >= MAX_DEPTH) throw this.failure(`Expected a filter that nests at most ${MAX_DEPTH} deep`);
    this.#depth++;
    try {
      return parse();
    } finally {
      this.#depth--;
    }
  }

  /** "Expected WHAT, got …" at the next token. */
  expected(what: string, hint?: string): Error {
    const { kind, at, end } = this.token;
    const got = kind === 'end' ? 'the end of the filter' : JSON.stringify(this.text.slice(at, Math.min(end, at + 60)));
    return this.failure(`Expected ${what}, got ${got}`, hint);
  }

  /** A failure at the next token, or at the token that is given. */
  failure(message: string, hint?: string, at = this.token.at): Error {
    return filterFailure(this.text, at, message, hint);
  }
}
