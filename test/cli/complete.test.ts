import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { complete, DIRECTIVE } from '../../src/cli/complete.ts';
import { createProgram } from '../../src/cli/program.ts';
import { COMPLETED_KINDS, clusterNames, type Names } from '../../src/client/cluster/completion.ts';
import { kubeSurroundings } from '../../src/client/cluster/kubeconfig.ts';
import { parseFilter } from '../../src/filter/language/parse.ts';
import { startFakeApi } from '../client/cluster/fake-api.ts';

const BIN = join(import.meta.dirname, '..', '..', 'bin');
const PODS: Record<string, string[]> = { shop: ['web-1', 'web-2'], default: ['db-0'] };

/** A cluster of a few names, which remembers what it was asked for. */
function fakeNames(asked: unknown[]): (kube: object) => Names {
  return (kube) => ({
    contexts: () => ['home', 'work'],
    ofKind: async (kind, prefix, namespace) => {
      asked.push({ kind, namespace, ...kube });
      const names = kind === 'pod' ? (PODS[namespace ?? 'default'] ?? []) : kind === 'ns' ? ['default', 'shop'] : [];
      return names.filter((name) => name.startsWith(prefix));
    },
  });
}

async function completed(...words: string[]): Promise<{ candidates: string[]; directive: number; asked: unknown[] }> {
  const asked: unknown[] = [];
  const { candidates, directive } = await complete(
    createProgram(() => undefined),
    words,
    fakeNames(asked),
  );
  return { candidates: candidates.map((one) => one.split('\t')[0] as string), directive, asked };
}

describe('completion', () => {
  test('offers the commands that a user may type, not the hidden ones', async () => {
    const { candidates, directive } = await completed('');
    for (const name of ['follow', 'dump', 'install', 'doctor', 'status', 'grant', 'read', 'help'])
      assert.ok(candidates.includes(name), name);
    assert.ok(!candidates.some((name) => name.startsWith('_')));
    assert.equal(directive, DIRECTIVE.noFile);
    assert.deepEqual((await completed('un')).candidates, ['uninstall']);
  });

  test('offers flags, and the values that they take', async () => {
    assert.deepEqual((await completed('follow', '--out')).candidates, ['--output']);
    assert.deepEqual((await completed('follow', '-o', '')).candidates, ['text', 'wide', 'json', 'pcapng']);
    assert.deepEqual((await completed('follow', '--output=j')).candidates, ['--output=json']);
    assert.deepEqual((await completed('dump', '-o', 'p')).candidates, ['pcapng']);
    assert.deepEqual((await completed('dump', '-o', 'h')).candidates, ['html']);
    assert.deepEqual((await completed('read', 'a.ktrace', '--output=h')).candidates, ['--output=html']);
    assert.deepEqual((await completed('follow', '--context', 'w')).candidates, ['work']);
    assert.deepEqual((await completed('follow', '-n', '')).candidates, ['default', 'shop']);
    assert.equal((await completed('follow', '--kubeconfig', '')).directive, DIRECTIVE.default);
  });

  test('offers kinds, then names of the namespace that is meant, from the cluster that is meant', async () => {
    const kinds = await completed('follow', 's');
    assert.deepEqual(kinds.candidates, ['sts/', 'svc/', 'sctp', 'src']);
    assert.equal(kinds.directive, DIRECTIVE.noFile);
    assert.deepEqual(await completed('follow', 'sts'), {
      candidates: ['sts/'],
      directive: DIRECTIVE.noFile | DIRECTIVE.noSpace,
      asked: [],
    });
    assert.deepEqual((await completed('follow', 'pod/')).candidates, ['pod/db-0']);
    const inShop = await completed('follow', '-n', 'shop', '--context', 'work', '--as=jane', 'pod/web-1', 'pod/w');
    assert.deepEqual(inShop.candidates, ['pod/web-1', 'pod/web-2']);
    const [{ kind, namespace, context, as } = {}] = inShop.asked as {
      kind?: string;
      namespace?: string;
      context?: string;
      as?: string;
    }[];
    assert.deepEqual([kind, namespace, context, as], ['pod', 'shop', 'work', 'jane']);
  });

  test("offers a filter's words behind the targets, and names behind those that take one", async () => {
    assert.deepEqual((await completed('follow', 'pod/db-0', 'tcp', 'and', 'po')).candidates, ['port', 'portrange', 'pod']);
    assert.deepEqual((await completed('read', 'some.pcap', 'tcp', 'and', 'e')).candidates, ['esp', 'ether']);
    assert.deepEqual((await completed('follow', 'pod/db-0', 'vr')).candidates, ['vrrp']);
    assert.deepEqual((await completed('follow', '-n', 'shop', 'tcp', 'and', 'src', 'pod', '')).candidates, ['web-1', 'web-2']);
    assert.deepEqual((await completed('follow', 'pod/db-0', 'dro')).candidates, ['dropped']);
    assert.deepEqual((await completed('filter', 'tcp', 'and', 'tra')).candidates, ['translated']);
    assert.deepEqual((await completed('read', 'some.pcap', 'dro')).candidates, []);
  });

  test('offers no name behind a word that stands for a kind, where the command would be refused', async () => {
    assert.deepEqual((await completed('follow', 'po')).candidates, ['pod/', 'port', 'portrange']);
    assert.deepEqual(await completed('follow', '-n', 'shop', 'pod', ''), {
      candidates: [],
      directive: DIRECTIVE.noFile,
      asked: [],
    });
    for (const target of [['-A'], ['-l', 'app=web'], ['node/host1']])
      assert.deepEqual((await completed('follow', '-n', 'shop', ...target, 'pod', '')).candidates, ['web-1', 'web-2']);
  });

  for (const [command, place, words] of [
    [['follow'], 'live', ['pod/a', 'tcp']],
    [['dump'], 'live', ['pod/a', 'tcp']],
    [['read', 'some.pcap'], 'file', ['tcp']],
  ] as const)
    test(`offers to ${command[0]} just the words that its filters have`, async () => {
      const { candidates } = await completed(...command, ...words, '');
      assert.ok(candidates.length > 30);
      for (const word of candidates) {
        const text = word === 'and' || word === 'or' ? `tcp ${word}` : word;
        const isWhole = isUnderstood(text, place);
        assert.ok(isWhole === true || isWhole === text.length, `${text}: ${isWhole}`);
      }
    });

  test('leaves file names to the shell where a file is meant', async () => {
    assert.deepEqual(await completed('read', ''), { candidates: [], directive: DIRECTIVE.default, asked: [] });
    assert.equal((await completed('follow', '-F', '')).directive, DIRECTIVE.default);
    assert.deepEqual((await completed('read', 'some.pcap', 'po')).candidates, ['port', 'portrange']);
  });

  test('works in a real bash', async () => {
    const script = `source <(ktrace completion bash)
      COMP_WORDS=(ktrace unin); COMP_CWORD=1; compopt() { :; }; _ktrace; printf '%s\\n' "\${COMPREPLY[@]}"
      COMP_WORDS=(ktrace follow de); COMP_CWORD=2; _ktrace; printf '%s\\n' "\${COMPREPLY[@]}"
      complete -p ktrace`;
    const env = { ...process.env, PATH: `${BIN}:${process.env['PATH']}` };
    const { stdout } = await promisify(execFile)('bash', ['-c', script], { env });
    assert.deepEqual(stdout.trim().split('\n'), ['uninstall', 'deploy/', 'complete -o nosort -F _ktrace ktrace']);
  });
});

