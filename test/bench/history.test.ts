import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { appendRun, foundBefore, type Run, readHistory } from '../../bench/history.ts';
import { reportText } from '../../bench/report.ts';

function fileOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-history-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, 'bench.jsonl');
}

const run = (commit: string, found: Record<string, string>, fields: Partial<Run> = {}): Run => ({
  time: '2026-11-30T08:00:00.000Z',
  commit,
  kernel: '6.18.44',
  cores: 2,
  isQuick: false,
  failed: [],
  targets: Object.entries(found).map(([what, found]) => ({ what, wanted: '>= 1', found, isReached: false })),
  ...fields,
});

test('each run is appended, and what is to be reached has what the last run had of it on such a machine', (t) => {
  const file = fileOf(t);
  assert.deepEqual(readHistory(file), []);
  const runs = [
    run('aaa', { pipeline: '100', 'gate RSS': '75 MB' }),
    run('bbb', { pipeline: '200' }),
    run('ccc', { pipeline: '900' }, { cores: 8 }),
    run('ddd', { pipeline: '300' }, { isQuick: true }),
  ];
  for (const one of runs) appendRun(file, one);
  assert.deepEqual(readHistory(file), runs);
  const before = foundBefore(readHistory(file), { kernel: '6.18.44', cores: 2, isQuick: false });
  assert.deepEqual(Object.fromEntries(before), { pipeline: '200 (bbb)', 'gate RSS': '75 MB (aaa)' });
});

test('the report has what was found before beside what was found now', () => {
  const pipeline = { recorded: 1, events: 1, packetsTold: 1, seconds: 1, eventsPerSecond: 500_000 };
  const before = new Map([['user-space pipeline on one core', '200,000 (bbb)']]);
  const line = (text: string) => text.split('\n').find((one) => one.includes('user-space pipeline'));
  const results = { kernel: '6.18.44', cores: 2, isQuick: false, failed: [], pipeline };
  assert.match(line(reportText(results, before)) ?? '', /500,000 +before: 200,000 \(bbb\)$/);
  assert.match(line(reportText(results)) ?? '', /500,000$/);
});

test('a file that is no history is refused with its line, and stays as it is', (t) => {
  const file = fileOf(t);
  appendRun(file, run('aaa', {}));
  for (const other of ['{"kernel":"6.18"}', 'not json', '[]']) {
    writeFileSync(file, `${JSON.stringify(run('aaa', {}))}\n${other}\n`);
    assert.throws(() => readHistory(file), {
      message: /Expected the file of --json to be a bench's history, .* got .* at .*bench\.jsonl, line 2/,
    });
    assert.match(readFileSync(file, 'utf8'), /aaa/);
  }
  assert.throws(() => readHistory(join(file, 'below')), {
    message: /Expected a file for --json that can be written, got .*ENOTDIR/,
  });
});
