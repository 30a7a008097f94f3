import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { complete, DIRECTIVE } from '../../src/cli/complete.ts';
import { createProgram } from '../../src/cli/program.ts';
import type { Names } from '../../src/client/completion.ts';

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
    assert.ok(!candidates.some((name) => name.startsWith('_') || name === 'demo'));
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
    assert.deepEqual(kinds.candidates, ['sts/', 'svc/', 'src', 'sctp', 'svc']);
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
    assert.deepEqual((await completed('follow', '-n', 'shop', 'tcp', 'and', 'src', 'pod', '')).candidates, ['web-1', 'web-2']);
    assert.deepEqual((await completed('follow', 'pod/db-0', 'dro')).candidates, ['dropped']);
    assert.deepEqual((await completed('filter', 'tcp', 'and', 'tra')).candidates, ['translated']);
    assert.deepEqual((await completed('read', 'some.pcap', 'dro')).candidates, []);
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
