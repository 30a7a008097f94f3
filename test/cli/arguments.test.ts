import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseBytes } from '../../src/cli/options/bytes.ts';
import { parseCount, parseDuration } from '../../src/cli/options/duration.ts';
import { errorText, exitCodeOf } from '../../src/cli/options/report-error.ts';
import { KtraceError } from '../../src/util/errors.ts';

test('durations are read in all their units', () => {
  const cases: [string, number][] = [
    ['500ms', 500],
    ['10s', 10_000],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['1m30s', 90_000],
    ['1.5s', 1500],
  ];
  for (const [text, ms] of cases) assert.equal(parseDuration('--for', text), ms);
  for (const text of ['', '10', 's', '-1s', '1d', '10s ', '0s', '1000h', 'ten']) {
    assert.throws(() => parseDuration('--for', text), { code: 'KTRACE_E_ARGUMENT', exitCode: 2 }, text);
  }
});

test('bytes are read as Kubernetes writes them', () => {
  const MiB = 2 ** 20;
  for (const [text, bytes] of [
    ['16777216', 16 * MiB],
    ['512Mi', 512 * MiB],
    ['2Gi', 2048 * MiB],
    ['1G', 1e9],
    ['1Ti', 2 ** 40],
  ] as const)
    assert.equal(parseBytes('--record', text, 16 * MiB), bytes);
  for (const text of ['', '15Mi', '1.5Gi', '-1Gi', '2GiB', '2 Gi', 'Mi', '1000T'])
    assert.throws(() => parseBytes('--record', text, 16 * MiB), { code: 'KTRACE_E_ARGUMENT', message: /at least 16Mi/ }, text);
});

test('counts are whole and at least one', () => {
  assert.equal(parseCount('-c', '100'), 100);
  for (const text of ['', '0', '-1', '1.5', '1e3', 'x'])
    assert.throws(() => parseCount('-c', text), { code: 'KTRACE_E_ARGUMENT' });
});

test('an error is a line with its code, then the rest of its words, then the hint', () => {
  const error = new KtraceError('KTRACE_E_TEST', 'First\n  second', { hint: 'Do this.', exitCode: 3 });
  assert.equal(errorText(error, false), 'ktrace: First [KTRACE_E_TEST]\n  second\n  hint: Do this.\n');
  assert.equal(exitCodeOf(error), 3);
  assert.match(
    errorText(new Error('oops'), false),
    /^ktrace: This should not happen: oops \[KTRACE_E_INTERNAL\]\n {2}hint: With KTRACE_DEBUG=1/,
  );
  assert.equal(exitCodeOf(new Error('oops')), 1);
});

test('an error that quotes something hostile stays harmless', () => {
  const text = errorText(new KtraceError('KTRACE_E_TEST', 'no pod "\u001b[2J\u202e"'), false);
  assert.equal(text, 'ktrace: no pod "\\u{1b}[2J\\u{202e}" [KTRACE_E_TEST]\n');
});
