import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { createPrinter } from '../../../src/client/render/lines/printer.ts';
import { palette, wantsColor } from '../../../src/client/render/style/colors.ts';
import { escapeText, safeJson } from '../../../src/client/render/style/escape.ts';
import { clockText, durationText, TIMESTAMPS } from '../../../src/client/render/style/units.ts';
import type { KtraceEvent } from '../../../src/event/types.ts';
import { fc } from '../../support/fast-check.ts';
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
    const print = createPrinter(format, { stdoutPaint: plain, stderrPaint: plain });
    const lines = RENDER_TABLE.map(([title, event]) => {
      const line = print(event);
      return `# ${title}\n${line === undefined ? '(nothing)' : `${line.to} ${line.text}`}\n`;
    });
    golden(`${format}.txt`, lines.join(''));
  });
}

for (const columns of [80, 120, 200]) {
  test(`every kind of event on a terminal of ${columns} columns, of which one namespace is followed`, () => {
    const print = createPrinter('text', {
      ...{ stdoutPaint: plain, stderrPaint: plain },
      screen: { columns: () => columns, here: () => 'default' },
    });
    const lines = RENDER_TABLE.flatMap(([, event]) => {
      const line = print(event);
      return line?.to === 'stdout' ? line.text.split('\n') : [];
    });
    assert.deepEqual(
      lines.filter((line) => [...line].length > columns),
      [],
    );
    golden(`terminal-${columns}.txt`, `${lines.join('\n')}\n`);
  });
}

test('a terminal whose width is not known, or is changed', () => {
  let columns: number | undefined;
  const printers = [undefined, { columns: () => columns, here: () => undefined }].map((screen) =>
    createPrinter('text', { stdoutPaint: plain, stderrPaint: plain, screen }),
  );
  const [, event] = RENDER_TABLE.find(([title]) => title === 'a drop with its reason') ?? [];
  const texts = () => printers.map((print) => print(event as KtraceEvent)?.text ?? '');
  for (columns of [undefined, 0]) assert.equal(texts()[1], texts()[0]);
  columns = 60;
  assert.ok(
    texts()[1]
      ?.split('\n')
      .every((line) => line.length <= 60),
  );
});

test('a name is colored by what it is, what the cluster made of it is dimmed, and a drop is red', () => {
  const painted = { ...palette(false), pod: (text: string) => `<pod ${text}>`, dim: (text: string) => `<dim ${text}>` };
  const stdoutPaint = { ...painted, service: (text: string) => `<svc ${text}>`, bad: (text: string) => `<bad ${text}>` };
  const screen = { columns: () => 1000, here: () => 'default' };
  const print = createPrinter('text', { stdoutPaint, stderrPaint: plain, screen });
  const textOf = (title: string): string => print(RENDER_TABLE.find(([name]) => name === title)?.[1] as KtraceEvent)?.text ?? '';
  const pod = (name: string, hash: string): string => `<pod ${name}><dim <pod ${hash}>>`;
  const [frontend, master] = [pod('frontend', '-88237173-jdfgg'), pod('redis-master', '-343230949-2qrp7')];
  assert.equal(
    textOf('a SYN to a Service, translated, across two nodes'),
    `<dim 08:45:00.123> host1>host3 ${frontend}:41512 -> <svc svc redis-master>:6379 tcp S => ${master} ✓`,
  );
  assert.match(textOf('a drop with its reason'), /tcp S <dim veth1a2b> <bad DROPPED NETFILTER_DROP at nf_hook_slow>$/);
  assert.match(textOf('IPv6, merged segments, a fragment, told again'), /<pod web-0>:5000/);
});

test('times by the local clock, with their date, with their zone, and in UTC', () => {
  const time = '2026-11-22T23:45:00.5Z';
  const zone = process.env['TZ'];
  const texts = (name: string): string[] => {
    process.env['TZ'] = name;
    return TIMESTAMPS.map((timestamps) => clockText(time, timestamps));
  };
  try {
    assert.deepEqual(texts('Asia/Kolkata'), [
      ...['05:15:00.500', '2026-11-23 05:15:00.500', '2026-11-23T05:15:00.500+05:30', '2026-11-22T23:45:00.500Z'],
    ]);
    assert.equal(texts('America/New_York')[2], '2026-11-22T18:45:00.500-05:00');
  } finally {
    process.env['TZ'] = zone;
  }
});

test('colours are added and nothing else', () => {
  const colored = createPrinter('text', { stdoutPaint: palette(true), stderrPaint: palette(true) });
  const bare = createPrinter('text', { stdoutPaint: plain, stderrPaint: plain });
  for (const [, event] of RENDER_TABLE) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are escape sequences.
    assert.equal(colored(event)?.text.replace(/\u001b\[\d+m/g, ''), bare(event)?.text);
  }
});

test('a JSON line is exactly the event', () => {
  const print = createPrinter('json', { stdoutPaint: plain, stderrPaint: plain });
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
    const print = createPrinter(format, { stdoutPaint: plain, stderrPaint: plain });
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
