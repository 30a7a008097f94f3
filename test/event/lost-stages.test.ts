import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const ROOT = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8');
const quoted = (text: string, quote: string): string[] =>
  [...text.matchAll(new RegExp(`${quote}([a-z-]+)${quote}`, 'g'))].map(([, name]) => name as string);

test('each stage of `lost` is one that the agent emits, and both pages explain it', () => {
  const declared = quoted(/type LostStage =\s+([^;]+);/.exec(read('src/event/types.ts'))?.[1] ?? '', "'");
  assert.ok(declared.length > 0);
  const files = readdirSync(new URL('src/agent/', ROOT), { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  const agent = files.map((file) => read(`src/agent/${file}`));
  assert.deepEqual(
    declared.filter((stage) => !agent.some((text) => text.includes(`'${stage}'`))),
    [],
  );
  const row = /^\| `stage` \| \|(.+)\|$/m.exec(read('docs/events.md'))?.[1] ?? '';
  const explained = row.split(';').map((part) => quoted(part, '`')[0]);
  assert.deepEqual(explained, declared);
  const lost = read('docs/troubleshooting.md').split('\n## `lost`\n')[1]?.split('\n## ')[0] ?? '';
  assert.deepEqual(
    declared.filter((stage) => !lost.includes(`\`${stage}\``)),
    [],
  );
});
