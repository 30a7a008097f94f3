import { EXIT, KtraceError } from './errors.ts';

/** One condition of a label selector; all have to hold. */
export type Requirement =
  | { key: string; operator: 'exists' | 'absent' }
  | { key: string; operator: 'in' | 'not-in'; values: string[] }
  | { key: string; operator: 'greater' | 'less'; value: number };

/**
 * Parses a Kubernetes label selector: `app=redis,role!=slave,tier in (a,b),env notin (x),canary,!old,gen>3`.
 * Grammar and meaning are those of k8s.io/apimachinery `labels.Parse`. Empty text selects everything.
 * @throws KtraceError KTRACE_E_SELECTOR, pointing at the place with a caret
 */
export function parseSelector(text: string): Requirement[] {
  const reader: Reader = { text, at: 0 };
  const requirements: Requirement[] = [];
  skipSpace(reader);
  if (reader.at === text.length) return requirements;
  for (;;) {
    requirements.push(readRequirement(reader));
    skipSpace(reader);
    if (reader.at === text.length) return requirements;
    if (!take(reader, ',')) throw syntaxError(reader, 'a comma or the end');
  }
}

/** Whether labels fulfil all requirements. `!=` and `notin` also select what has no such label. */
export function selects(requirements: readonly Requirement[], labels: Readonly<Record<string, string>>): boolean {
  return requirements.every((one) => {
    const value = Object.hasOwn(labels, one.key) ? labels[one.key] : undefined;
    switch (one.operator) {
      case 'exists':
        return value !== undefined;
      case 'absent':
        return value === undefined;
      case 'in':
        return value !== undefined && one.values.includes(value);
      case 'not-in':
        return value === undefined || !one.values.includes(value);
      default:
        return (
          value !== undefined &&
          /^-?\d+$/.test(value) &&
          (one.operator === 'greater' ? Number(value) > one.value : Number(value) < one.value)
        );
    }
  });
}

interface Reader {
  text: string;
  at: number;
}

function readRequirement(reader: Reader): Requirement {
  skipSpace(reader);
  if (take(reader, '!')) return { key: readKey(reader), operator: 'absent' };
  const key = readKey(reader);
  skipSpace(reader);
  if (reader.at === reader.text.length || reader.text[reader.at] === ',') return { key, operator: 'exists' };
  if (take(reader, '!=')) return { key, operator: 'not-in', values: [readValue(reader)] };
  if (take(reader, '==') || take(reader, '=')) return { key, operator: 'in', values: [readValue(reader)] };
  if (take(reader, '>')) return { key, operator: 'greater', value: readNumber(reader) };
  if (take(reader, '<')) return { key, operator: 'less', value: readNumber(reader) };
  if (takeWord(reader, 'in')) return { key, operator: 'in', values: readValues(reader) };
  if (takeWord(reader, 'notin')) return { key, operator: 'not-in', values: readValues(reader) };
  throw syntaxError(reader, 'one of =, ==, !=, in, notin, >, <');
}

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const PREFIX = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

function readKey(reader: Reader): string {
  skipSpace(reader);
  const start = reader.at;
  const key = readToken(reader);
  const [name, prefix] = key.split('/').reverse();
  const isValid =
    name !== undefined && NAME.test(name) && (prefix === undefined || PREFIX.test(prefix)) && key.split('/').length <= 2;
  if (!isValid) throw syntaxError({ ...reader, at: start }, 'a label key');
  return key;
}

function readValue(reader: Reader): string {
  skipSpace(reader);
  const start = reader.at;
  const value = readToken(reader);
  if (value !== '' && !NAME.test(value)) throw syntaxError({ ...reader, at: start }, 'a label value');
  return value;
}

function readNumber(reader: Reader): number {
  skipSpace(reader);
  const start = reader.at;
  const value = readToken(reader);
  if (!/^-?\d+$/.test(value)) throw syntaxError({ ...reader, at: start }, 'a whole number');
  return Number(value);
}

function readValues(reader: Reader): string[] {
  skipSpace(reader);
  if (!take(reader, '(')) throw syntaxError(reader, 'an opening parenthesis');
  const values: string[] = [];
  for (;;) {
    values.push(readValue(reader));
    skipSpace(reader);
    if (take(reader, ')')) return values;
    if (!take(reader, ',')) throw syntaxError(reader, 'a comma or a closing parenthesis');
  }
}

/** Everything up to white space or a character with a meaning. */
function readToken(reader: Reader): string {
  const match = /^[^\s,!=<>()]*/.exec(reader.text.slice(reader.at));
  const token = match?.[0] ?? '';
  reader.at += token.length;
  return token;
}

function take(reader: Reader, wanted: string): boolean {
  if (!reader.text.startsWith(wanted, reader.at)) return false;
  reader.at += wanted.length;
  return true;
}

function takeWord(reader: Reader, word: string): boolean {
  const start = reader.at;
  if (readToken(reader) === word) return true;
  reader.at = start;
  return false;
}

function skipSpace(reader: Reader): void {
  while (/\s/.test(reader.text[reader.at] ?? '')) reader.at += 1;
}

function syntaxError(reader: Reader, expected: string): KtraceError {
  const found = reader.at < reader.text.length ? JSON.stringify(reader.text[reader.at]) : 'the end';
  const line = reader.text.replace(/[^\x20-\x7e]/g, '?');
  return new KtraceError(
    'KTRACE_E_SELECTOR',
    `Expected ${expected} in the label selector, got ${found}\n  ${line}\n  ${' '.repeat(reader.at)}^`,
    { hint: 'A label selector looks like app=redis,role!=slave,tier in (a,b),!canary', exitCode: EXIT.usage },
  );
}
