import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { palette, wantsColor } from '../../src/client/render/colors.ts';
import { escapeText, safeJson } from '../../src/client/render/escape.ts';
import { createPrinter } from '../../src/client/render/printer.ts';
import { durationText } from '../../src/client/render/units.ts';
import type { KtraceEvent } from '../../src/event/types.ts';
import { fc } from '../support/fast-check.ts';
import { RENDER_TABLE } from './render-table.ts';

process.env['TZ'] = 'UTC';
const plain = palette(false);

/** Written anew with KTRACE_UPDATE_GOLDEN=1; the difference is then read by a person. */
function golden(name: string, actual: string): void {
  const file = new URL(`golden/${name}`, import.meta.url);
  if (process.env['KTRACE_UPDATE_GOLDEN'] === '1') writeFileSync(file, actual);
  assert.equal(actual, readFileSync(file, 'utf8'));
}

for (const format of ['text', 'wide', 'json'] as const) {
  test(`every kind of event as ${format}, from the same table`, () => {
    const print = createPrinter(format, plain, plain);
    const lines = RENDER_TABLE.map(([title, event]) => {
      const line = print(event);
      return `# ${title}\n${line === undefined ? '(nothing)' : `${line.to} ${line.text}`}\n`;
    });
    golden(`${format}.txt`, lines.join(''));
  });
}

test('colours are added and nothing else', () => {
  const colored = createPrinter('text', palette(true), palette(true));
  const bare = createPrinter('text', plain, plain);
  for (const [, event] of RENDER_TABLE) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are escape sequences.
    assert.equal(colored(event)?.text.replace(/\u001b\[\d+m/g, ''), bare(event)?.text);
  }
});

test('a JSON line is exactly the event', () => {
  const print = createPrinter('json', plain, plain);
  for (const [, event] of RENDER_TABLE) assert.deepEqual(JSON.parse(print(event)?.text ?? ''), event);
});

test('nothing from outside reaches the terminal as it is', () => {
  const hostile = fc.string({ unit: 'binary' });
  fc.assert(
    fc.property(hostile, (text) => {
      assert.doesNotMatch(escapeText(text), /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
      const json = safeJson({ text });
      assert.doesNotMatch(json, /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
      assert.deepEqual(JSON.parse(json), { text });
    }),
  );
  assert.equal(escapeText('a\u001b[31mred\u202eevil\n'), 'a\\x1b[31mred\\u{202e}evil\\x0a');
});

test('hostile names in every place of an event stay on one line', () => {
  const evil = '\u001b[2J\nktrace: all is well\u202e';
  const infect = (value: unknown): unknown => {
    if (typeof value === 'string') return value + evil;
    if (Array.isArray(value)) return value.map(infect);
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(
        Object.entries(value).map(([key, inner]) => [
          key,
          ['kind', 'time', 'dir', 'state'].includes(key) ? inner : infect(inner),
        ]),
      );
    }
    return value;
  };
  for (const format of ['text', 'wide', 'json'] as const) {
    const print = createPrinter(format, plain, plain);
    for (const [title, event] of RENDER_TABLE) {
      const text = print(infect(event) as KtraceEvent)?.text ?? '';
      assert.doesNotMatch(text, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u, `${format}: ${title}`);
    }
  }
});

test('colour is for terminals, unless it is asked for or against', () => {
  assert.equal(wantsColor(undefined, true, {}), true);
  assert.equal(wantsColor(undefined, false, {}), false);
  assert.equal(wantsColor(undefined, true, { NO_COLOR: '1' }), false);
  assert.equal(wantsColor(undefined, true, { TERM: 'dumb' }), false);
  assert.equal(wantsColor(true, false, { NO_COLOR: '1' }), true);
  assert.equal(wantsColor(false, true, {}), false);
});

test('durations carry the unit that reads best', () => {
  const cases: [number, string][] = [
    [0, '0µs'],
    [0.44, '0.4µs'],
    [433, '433µs'],
    [1234, '1.23ms'],
    [45_678, '45.7ms'],
    [2_100_000, '2.1s'],
  ];
  for (const [us, text] of cases) assert.equal(durationText(us), text);
});
