import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkVersion } from '../../scripts/checks/version.mjs';

const FILES: Record<string, string> = {
  'package.json': '{"version":"1.2.3"}',
  'deploy/base/kustomization.yaml': 'images:\n  - name: ktrace\n    newName: localhost/ktrace\n    newTag: "1.2.3"\n',
  Dockerfile: 'ARG VERSION=1.2.3\n',
  'README.md': 'ktrace install --image registry.example/ktrace:1.2.3. Then',
  'docs/install.md': 'npm install -g ktrace-1.2.3.tgz',
  'scripts/cluster/product.mjs': "const IMAGE = 'localhost/ktrace:1.2.3';",
  'test/cluster/support/product.ts': "'localhost/ktrace:1.2.3'",
  'docs/doctor.md': 'host1  works  Linux 6.1.0-56-amd64 x64, BTF, ktrace 1.2.3',
};

function rootWith(t: TestContext, more: Record<string, string> = {}): string {
  const root = mkdtempSync(join(tmpdir(), 'ktrace-version-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [file, text] of Object.entries({ ...FILES, ...more })) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  return root;
}

test('one version and one image everywhere are no problem', async (t) => {
  assert.deepEqual(await checkVersion(rootWith(t)), { checked: 7, problems: [] });
});

test('another version is found in each of its forms, with its place', async (t) => {
  for (const [file, text] of Object.entries(FILES)) {
    if (file === 'package.json') continue;
    const { problems } = await checkVersion(rootWith(t, { [file]: text.replace('1.2.3', '1.2.4-rc.1') }));
    assert.ok(problems.length > 0, file);
    assert.ok(problems[0]?.includes(file) && problems[0].includes('1.2.4-rc.1'), problems[0]);
  }
});

test('another image of this machine than that of the manifests is found', async (t) => {
  const renamed = FILES['deploy/base/kustomization.yaml']?.replace('localhost/ktrace', 'localhost/tracer') ?? '';
  const { problems } = await checkVersion(rootWith(t, { 'deploy/base/kustomization.yaml': renamed }));
  assert.deepEqual(problems, [
    'Expected the image of deploy/base/kustomization.yaml, localhost/tracer:1.2.3, at scripts/cluster/product.mjs:1, got localhost/ktrace:1.2.3',
    'Expected the image of deploy/base/kustomization.yaml, localhost/tracer:1.2.3, at test/cluster/support/product.ts:1, got localhost/ktrace:1.2.3',
  ]);
});

test('a place that names no version any more is found', async (t) => {
  assert.deepEqual((await checkVersion(rootWith(t, { Dockerfile: '' }))).problems, [
    'Dockerfile names no version of ktrace any more',
  ]);
});
