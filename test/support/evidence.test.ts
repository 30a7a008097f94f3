import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('a test or hook that fails leaves what is known in a folder that its output names, and a test that passes nothing', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-evidence-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'sample.test.ts');
  writeFileSync(
    file,
    `import { writeFileSync } from 'node:fs';
    import { suite, test } from 'node:test';
    import { before, keepOnFailure } from ${JSON.stringify(fileURLToPath(new URL('evidence.ts', import.meta.url)))};
    keepOnFailure('log', (folder) => writeFileSync(folder + '/log.txt', 'all of it'));
    keepOnFailure('broken', () => { throw new Error('no log'); });
    test('good', () => {});
    suite('a suite', () => { test('bad', () => { throw new Error('as expected'); }); });
    suite('another', () => { before(() => { throw new Error('no lab'); }); test('not run', () => {}); });`,
  );
  const env = { ...process.env, KTRACE_EVIDENCE: join(folder, 'kept'), NODE_TEST_CONTEXT: undefined };
  const { stderr } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', file], { env, encoding: 'utf8' });
  const kept = readdirSync(join(folder, 'kept')).sort();
  assert.equal(kept.length, 2);
  const [own = '', ofHook = ''] = kept.map((name) => join(folder, 'kept', name));
  assert.match(stderr, new RegExp(`^evidence of "bad": .*${kept[0]}$`, 'm'));
  assert.match(stderr, new RegExp(`^evidence of "before": .*${kept[1]}$`, 'm'));
  assert.match(readFileSync(join(ofHook, 'error.txt'), 'utf8'), /no lab/);
  assert.deepEqual(readdirSync(own).sort(), ['1-log', '2-broken', 'error.txt', 'machine.txt']);
  assert.match(readFileSync(join(own, 'error.txt'), 'utf8'), /^a suite > bad\n[\s\S]*as expected/);
  assert.equal(readFileSync(join(own, '1-log/log.txt'), 'utf8'), 'all of it');
  assert.match(readFileSync(join(own, '2-broken/not-collected.txt'), 'utf8'), /no log/);
  assert.match(readFileSync(join(own, 'machine.txt'), 'utf8'), /# loadavg\n\d/);
});