/** Where the mistake is shown, if there is one; what is only not whole is shown at its end. */
function isUnderstood(text: string, place: 'live' | 'file'): true | number {
  try {
    parseFilter(text, place);
    return true;
  } catch (error) {
    return ((error as Error).message.split('\n')[2] ?? '').indexOf('^') - 2;
  }
}

describe('in real shells', () => {
  const env = { ...process.env, PATH: `${BIN}:${process.env['PATH']}` };
  const run = async (shell: string, ...args: string[]) =>
    (await promisify(execFile)(shell, args, { env, cwd: join(BIN, '..') })).stdout.trim().split('\n');
  const lacks = (shell: string) => spawnSync(shell, ['--version']).error !== undefined && `${shell} is not installed`;

  test('bash completes an option’s value behind =', async () => {
    const asked = (...words: string[]) =>
      `COMP_WORDS=(ktrace follow ${words.join(' ')}); COMP_CWORD=${words.length + 1}; _ktrace; printf '%s ' "\${COMPREPLY[@]}"; echo`;
    const script = `source <(ktrace completion bash); compopt() { :; }
      ${asked('--output', '=', 'j')}
      ${asked('--output', '=')}
      ${asked('--output=j')}
      ${asked("'tcp[13]'", '=', '2', 'an')}
      ${asked('pod/a', '--output', '=', 'json', 'dro')}`;
    const found = await run('bash', '-c', script);
    assert.deepEqual(
      found.map((line) => line.trim()),
      ['json', 'text wide json pcapng', '--output=json', 'and', 'dropped'],
    );
  });

  test('zsh', { skip: lacks('zsh') }, async () => {
    const script = `compdef() { :; }; compadd() { print -rl -- "\${@[\${@[(i)--]}+1,-1]}"; }; _describe() { print -rl -- "\${(@P)2}"; }; _files() { print files; }
      source <(ktrace completion zsh)
      words=(ktrace follow de); CURRENT=3; _ktrace
      words=(ktrace unin); CURRENT=2; _ktrace
      words=(ktrace follow --output=j); CURRENT=3; _ktrace
      words=(ktrace read ''); CURRENT=3; _ktrace`;
    assert.deepEqual(await run('zsh', '-f', '-c', script), [
      'deploy/',
      'uninstall:take away what install made, and nothing else',
      '--output=json',
      'files',
    ]);
  });

  test('fish', { skip: lacks('fish') }, async () => {
    const ask = (line: string) => `complete -C ${JSON.stringify(line)}`;
    const script = [
      'ktrace completion fish | source',
      ask('ktrace follow de'),
      ask('ktrace unin'),
      ask('ktrace follow --output=j'),
      ask('ktrace follow -F package.j'),
    ].join('\n');
    assert.deepEqual(await run('fish', '--no-config', '-c', script), [
      'deploy/',
      'uninstall\ttake away what install made, and nothing else',
      '--output=json',
      'package.json',
    ]);
  });
});

