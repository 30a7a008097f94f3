import { isIPv6 } from 'node:net';
import { filterFailure } from './failure.ts';
import { NUMBER_WORDS } from './words.ts';

export type TokenKind = 'word' | 'quoted' | 'number' | 'ipv4' | 'ipv6' | 'mac' | 'sign' | 'end';

export interface Token {
  kind: TokenKind;
  /** As written; of a quoted word without its backslash, of `&&`, `||` and `!` the word that they stand for. */
  text: string;
  /** Numbers only. */
  value: number;
  /** Index of its first character in the filter, and of the one behind it. */
  at: number;
  end: number;
}

/** In the order of preference where two are of one length. */
const SHAPES: [TokenKind, RegExp][] = [
  [
    'mac',
    /(?:[\da-f]{1,2}(?::[\da-f]{1,2}){5}|[\da-f]{1,2}(?:-[\da-f]{1,2}){5}|[\da-f]{1,2}(?:\.[\da-f]{1,2}){5}|[\da-f]{4}(?:\.[\da-f]{4}){2}|[\da-f]{12})/iy,
  ],
  ['number', /(?:0x[\da-f]+|\d+)/iy],
  ['ipv4', /(?:0x[\da-f]+|\d+)(?:\.(?:0x[\da-f]+|\d+)){1,3}/iy],
  ['word', /[a-z\d](?:[-_.a-z\d]*[.a-z\d])?/iy],
];
const ADDRESS = /[\da-f]*:[\da-f:]*(?:\d+(?:\.\d+){3})?/iy;
const QUOTED = /\\([^ !()\n\t]+)/y;
const SIGN = /&&|\|\||>=|<=|!=|==|<<|>>|[-+*/%:[\]!<>()&|^=]/y;
const BLANK = /[ \r\n\t]*/y;
const MEANT: Record<string, string> = { '&&': 'and', '||': 'or', '!': 'not', '==': '=' };

/** The token that begins at or after `from`. Throws KTRACE_E_FILTER for what no token begins with. */
export function tokenAt(text: string, from: number): Token {
  BLANK.lastIndex = from;
  BLANK.test(text);
  const at = BLANK.lastIndex;
  if (at >= text.length) return { kind: 'end', text: '', value: 0, at: text.length, end: text.length };
  const [kind, raw] = longest(text, at);
  const token = { kind, text: raw, value: 0, at, end: at + raw.length };
  if (kind === 'quoted') return { ...token, text: raw.slice(1) };
  if (kind === 'sign')
    return { ...token, ...(raw in MEANT ? { text: MEANT[raw] as string } : {}), kind: isWordSign(raw) ? 'word' : 'sign' };
  if (kind === 'number') return { ...token, value: numberOf(text, token) };
  if (kind === 'word' && Object.hasOwn(NUMBER_WORDS, raw))
    return { ...token, kind: 'number', value: NUMBER_WORDS[raw] as number };
  return token;
}

function isWordSign(raw: string): boolean {
  return raw === '&&' || raw === '||' || raw === '!';
}

function longest(text: string, at: number): [TokenKind, string] {
  let best: [TokenKind, string] | undefined = ipv6At(text, at);
  for (const [kind, shape] of SHAPES) {
    const found = match(shape, text, at);
    if (found !== undefined && found.length > (best?.[1].length ?? 0)) best = [kind, found];
  }
  const other = match(QUOTED, text, at);
  if (best !== undefined) return best;
  if (other !== undefined) return ['quoted', other];
  const sign = match(SIGN, text, at);
  if (sign !== undefined) return ['sign', sign];
  const character = String.fromCodePoint(text.codePointAt(at) as number);
  throw filterFailure(text, at, `Expected a filter's word, number or sign, got ${JSON.stringify(character)}`);
}

/** The longest IPv6 address there, at most as far as an address can go. */
function ipv6At(text: string, at: number): [TokenKind, string] | undefined {
  const run = match(ADDRESS, text, at)?.slice(0, 45);
  if (run === undefined || run.indexOf(':') === run.lastIndexOf(':')) return undefined;
  for (let length = run.length; length > 1; length--) {
    const candidate = run.slice(0, length);
    if (isIPv6(candidate)) return ['ipv6', candidate];
  }
  return undefined;
}

function match(shape: RegExp, text: string, at: number): string | undefined {
  shape.lastIndex = at;
  return shape.exec(text)?.[0];
}

/** Decimal, `0x…` hexadecimal, `0…` octal, as C has them; of 32 bits. */
function numberOf(text: string, { text: raw, at }: { text: string; at: number }): number {
  const isOctal = /^0\d/.test(raw);
  const value = isOctal ? (/[89]/.test(raw) ? Number.NaN : Number.parseInt(raw, 8)) : Number(raw);
  if (Number.isNaN(value)) {
    throw filterFailure(
      text,
      at,
      `Expected an octal number after the leading 0, got ${raw}`,
      `For decimal write ${raw.replace(/^0+/, '')}.`,
    );
  }
  if (value > 0xffff_ffff) throw filterFailure(text, at, `Expected a number of at most 32 bits, got ${raw}`);
  return value;
}
