import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const SRC = join(import.meta.dirname, '..', '..', 'src');

/** What a process says that runs these lines. */
function said(lines: string): unknown {
  const argv = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', lines];
  const { stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8', cwd: SRC });
  assert.equal(stderr, '');
  return JSON.parse(stdout);
}

test('a kubeconfig is read and a port forwarded without the classes of all objects, and without a second HTTP client', () => {
  const loaded = said(`
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({ load: (url, context, next) => { loaded.push(url); return next(url, context); } });
    await import('./client/cluster/kubeconfig.ts');
    await import('./client/cluster/port-forward.ts');
    console.log(JSON.stringify(loaded));`) as string[];
  const ofLibrary = loaded.filter((url) => url.includes('/@kubernetes/client-node/'));
  assert.ok(ofLibrary.some((url) => url.endsWith('/dist/config.js')));
  assert.ok(ofLibrary.some((url) => url.endsWith('/dist/portforward.js')));
  assert.deepEqual(
    loaded.filter((url) => /\/client-node\/dist\/gen\/(index|models|apis|types)\b|\/node_modules\/undici\//.test(url)),
    [],
  );
});

test('nobody else in src/ loads the library: of it there are types alone', () => {
  const loads = globSync('**/*.ts', { cwd: SRC }).filter((file) =>
    /^import (?!type\b)[^;]*'@kubernetes\/client-node|\bimport\('@kubernetes\/client-node/m.test(
      readFileSync(join(SRC, file), 'utf8'),
    ),
  );
  assert.deepEqual(loads, ['util/kube-library.ts']);
});

test('what the library has besides stays as it is for who asks it', () => {
  assert.deepEqual(
    said(`
    const { KubeConfig } = await import('./util/kube-library.ts');
    const library = await import('@kubernetes/client-node');
    const config = new library.KubeConfig();
    config.loadFromClusterAndUser({ name: 'c', server: 'https://127.0.0.1:1' }, { name: 'u', token: 't' });
    const core = new library.CoreV1Api({ baseServer: undefined });
    console.log(JSON.stringify([KubeConfig === library.KubeConfig, typeof core.listNamespacedPod, config.getCurrentCluster().server]));`),
    [true, 'function', 'https://127.0.0.1:1'],
  );
});