describe('names of the cluster', () => {
  test('are those of the namespace, of every kind; none where it does not answer', async (t) => {
    const api = await startFakeApi();
    t.after(() => api.close());
    const folder = mkdtempSync(join(tmpdir(), 'ktrace-complete-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const kubeconfig = join(folder, 'config');
    writeFileSync(kubeconfig, api.config.exportConfig());
    for (const path of [
      '/api/v1/namespaces/shop/pods/web-1',
      '/api/v1/namespaces/shop/pods/web-2',
      '/api/v1/namespaces/shop/pods/db-0',
      '/api/v1/namespaces/shop/services/web',
      '/apis/apps/v1/namespaces/shop/deployments/web',
      '/apis/apps/v1/namespaces/shop/replicasets/web-5d9c',
      '/apis/apps/v1/namespaces/shop/statefulsets/db',
      '/apis/apps/v1/namespaces/shop/daemonsets/logs',
      '/apis/batch/v1/namespaces/shop/jobs/nightly-29922850',
      '/apis/batch/v1/namespaces/shop/cronjobs/nightly',
      '/api/v1/nodes/host1',
      '/api/v1/namespaces/shop',
    ])
      api.objects.set(path, { metadata: { name: path.split('/').at(-1) } });
    const names = clusterNames(
      { kubeconfig },
      kubeSurroundings(
        () => undefined,
        () => undefined,
      ),
    );
    const asked = (kind: string, prefix = '') => names.ofKind(kind, prefix, 'shop');
    assert.deepEqual(await asked('pod', 'web'), ['web-1', 'web-2']);
    const kinds = COMPLETED_KINDS.filter((kind) => kind !== 'pod');
    assert.deepEqual(await Promise.all(kinds.map((kind) => asked(kind))), [
      ['web'],
      ['web-5d9c'],
      ['db'],
      ['logs'],
      ['nightly-29922850'],
      ['nightly'],
      ['web'],
      ['host1'],
      ['shop'],
    ]);
    const bin = async (program: string, ...words: string[]) =>
      (await promisify(execFile)(process.execPath, [join(BIN, program), ...words])).stdout;
    const follow = ['follow', '--kubeconfig', kubeconfig, '-n', 'shop'];
    assert.equal(await bin('kubectl_complete-ktrace', ...follow, 'pod/w'), 'pod/web-1\npod/web-2\n:4\n');
    assert.equal(await bin('ktrace', '__complete', ...follow, 'deploy/a', 'tcp', 'and', 'svc', ''), 'web\n:4\n');
    api.refused.set('/api/v1/namespaces/shop/pods', 403);
    assert.deepEqual(await asked('pod'), []);
    assert.deepEqual(
      await clusterNames(
        { kubeconfig: '/nowhere' },
        kubeSurroundings(
          () => undefined,
          () => undefined,
        ),
      ).ofKind('pod', '', 'shop'),
      [],
    );
  });
});

describe('kubectl ktrace', () => {
  const run = async (program: string, ...args: string[]) =>
    (await promisify(execFile)(process.execPath, [join(BIN, program), ...args])).stdout;

  test('calls itself so in its help', async () => {
    assert.match(await run('kubectl-ktrace', 'follow', '--help'), /^Usage: kubectl ktrace follow /);
    assert.match(await run('ktrace', 'follow', '--help'), /^Usage: ktrace follow /);
  });

  test('is completed as kubectl asks: candidates, then the directive', async () => {
    assert.equal(await run('kubectl_complete-ktrace', 'unin'), 'uninstall\ttake away what install made, and nothing else\n:4\n');
  });
});
