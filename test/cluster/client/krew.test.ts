import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { load } from 'js-yaml';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const SCRIPT = join(ROOT, 'scripts/krew.mjs');
const ADDRESS = 'https://example.com/ktrace.tar.gz';
/** A krew program, to install with. */
const KREW = process.env['KTRACE_KREW'];
const folder = mkdtempSync(join(tmpdir(), 'ktrace-krew-test-'));
const run = promisify(execFile);

after(() => rmSync(folder, { recursive: true, force: true }));

interface Plugin {
  metadata: { name: string };
  spec: { version: string; shortDescription: string; platforms: { uri: string; sha256: string; bin: string }[] };
}

describe('the client packed for krew', () => {
  let archive = '';
  let manifest = '';

  before(async () => {
    const { stdout } = await run(process.execPath, [SCRIPT, '--url', ADDRESS, '--out', folder]);
    [archive = '', manifest = ''] = stdout.trim().split('\n');
  });

  test('is named by a manifest with its sum', async () => {
    const { metadata, spec } = load(readFileSync(manifest, 'utf8')) as Plugin;
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    assert.equal(metadata.name, 'ktrace');
    assert.equal(spec.version, `v${version}`);
    // The index of plugins takes no longer one.
    assert.ok(spec.shortDescription.length <= 50, spec.shortDescription);
    assert.equal(spec.platforms.length, 1);
    const [platform] = spec.platforms;
    assert.equal(platform?.uri, ADDRESS);
    assert.equal(platform?.sha256, createHash('sha256').update(readFileSync(archive)).digest('hex'));
  });

  test('has no links, which krew refuses, nothing compiled, and runs where it is unpacked', async () => {
    const listed = (await run('tar', ['-tvzf', archive], { maxBuffer: 1e7 })).stdout.trim().split('\n');
    assert.ok(listed.length > 1000, `only ${listed.length} entries`);
    assert.deepEqual(
      listed.filter((line) => !/^[-d]/.test(line) || /\.(node|so|gyp)$/.test(line)),
      [],
    );
    const store = join(folder, 'store');
    mkdirSync(store);
    await run('tar', ['-xzf', archive, '-C', store]);
    // As krew puts it on the path.
    const program = join(folder, 'kubectl-ktrace');
    symlinkSync(join(store, 'bin/kubectl-ktrace'), program);
    const { stdout } = await run(process.execPath, [program, 'follow', '--help'], { cwd: folder });
    assert.match(stdout, /^Usage: kubectl ktrace follow/);
  });

  test('is installed by krew', { skip: KREW === undefined && 'set KTRACE_KREW to a krew program' }, async () => {
    const env = { ...process.env, KREW_ROOT: join(folder, 'krew') };
    await run(KREW ?? '', ['install', `--manifest=${manifest}`, `--archive=${archive}`], { env });
    const { stdout } = await run(join(folder, 'krew/bin/kubectl-ktrace'), ['version']);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
  });
});

test('an archive without the address where it will be is refused', async () => {
  for (const args of [[], ['--url', 'http://example.com/a.tar.gz'], ['--url', ADDRESS, '--homepage', 'x']]) {
    await assert.rejects(run(process.execPath, [SCRIPT, '--out', folder, ...args]), (error: { code: number; stderr: string }) => {
      assert.equal(error.code, 2);
      assert.match(
        error.stderr,
        /^Expected an https:\/\/ address for --(url|homepage), got (none|http:\/\/example.com\/a.tar.gz|x)\n$/,
      );
      return true;
    });
  }
});
