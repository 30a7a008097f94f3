import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, suite, test } from 'node:test';
import { agentSocket } from '../../../src/lab/agents.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { processesIn, removeLab } from '../../../src/lab/machine/remove.ts';
import { before } from '../../support/evidence.ts';
import { runKtrace } from '../../support/ktrace-process.ts';
import { type FakeBehaviour, fakeAgents } from '../support/fake-agents.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const OBJECT = join(ROOT, 'build', 'bpf', 'ktrace.bpf.o');
const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all', '--bounding-set=-all', '--'];
/** A checkout in a closed home directory cannot be run by anybody else. */
const CLOSED =
  spawnSync('setpriv', [...NOBODY.slice(1), 'cat', join(ROOT, 'package.json')]).status === 0
    ? false
    : 'only its owner may read this checkout';

suite('what is wrong is said clearly, with the right exit code', { skip: SKIP }, () => {
  const name = randomLabName();
  let lab: Lab;
  let directory: string;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'ktrace-e2e-'));
    chmodSync(directory, 0o755);
    lab = await labUp({ name, bound: true, agents: false, traffic: false });
  });
  after(async () => {
    await removeLab(name);
    rmSync(directory, { recursive: true, force: true });
  });

  const fileOf = (content: string): string => {
    const file = join(mkdtempSync(join(directory, 'f')), 'config');
    writeFileSync(file, content);
    return file;
  };

  /** Runs all at the same time; each must end with its code and say these words on stderr, and nothing on stdout. */
  const fail = async (
    cases: { argv: string[]; code: number; says: RegExp[]; env?: Record<string, string>; before?: readonly string[] }[],
  ) => {
    await Promise.all(
      cases.map(async ({ argv, code, says, env, before: first }) => {
        const ended = await runKtrace(argv, {
          ...(env === undefined ? {} : { env }),
          ...(first === undefined ? {} : { before: first }),
        });
        const what = `${argv.join(' ')}: ${ended.code}\n${ended.stderr}`;
        assert.equal(ended.code, code, what);
        assert.equal(ended.stdout, '', what);
        for (const words of says) assert.match(ended.stderr, words, what);
        assert.match(ended.stderr, /^ktrace: /m, what);
        assert.doesNotMatch(ended.stderr, /KTRACE_E_INTERNAL|^\s+at /m, what);
      }),
    );
  };
  const follow = (...argv: string[]): string[] => ['follow', '--kubeconfig', lab.kubeconfig, ...argv];

  test('mistakes in the words are usage errors, and near words are suggested', async () => {
    await fail([
      { argv: follow('rc/web'), code: 2, says: [/rc/, /KTRACE_E_KIND_UNKNOWN/] },
      { argv: follow('web'), code: 2, says: [/web/, /KTRACE_E_KIND_MISSING/] },
      { argv: follow('pod/web', 'tcp', 'port', 'x'), code: 2, says: [/tcp port x/, /KTRACE_E_FILTER/] },
      { argv: follow('-l', 'app=(a'), code: 2, says: [/KTRACE_E_SELECTOR/] },
      { argv: follow('--for', 'soon'), code: 2, says: [/Expected a duration .* for --for, got "soon"/, /KTRACE_E_ARGUMENT/] },
      { argv: follow('-c', '0'), code: 2, says: [/for -c, got "0"/] },
      { argv: follow('-o', 'yaml'), code: 2, says: [/yaml/] },
      { argv: follow('--pakets'), code: 2, says: [/Did you mean --packets\?/] },
    ]);
  });

  test('unknown objects are told with near names', async () => {
    await fail([
      {
        argv: follow('pod/frontend-88237173-jdfg'),
        code: 1,
        says: [/KTRACE_E_POD_UNKNOWN/, /hint: .*pod\/frontend-88237173-jdfgg/],
      },
      { argv: follow('svc/redis-mastr'), code: 1, says: [/KTRACE_E_SERVICE_UNKNOWN/, /service\/redis-master|svc\/redis-master/] },
      { argv: follow('deploy/fronted'), code: 1, says: [/KTRACE_E_DEPLOYMENT_UNKNOWN/, /frontend/] },
      { argv: follow('node/host9'), code: 1, says: [/KTRACE_E_NODE_UNKNOWN/, /host/] },
      { argv: follow('ns/kube-sistem'), code: 1, says: [/KTRACE_E_NAMESPACE_UNKNOWN/, /kube-system/] },
      { argv: follow('-n', 'defalt', 'pod/web'), code: 1, says: [/KTRACE_E_NAMESPACE_UNKNOWN/, /default/] },
      { argv: follow('--context', 'ktrace-lap'), code: 1, says: [/KTRACE_E_CONTEXT_UNKNOWN/, /ktrace-lab/] },
    ]);
  });

  test('a kubeconfig that cannot be used is told with the reason', async () => {
    const closed = fileOf(readFileSync(lab.kubeconfig, 'utf8').replace(/127\.0\.0\.1:\d+/, '127.0.0.1:1'));
    const at = (kubeconfig: string): string[] => ['follow', '--kubeconfig', kubeconfig];
    await fail([
      { argv: at(join(directory, 'none')), code: 1, says: [/none cannot be read: no such file/, /KTRACE_E_KUBECONFIG/] },
      { argv: at(directory), code: 1, says: [/it is a directory/, /KTRACE_E_KUBECONFIG/] },
      { argv: at(fileOf('clusters: [\n')), code: 1, says: [/is malformed/, /KTRACE_E_KUBECONFIG/] },
      { argv: at(fileOf('')), code: 1, says: [/is malformed/, /KTRACE_E_KUBECONFIG/] },
      { argv: at(closed), code: 1, says: [/KTRACE_E_API_UNREACHABLE/, /127\.0\.0\.1:1/] },
    ]);
  });

  test('a kubeconfig that only others may read is told as such', { skip: CLOSED }, async () => {
    const file = fileOf('clusters: []');
    chmodSync(file, 0o600);
    await fail([
      { argv: ['follow', '--kubeconfig', file], code: 1, says: [/permission denied/, /KTRACE_E_KUBECONFIG/], before: NOBODY },
    ]);
  });

  test('without an agent a follow ends with 3 and says where to look', async () => {
    await fail([
      { argv: follow('-A'), code: 3, says: [/KTRACE_E_/, /hint: /] },
      {
        argv: follow('-A', '--ktrace-namespace', 'default'),
        code: 3,
        says: [/There is no agent of ktrace in namespace default/, /KTRACE_E_NO_AGENT/],
      },
    ]);
  });

  for (const { behaviour, code, says } of [
    { behaviour: 'silent', code: 3, says: [/KTRACE_E_STALLED|does not answer/] },
    { behaviour: 'closing', code: 3, says: [/KTRACE_E_CONNECTION/] },
    { behaviour: 'garbage', code: 1, says: [/Expected a websocket of ktrace, got something else/, /KTRACE_E_PROTOCOL/] },
    { behaviour: 'not-json', code: 1, says: [/KTRACE_E_PROTOCOL/] },
    { behaviour: 'wrong-node', code: 1, says: [/Expected the agent of node host/, /KTRACE_E_PROTOCOL/] },
  ] satisfies { behaviour: FakeBehaviour; code: number; says: RegExp[] }[]) {
    test(`an agent behind the gates that is ${behaviour} ends a follow with ${code}`, async () => {
      const fakes = await fakeAgents(lab, behaviour);
      try {
        await fail([{ argv: follow('-A'), code, says }]);
      } finally {
        await fakes.close();
      }
    });
  }

  suite('an agent that cannot start', () => {
    const agent = (...argv: string[]): string[] => [
      ...['agent', '--node', 'host1', '--socket', agentSocket(lab.directory, 'host1')],
      ...['--kubeconfig', join(lab.directory, 'kubeconfig-agent'), '--log-level', 'silent', ...argv],
    ];
    const inNode = (): string[] => ['nsenter', `--net=/run/netns/${lab.namespace('node/host1')}`];
    const assertNothingLeft = async () => {
      assert.ok(!existsSync(agentSocket(lab.directory, 'host1')));
      assert.doesNotMatch(await lab.exec('host1', ['bpftool', 'net', 'show']), /ktrace/);
      assert.deepEqual(processesIn(lab.namespace('node/host1')), []);
    };

    before(() => mkdirSync(dirname(agentSocket(lab.directory, 'host1')), { recursive: true }));

    test('an object file of another layout, none, or none at all is told', async () => {
      const other = join(directory, 'other.bpf.o');
      copyFileSync(OBJECT, other);
      withOtherLayout(other);
      await fail([
        { argv: agent('--object', other), code: 1, says: [/KTRACE_E_LAYOUT/, /other\.bpf\.o/, /hint: /], before: inNode() },
        { argv: agent('--object', fileOf('not an object')), code: 1, says: [/KTRACE_E_/, /config/], before: inNode() },
        { argv: agent('--object', join(directory, 'none.o')), code: 1, says: [/none\.o/], before: inNode() },
      ]);
      await assertNothingLeft();
    });

    test('a kernel without type information is told', async () => {
      await fail([
        {
          argv: agent(),
          code: 1,
          says: [/KTRACE_E_NO_BTF/, /CONFIG_DEBUG_INFO_BTF/],
          before: inNode(),
          env: { KTRACE_BTF: '/nonexistent' },
        },
      ]);
      await assertNothingLeft();
    });

    test('without capabilities the agent says that it needs them', async () => {
      const powerless = [...inNode(), 'setpriv', '--inh-caps=-all', '--bounding-set=-all', '--'];
      await fail([{ argv: agent(), code: 1, says: [/KTRACE_E_NOT_ROOT/, /hint: .*(root|CAP_|capabilit)/], before: powerless }]);
      await assertNothingLeft();
    });

    test('a user without rights can neither run an agent nor bring up a lab', { skip: CLOSED }, async () => {
      const other = randomLabName();
      await fail([
        { argv: agent(), code: 1, says: [/KTRACE_E_NOT_ROOT/], before: [...inNode(), ...NOBODY] },
        { argv: ['lab', 'up', '--name', other], code: 1, says: [/KTRACE_E_LAB_ROOT/, /root/], before: NOBODY },
      ]);
      assert.ok(!existsSync(join(dirname(lab.directory), other)));
      await assertNothingLeft();
    });

    test('a wrong setting is told by its flag and by its variable', async () => {
      await fail([
        { argv: agent('--ring-bytes', '5000'), code: 2, says: [/--ring-bytes/, /power of two/], before: inNode() },
        { argv: agent('--attach', 'hope'), code: 2, says: [/--attach/, /tcx/], before: inNode() },
        { argv: agent(), code: 2, says: [/KTRACE_MAX_CLIENTS/], before: inNode(), env: { KTRACE_MAX_CLIENTS: 'many' } },
        { argv: ['agent', '--socket', 'relative.sock'], code: 2, says: [/--socket/], before: inNode() },
        { argv: [...agent(), '--kubeconfig', join(directory, 'none')], code: 1, says: [/KTRACE_E_KUBECONFIG/], before: inNode() },
      ]);
      await assertNothingLeft();
    });
  });
});

/** Changes `cfg_layout_version` in an object file: its place is found in the symbol table. */
function withOtherLayout(file: string): void {
  const run = (program: string, ...argv: string[]) => spawnSync(program, argv, { encoding: 'utf8' }).stdout;
  const symbol = /^\s*\d+: ([0-9a-f]+) +4 OBJECT .* (\d+) cfg_layout_version$/m.exec(run('readelf', '-sW', file));
  const section = new RegExp(`^\\s*\\[ *${symbol?.[2]}\\] \\S+ +\\S+ +[0-9a-f]+ ([0-9a-f]+) `, 'm').exec(
    run('readelf', '-SW', file),
  );
  assert.ok(symbol?.[1] !== undefined && section?.[1] !== undefined, 'the object has a layout version');
  const bytes = readFileSync(file);
  bytes.writeUInt32LE(4711, Number.parseInt(symbol[1], 16) + Number.parseInt(section[1], 16));
  writeFileSync(file, bytes);
}
