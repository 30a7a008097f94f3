import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { FIELD_TABLES } from '../../src/export/fields.ts';
import { EXPORT_LIMITS } from '../../src/export/limits.ts';
import { DEFAULT_EXPORT_EVENTS, EXPORT_EVENTS } from '../../src/export/selection.ts';

const PAGE = readFileSync(new URL('../../docs/export.md', import.meta.url), 'utf8');

test('docs/export.md has every attribute as the code has it', () => {
  for (const { records, fields } of FIELD_TABLES) {
    const table = [
      '| attribute | type | |',
      '|---|---|---|',
      ...fields.map(({ name, type, text }) => `| \`${name}\` | ${type} | ${text} |`),
    ];
    assert.ok(PAGE.includes(`Of ${records}:\n\n${table.join('\n')}\n\n`), `Of ${records}:\n\n${table.join('\n')}\n`);
  }
});

test('docs/export.md names the events, the default ones and the bounds', () => {
  assert.ok(PAGE.includes(EXPORT_EVENTS.map((event) => `\`${event}\``).join(', ')));
  assert.ok(PAGE.includes(`\`${DEFAULT_EXPORT_EVENTS.join(',')}\``));
  const { queueRecords, queueBytes, batchRecords, delayMs, maxAgeMs, maxBackoffMs } = EXPORT_LIMITS;
  assert.ok(PAGE.includes(`${queueRecords.toLocaleString('en')} records or ${queueBytes / 1024 / 1024} MiB`));
  assert.ok(PAGE.includes(`${batchRecords} records`) && PAGE.includes(`${delayMs / 1000} s`));
  assert.ok(PAGE.includes(`${maxAgeMs / 60_000} minutes`) && PAGE.includes(`${maxBackoffMs / 1000} s`));
});
