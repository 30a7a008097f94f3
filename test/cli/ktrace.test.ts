import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const KTRACE = fileURLToPath(new URL('../../bin/ktrace', import.meta.url));

interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

function ktrace(argv: string[], env: Record<string, string> = {}): Promise<Result> {
  const child = spawn(process.execPath, [KTRACE, ...argv], {
    env: { PATH: process.env['PATH'] ?? '', HOME: '/nowhere', KTRACE_LAB_DIR: '/nowhere', ...env },
  });
  const result: Result = { code: null, stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => {
    result.stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    result.stderr += chunk;
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ ...result, code })));
}

/** Writes the packages that were loaded to stderr when the process ends. */
const TELL_PACKAGES = `
  import { registerHooks } from 'node:module';
  const seen = new Set();
  registerHooks({ resolve(specifier, context, next) {
    const resolved = next(specifier, context);
    seen.add(resolved.url.split('/node_modules/').at(1)?.split('/').at(0));
    return resolved;
  } });
  process.on('exit', () => process.stderr.write(JSON.stringify([...seen].filter((name) => name !== undefined))));`;

test('help loads no package but the one that parses the words, so that it answers at once', async () => {
  const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(TELL_PACKAGES)}` };
  for (const [argv, said] of [
    [['--help'], /follow .*\n[\s\S]*lab /],
    [['follow', '--help'], /Examples:\n {2}ktrace follow/],
  ] as const) {
    const { code, stdout, stderr } = await ktrace([...argv], env);
    assert.equal(code, 0);
    assert.match(stdout, said);
    assert.deepEqual(JSON.parse(stderr), ['@commander-js', 'commander']);
  }
});

test('the version is that of the package', async () => {
  for (const argv of [['--version'], ['version']]) {
    const { code, stdout } = await ktrace(argv);
    assert.equal(code, 0);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
  }
});

test('usage errors exit with 2, say what was wrong on stderr, and nothing on stdout', async () => {
  const cases: [string[], RegExp][] = [
    [
      ['folow'],
      /^ktrace: Unknown command 'folow' \[KTRACE_E_ARGUMENT\]\n {2}hint: Did you mean follow\?\n {2}See ktrace --help\n$/,
    ],
    [
      ['follow', '--no-such-flag'],
      /^ktrace: Unknown option '--no-such-flag' \[KTRACE_E_ARGUMENT\]\n {2}See ktrace follow --help\n$/,
    ],
    [['follow', '-o', 'yaml'], /Allowed choices are text, wide, json/],
    [
      ['follow', '-c', '0'],
      /^ktrace: Expected a whole number of at least 1 for -c, got "0" \[KTRACE_E_ARGUMENT\]\n {2}See ktrace follow --help\n$/,
    ],
    [['follow', '--for', 'soon'], /Expected a duration such as 500ms, 10s, 2m or 1h for --for, got "soon"/],
    [
      ['follow', 'frontend'],
      /^ktrace: Expected KIND\/NAME, got "frontend" \[KTRACE_E_KIND_MISSING\]\n {2}hint: For a pod write pod\/frontend\.\n {2}See ktrace follow --help\n$/,
    ],
    [
      ['follow', 'pod/a', 'tcp', 'port', 'x'],
      /^ktrace: Expected a port, got "x".*\[KTRACE_E_FILTER\]\n {2}tcp port x\n {11}\^\n/,
    ],
    [['follow', 'pod/a', 'vlan', '5'], /got "vlan": frames are not what.*\[KTRACE_E_FILTER\]\n {2}vlan 5\n {2}\^\n/],
    [
      ['dump', 'incident/web'],
      /^ktrace: Expected an ID as ktrace dump --incidents lists it for incident\/ID, got "incident\/web"/,
    ],
    [['dump', '--since', '1x'], /^ktrace: Expected a time such as \S+, or a duration such as 20m for --since, got "1x"/],
    [['dump', '--until', '2026-13-01'], /Expected a time such as \S+, or a duration such as 20m for --until/],
    [['dump', '--incidents', 'tcp'], /Expected targets without a filter for --incidents, got "tcp"/],
    [['dump', '--incidents', 'incident/00000000'], /Expected no incident beside it for --incidents/],
    [['dump', '--incidents', '-w', '/nowhere/x'], /Expected an incident to write for -w/],
    [['dump', '--incidents', '-o', 'pcapng'], /Expected text or json with --incidents for -o/],
    [['dump', '--incidents', '-o', 'html'], /Expected text or json with --incidents for -o/],
    [['follow', '-o', 'html'], /^ktrace: .*a follow has no end: use ktrace dump … -o html, or ktrace read FILE -o html\./],
    [['follow', '-o', 'xml'], /^ktrace: .*Allowed choices are text, wide, json, pcapng\./],
    [['dump', '--services', 'tcp'], /Expected targets without a filter for --services, got "tcp"/],
    [['dump', '--services', '--incidents'], /Expected no --incidents beside it for --services/],
    [['dump', '--services', '-w', '/nowhere/x'], /Expected a dump to write, which holds Services anyway for -w/],
    [['dump', '--services', '-o', 'pcapng'], /Expected text or json with --services for -o/],
    [['dump', '--services', '-o', 'html'], /Expected text or json with --services for -o/],
    [['read', '/nowhere/x', '--services', '-o', 'html'], /Expected text or json with --services for -o/],
    [['read', '/nowhere/x', '--services', 'tcp'], /Expected no filter beside it for --services, got "tcp"/],
    [
      ['lab', 'up', '--nam', 'x'],
      /^ktrace: Unknown option '--nam'.*\n {2}hint: Did you mean --name\?\n {2}See ktrace lab up --help\n$/,
    ],
    [['follow', '--local', '--as', 'jane'], /^ktrace: Expected no --local beside it for --as, got "jane" \[/],
    [['grant'], /^ktrace: Expected either a namespace, or --admin for everything \[/],
    [['agent', '--ring-bytes', '5000'], /Expected a power of two for --ring-bytes/],
    [['gate', '--port', 'x'], /--port/],
  ];
  await Promise.all(
    cases.map(async ([argv, text]) => {
      const { code, stdout, stderr } = await ktrace(argv);
      assert.equal(code, 2, stderr);
      assert.match(stderr, text);
      // One form for all, whoever found the mistake.
      assert.match(stderr, /^ktrace: .* \[KTRACE_E_[A-Z_]+\]\n[\s\S]* {2}See ktrace [a-z ]*--help\n$/);
      assert.equal(stdout, '');
    }),
  );
});

test('the help has a user’s commands first, and names what is read of the environment', async () => {
  const { stdout } = await ktrace(['--help']);
  const groups = [...stdout.matchAll(/^(\S.*):$/gm)].map(([, group]) => group);
  assert.deepEqual(groups, [
    'Options',
    'Packets',
    'A cluster with ktrace, and who may follow in it',
    'Without a cluster',
    'Run by Kubernetes',
    'Others',
    'Environment',
  ]);
  const root = join(import.meta.dirname, '../../src');
  const read = ['cli', 'client', 'lab'].flatMap((room) =>
    readdirSync(join(root, room), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .flatMap(({ parentPath, name }) => [...readFileSync(join(parentPath, name), 'utf8').matchAll(/\benv\['([A-Z_]+)'\]/g)])
      .map(([, name]) => name as string),
  );
  // The system's, the launcher's, and the agent's own.
  const others = ['PATH', 'TERM', 'KUBERNETES_SERVICE_HOST', 'KTRACE_CALLED', 'KTRACE_NODE'];
  const named = [...new Set(read)].filter((name) => !others.includes(name));
  assert.ok(named.length >= 5, named.join());
  for (const name of named) assert.match(stdout, new RegExp(`^  ${name}\\b`, 'm'));
});

test('without any kubeconfig, or with a broken one, the error says where was looked', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-cli-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'config');
  const none = await ktrace(['follow']);
  assert.equal(none.code, 1);
  assert.match(none.stderr, /There is no kubeconfig.*KTRACE_E_KUBECONFIG\]\n {2}hint: .*ktrace lab up/);
  for (const text of [
    '{',
    'just words',
    'clusters: []',
    '{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"b","user":"c"}}]}',
  ]) {
    writeFileSync(file, text);
    for (const env of [{ KUBECONFIG: file }, {}]) {
      const { code, stderr } = await ktrace('KUBECONFIG' in env ? ['follow'] : ['follow', '--kubeconfig', file], env);
      assert.equal(code, 1, text);
      assert.match(stderr, /^ktrace: The kubeconfig .*\[KTRACE_E_KUBECONFIG\]\n/, text);
      assert.doesNotMatch(stderr, /\n {4}at /);
    }
  }
});

test('a stack is told only when it is asked for', async () => {
  const { stderr } = await ktrace(['follow', 'frontend'], { KTRACE_DEBUG: '1' });
  assert.match(stderr, /\n {4}at /);
});

test('a launcher on an older Node hands over to the packaged one, with signals and exit code', async (t) => {
  const older = process.env['KTRACE_TEST_OLD_NODE'] ?? '/usr/bin/node';
  const version = await new Promise<string>((resolve) => {
    const child = spawn(older, ['--version']);
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    child.on('error', () => resolve(''));
    child.on('close', () => resolve(text));
  });
  if (!/^v(1\d|20|21)\./.test(version)) {
    t.skip(`no older Node at ${older}`);
    return;
  }
  const child = spawn(older, [KTRACE, 'follow', 'frontend'], { env: { PATH: process.env['PATH'] ?? '', HOME: '/nowhere' } });
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(code, 2);
});
