import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { DumpFile, type Manifest } from '../../src/client/file/dump-file.ts';
import { packet } from '../client/events.ts';
import { captureBytes } from '../filter/support/capture-bytes.ts';
import { randomOf } from '../filter/support/random.ts';
import { frame } from '../filter/support/traffic.ts';

async function writeDump(path: string): Promise<void> {
  const manifest: Manifest = { v: 1, made: '', targets: [], since: '', until: '', nodes: [], missing: [] };
  const file = await DumpFile.create(path, manifest);
  await file.add(packet({ id: '1', src: { ip: '10.0.0.1', port: 1024 }, dst: { ip: '10.0.0.2', port: 80 }, hops: [] }));
  await file.end(manifest, '');
  await file.close();
}

const ROOT = join(import.meta.dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'ktrace-pack-'));
/** All the programs that the laptop has. */
const PROGRAMS = ['node', 'npm', 'sh', 'env'];
const tools = join(folder, 'bin');
const env = { ...process.env, PATH: tools, HOME: process.env['HOME'] ?? folder };

after(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

async function run(program: string, args: string[], more: Record<string, string> = {}): Promise<Ended> {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, {
      env: { ...env, ...more },
      cwd: folder,
      timeout: 100_000,
    });
    return { code: 0, stdout, stderr };
  } catch (error) {
    return error as unknown as Ended;
  }
}

/** The tarball on a machine that has Node and npm, and no compiler, no make, no Python; root is not needed and not used. */
describe('the packed client', () => {
  let tarball = '';
  const installed = join(folder, 'linux');

  before(async () => {
    mkdirSync(tools);
    for (const name of PROGRAMS) {
      const found = name === 'node' ? process.execPath : (await promisify(execFile)('which', [name])).stdout.trim();
      symlinkSync(found, join(tools, name));
    }
    // As set-up has compiled it: compiling again would change files under other tests' feet.
    const pack = ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder];
    const { stdout } = await promisify(execFile)('npm', pack, { cwd: ROOT });
    tarball = join(folder, stdout.trim().split('\n').at(-1) ?? '');
    const { code, stderr } = await run('npm', [
      'install',
      '-g',
      '--omit=optional',
      '--foreground-scripts',
      '--prefix',
      installed,
      tarball,
    ]);
    assert.equal(code, 0, stderr);
  });

  test('builds nothing and brings nothing that is compiled', () => {
    const packages = join(installed, 'lib', 'node_modules', 'ktrace');
    assert.deepEqual(globSync('**/*.{node,o,so,gyp}', { cwd: packages }), []);
    const manifests = globSync('**/node_modules/**/package.json', { cwd: packages }).map(
      (path) => JSON.parse(readFileSync(join(packages, path), 'utf8')) as { name?: string; scripts?: Record<string, string> },
    );
    assert.ok(manifests.length > 20, `only ${manifests.length} packages`);
    const building = manifests.filter(
      ({ scripts }) => scripts?.['install'] ?? scripts?.['postinstall'] ?? scripts?.['preinstall'],
    );
    assert.deepEqual(
      building.map(({ name }) => name),
      [],
    );
  });

  test('runs without loading an addon', async () => {
    const trap = join(folder, 'trap.cjs');
    writeFileSync(trap, "process.dlopen = (_, file) => { throw new Error('an addon was loaded: ' + file); };\n");
    const ktrace = (...args: string[]) => run(join(installed, 'bin', 'ktrace'), args, { NODE_OPTIONS: `--require=${trap}` });
    assert.match((await ktrace('version')).stdout, /^\d+\.\d+\.\d+\n$/);
    assert.match((await ktrace('filter', 'port', '80', 'or', '443')).stdout, /^port 80 or port 443\n/);
    assert.match(
      (await run(join(installed, 'bin', 'kubectl-ktrace'), ['follow', '--help'])).stdout,
      /^Usage: kubectl ktrace follow/,
    );

    const capture = join(folder, 'some.pcap');
    const random = randomOf(7);
    const frames = Array.from({ length: 50 }, () => frame(random, 'ethernet', false));
    writeFileSync(capture, captureBytes({ kind: 'pcap', endian: 'LE', unit: 'us' }, 1, frames));
    assert.match((await ktrace('read', capture, 'tcp or udp')).stderr, /^ktrace: 50 packets read, [1-9]\d* shown/);
    const dump = join(folder, 'some.ktrace');
    await writeDump(dump);
    assert.match((await ktrace('read', dump, 'tcp')).stderr, /^ktrace: 1 record read, 1 shown/);

    const kubeconfig = join(folder, 'kubeconfig');
    const cluster = { name: 'c', cluster: { server: 'http://127.0.0.1:9' } };
    const context = { name: 'x', context: { cluster: 'c', user: '' } };
    writeFileSync(
      kubeconfig,
      JSON.stringify({ apiVersion: 'v1', kind: 'Config', clusters: [cluster], contexts: [context], 'current-context': 'x' }),
    );
    for (const command of [['follow', 'pod/web'], ['install', '--image', 'some:1'], ['status']]) {
      const { code, stderr } = await ktrace(...command, '--kubeconfig', kubeconfig);
      assert.equal(code, 1, stderr);
      assert.match(stderr, /KTRACE_E_API_UNREACHABLE/, command.join(' '));
    }
  });

  test('says that an agent needs more than this', async () => {
    const { code, stderr } = await run(join(installed, 'bin', 'ktrace'), ['agent', '--socket', join(folder, 'agent.sock')]);
    assert.notEqual(code, 0);
    assert.match(stderr, /KTRACE_E_/);
    assert.doesNotMatch(stderr, /should not happen|KTRACE_E_INTERNAL|at file:/);
  });

  test('is installed on another operating system as well', async () => {
    const { code, stderr } = await run('npm', [
      'install',
      '-g',
      '--os=darwin',
      '--cpu=arm64',
      '--prefix',
      join(folder, 'darwin'),
      tarball,
    ]);
    assert.equal(code, 0, stderr);
    assert.deepEqual(globSync('**/node-linux-*', { cwd: join(folder, 'darwin') }), []);
  });
});
