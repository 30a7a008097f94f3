import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { text as readAll } from 'node:stream/consumers';
import { after, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AUDIENCE } from '../../../src/access/scope.ts';
import type { NodeReport } from '../../../src/event/node-report.ts';
import type { RecordedService } from '../../../src/event/service.ts';
import type { Target } from '../../../src/event/target.ts';
import type { Endpoint, FlowEvent, KtraceEvent, PacketEvent } from '../../../src/event/types.ts';
import { agentSocket } from '../../../src/lab/agents.ts';
import { API_AUDIENCE } from '../../../src/lab/api/auth/access.ts';
import { signAccountToken } from '../../../src/lab/api/auth/account-tokens.ts';
import { callApi } from '../../../src/lab/client/api-client.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { readTokens } from '../../../src/lab/machine/tokens.ts';
import type { ApiObject } from '../../../src/lab/plan/types.ts';
import { STREAM_PATH } from '../../../src/protocol/constants.ts';
import { StreamClient, unixUrl } from '../../agent/serve/stream-client.ts';
import { capability } from '../../support/capability.ts';
import { before } from '../../support/evidence.ts';
import { runKtrace } from '../../support/ktrace-process.ts';
import { until } from '../../support/until.ts';
import { startGate } from '../support/gate-process.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

const FOLLOW = fileURLToPath(new URL('../../../docs/follow.py', import.meta.url));
/** Whose packages Debian's are, whatever else is called so. */
const PYTHON = '/usr/bin/python3';
const NODE = 'host1';
/** By default 30 s. */
const RECHECK_MS = 3000;

/** What is asked for: pods of namespace A are the guestbook's, the one of B is the DNS server. */
const TARGETS: Record<string, Target> = {
  'a pod in A': { kind: 'pod', namespace: 'default', name: 'frontend-88237173-jdfgg' },
  'the pods of B behind their Service': { kind: 'service', namespace: 'kube-system', name: 'kube-dns' },
  'a node': { kind: 'node', name: NODE },
  'all namespaces': { kind: 'all' },
};

suite('who may see what of a lab', { skip: SKIP }, () => {
  const name = randomLabName();
  let lab: Lab;
  const tokens: Record<string, string | undefined> = {};

  before(async () => {
    lab = await labUp({ name, bound: true, records: true });
    await lab.restartAgent(NODE, ['--recheck-ms', String(RECHECK_MS)]);
    assert.equal(await ktrace('grant', 'kube-system', '--user', 'lab-nobody', '--kubeconfig', lab.kubeconfig), 0);
    const key = readTokens(lab.directory).signingKey;
    const sign = async (namespace: string, account: string, audience = AUDIENCE, seconds = 600): Promise<string> => {
      const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}`;
      return signAccountToken(key, await callApi<ApiObject>(lab.directory, 'GET', path), [audience], seconds).token;
    };
    tokens['nobody'] = undefined;
    tokens['wrong audience'] = await sign('default', 'ktrace-viewer', API_AUDIENCE);
    tokens['the API token of the administrator'] = readTokens(lab.directory).admin;
    tokens['expired'] = await sign('default', 'ktrace-viewer', AUDIENCE, -1);
    tokens['viewer of A'] = await sign('default', 'ktrace-viewer');
    tokens['viewer of B'] = await sign('kube-system', 'ktrace-viewer');
    tokens['administrator'] = await sign('ktrace', 'ktrace-admin');
  });
  after(() => removeLab(name));

  /** What the agent of a node answers to a token and a target: an error, or the packets and flows that come. */
  async function ask(token: string | undefined, target: Target): Promise<{ error: string } | { client: StreamClient }> {
    const client = new StreamClient(unixUrl(agentSocket(lab.directory, NODE)), { autoCredit: true });
    await client.hello();
    if (token !== undefined) client.say({ type: 'auth', token });
    client.say({ type: 'subscribe', targets: [target] });
    await client.until(() => client.all('subscribed').length > 0 || client.closed !== undefined);
    const [error] = client.all('error');
    if (error !== undefined) {
      await client.until(() => client.closed !== undefined);
      const told = client.messages.filter(({ type }) => !['hello', 'clock', 'error'].includes(type));
      assert.deepEqual(told, [], 'nothing else is told');
      return { error: error.code };
    }
    client.say({ type: 'credit', events: 10_000 });
    return { client };
  }

  const LETS_IN: Record<string, string[]> = {
    'viewer of A': ['a pod in A'],
    'viewer of B': ['the pods of B behind their Service'],
    administrator: Object.keys(TARGETS),
  };
  const WHO = [
    'nobody',
    'wrong audience',
    'the API token of the administrator',
    'expired',
    'viewer of A',
    'viewer of B',
    'administrator',
  ];
  for (const who of WHO) {
    for (const [what, target] of Object.entries(TARGETS)) {
      if (LETS_IN[who]?.includes(what)) continue;
      test(`${who} is denied ${what}, and told nothing`, async () => {
        assert.deepEqual(await ask(tokens[who], target), { error: 'KTRACE_E_NOT_AUTHORIZED' });
      });
    }
  }

  /** What the agent of a node says to a token that asks for a recording. */
  async function dump(
    token: string | undefined,
    target: Target,
  ): Promise<{ errors: string[]; events: KtraceEvent[]; pods: string[]; known: string[]; services: RecordedService[] }> {
    const untilMs = Date.now();
    // Each on a connection of its own: the first refusal ends it.
    const [asked, read] = await Promise.all([
      answered(token, 'recorded', { type: 'recorded', targets: [target], services: { sinceMs: 0, untilMs } }),
      answered(token, 'dumped', { type: 'dump', targets: [target], owners: [], sinceMs: untilMs - 600_000, untilMs }),
    ]);
    const [recorded] = asked.all('recorded');
    return {
      errors: [asked, read].flatMap((client) => client.all('error').map(({ code }) => code)),
      events: read.all('records').flatMap(({ events }) => events),
      pods: (recorded?.pods ?? []).map(({ namespace, name }) => `${namespace}/${name}`),
      known: recorded?.known ?? [],
      services: recorded?.services ?? [],
    };
  }

  /** Until the answer of this type, or a refusal. */
  async function answered(token: string | undefined, answer: 'recorded' | 'dumped', question: object): Promise<StreamClient> {
    const client = new StreamClient(unixUrl(agentSocket(lab.directory, NODE)));
    await client.hello();
    if (token !== undefined) client.say({ type: 'auth', token });
    client.say(question);
    if (answer === 'dumped') client.say({ type: 'credit', events: 100_000 });
    await client.until(() => client.all(answer).length > 0 || client.closed !== undefined);
    await client.leave();
    return client;
  }

  for (const who of WHO) {
    for (const [what, target] of Object.entries(TARGETS)) {
      const isLetIn = LETS_IN[who]?.includes(what) === true;
      test(`${who} ${isLetIn ? 'may dump' : 'is denied the dump of'} ${what}`, async () => {
        const { errors, events, pods, known, services } = await dump(tokens[who], target);
        assert.deepEqual(errors, isLetIn ? [] : ['KTRACE_E_NOT_AUTHORIZED', 'KTRACE_E_NOT_AUTHORIZED']);
        if (!isLetIn) assert.deepEqual([events, pods, known, services], [[], [], [], []]);
      });
    }
  }

  test('of what was recorded the viewer of A sees A by name, and of B addresses alone, as live', async () => {
    await until(
      'records of the pod',
      async () => (await dump(tokens['viewer of A'], TARGETS['a pod in A'] as Target)).events.length > 20,
      30_000,
    );
    const { events, known } = await dump(tokens['viewer of A'], TARGETS['a pod in A'] as Target);
    const records = recordsIn(events);
    assert.deepEqual(namespacesIn(records), ['default']);
    // Services are taken down once a second.
    const services = await until(
      'its Service',
      async () => {
        const told = (await dump(tokens['viewer of A'], TARGETS['a pod in A'] as Target)).services;
        return told.length > 0 && told;
      },
      10_000,
    );
    assert.deepEqual(
      services.map(({ name: service }) => service),
      ['frontend'],
    );
    const text = JSON.stringify([records, known, services]);
    for (const word of ['kube-dns', 'kube-system', 'coredns', 'k8s-app']) assert.ok(!text.includes(word), word);
  });

  test('the client of docs/protocol.md follows what its token may see, and is told why it may not see the rest', async (t) => {
    const isMissing = spawnSync(PYTHON, ['-c', 'import websockets']).status !== 0;
    const lacking = capability('root', isMissing && 'needs python3-websockets: apt-get install it');
    if (lacking !== false) return t.skip(lacking);
    const gate = await startGate(lab, NODE);
    t.after(() => gate.child.kill());
    const follow = (token: string | undefined): ChildProcessByStdio<null, Readable, Readable> => {
      const url = `ws://127.0.0.1:${gate.port}${STREAM_PATH}`;
      const child = spawn(PYTHON, [FOLLOW, url, token ?? '', JSON.stringify(TARGETS['a pod in A'])], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      t.after(() => child.kill());
      return child;
    };
    const seen: KtraceEvent[] = [];
    // More than its first credit lets come.
    for await (const line of createInterface({ input: follow(tokens['viewer of A']).stdout })) {
      seen.push(JSON.parse(line) as KtraceEvent);
      if (seen.length >= 150) break;
    }
    assert.ok(seen.length >= 150, `it ended after ${seen.length} events`);
    assert.deepEqual(namespacesIn(recordsIn(seen)), ['default']);
    const refused = follow(tokens['viewer of B']);
    const [said, [code]] = await Promise.all([readAll(refused.stderr), once(refused, 'close') as Promise<[number]>]);
    assert.equal(code, 1);
    assert.match(said, /^Not authorized.* \[KTRACE_E_NOT_AUTHORIZED\]$/m);
  });

  for (const who of WHO) {
    const answer = who === 'administrator' ? 'doctor' : 'error';
    test(`${who} ${answer === 'error' ? 'may not ask' : 'may ask'} how a node is`, async () => {
      const client = new StreamClient(unixUrl(agentSocket(lab.directory, NODE)));
      await client.hello();
      if (tokens[who] !== undefined) client.say({ type: 'auth', token: tokens[who] });
      client.say({ type: 'doctor' });
      await client.until(() => client.all('doctor').length > 0 || client.closed !== undefined);
      assert.deepEqual(
        [client.all('doctor').length, client.all('error').map(({ code }) => code)],
        answer === 'doctor' ? [1, []] : [0, ['KTRACE_E_NOT_AUTHORIZED']],
      );
      await client.leave();
    });
  }

  test('doctor asks every node, and each says what it has and why not the rest', async () => {
    const asked = await runKtrace(['doctor', '-o', 'json', '--kubeconfig', lab.kubeconfig]);
    assert.equal(asked.code, 0, asked.stderr);
    const reports = asked.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as NodeReport);
    assert.deepEqual(
      reports.map(({ node, works }) => [node, works]),
      [
        ['host1', true],
        ['host2', true],
        ['host3', true],
      ],
    );
    for (const { hooks, interfaces, kernel } of reports) {
      assert.ok(kernel.btf && hooks.some(({ name, state }) => name === 'tc' && state !== 'unavailable'));
      assert.ok(interfaces.some(({ name, kind }) => name === 'cni0' && kind === 'bridge'));
      for (const { state, reason } of hooks) assert.ok(state !== 'unavailable' || reason);
    }
  });

  /** Waits for records whose other end is in the other namespace too. */
  async function recordsOf(who: string, what: string): Promise<(PacketEvent | FlowEvent)[]> {
    const answer = await ask(tokens[who], TARGETS[what] as Target);
    assert.ok('client' in answer, JSON.stringify(answer));
    const { client } = answer;
    // The pods ask for names all the time: their way to the DNS server crosses the namespaces.
    await until(
      'packets to the DNS server',
      () => recordsIn(client.events).some(({ proto, dst }) => proto === 'udp' && dst.port === 53),
      20_000,
    );
    await until('packets of more kinds', () => recordsIn(client.events).length > 20);
    await client.leave();
    return recordsIn(client.events);
  }

  test('the viewer of A sees A by name, and of B addresses alone', async () => {
    const records = await recordsOf('viewer of A', 'a pod in A');
    assert.deepEqual(namespacesIn(records), ['default']);
    assert.ok(records.every((one) => endsOf(one).some((end) => ownerOf(end)?.namespace === 'default')));
    const text = JSON.stringify(records);
    for (const word of ['kube-dns', 'kube-system', 'coredns', 'k8s-app']) assert.ok(!text.includes(word), word);
    const dns = records.find(({ proto, dst }) => proto === 'udp' && dst.port === 53) as PacketEvent;
    assert.deepEqual(Object.keys(dns.dst).sort(), ['ip', 'port']);
    for (const one of dns.nat ?? []) assert.deepEqual([one.service, one.chains], [undefined, undefined]);
  });

  test('the viewer of B sees B by name, and of A addresses alone', async () => {
    const records = await recordsOf('viewer of B', 'the pods of B behind their Service');
    assert.deepEqual(namespacesIn(records), ['kube-system']);
    const text = JSON.stringify(records);
    for (const word of ['frontend', 'redis', 'guestbook']) assert.ok(!text.includes(word), word);
    assert.ok(
      records.some(({ nat }) =>
        nat?.some(({ service, chains }) => service === 'kube-system/kube-dns:dns' && chains !== undefined),
      ),
    );
  });

  test('the administrator sees both ends, whatever they follow', async () => {
    for (const what of Object.keys(TARGETS)) {
      assert.deepEqual(namespacesIn(await recordsOf('administrator', what)), ['default', 'kube-system']);
    }
  });

  test('two tokens together see what each of them does, and nothing is withheld between them', async () => {
    const client = new StreamClient(unixUrl(agentSocket(lab.directory, NODE)), { autoCredit: true });
    await client.hello();
    for (const who of ['viewer of A', 'viewer of B']) client.say({ type: 'auth', token: tokens[who] });
    await client.subscribe({
      targets: [TARGETS['a pod in A'] as Target, TARGETS['the pods of B behind their Service'] as Target],
    });
    client.say({ type: 'credit', events: 10_000 });
    await until('both namespaces', () => namespacesIn(recordsIn(client.events)).length === 2);
    await client.leave();
  });

  test('the command line ends with 4 and the line that would help, for who has no right and who has another', async () => {
    const cases: [context: string, argv: string[], user: RegExp][] = [
      ['ktrace-lab-viewer', ['-n', 'kube-system'], /ktrace grant kube-system --user lab-viewer$/m],
      ['ktrace-lab-viewer', ['-A'], /ktrace grant --admin --user lab-viewer$/m],
      ['ktrace-lab-nobody', ['pod/frontend-88237173-jdfgg'], /ktrace grant default --user lab-nobody$/m],
    ];
    for (const [context, argv, hint] of cases) {
      const { code, stderr, stdout } = await follow(lab, context, argv);
      assert.equal(code, 4, stderr);
      assert.match(stderr, /KTRACE_E_NOT_AUTHORIZED/);
      assert.match(stderr, hint);
      assert.equal(stdout, '');
    }
  });

  test('the command line follows with what was granted, and shows nothing else', async () => {
    const { code, stdout, stderr } = await follow(lab, 'ktrace-lab-viewer', ['-c', '30']);
    assert.equal(code, 0, stderr);
    const records = recordsIn(
      stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as KtraceEvent),
    );
    assert.ok(records.length >= 30);
    assert.deepEqual(namespacesIn(records), ['default']);
  });

  test('a grant lets in at once, a revoke keeps out, and no token is in any log', async () => {
    const asNobody = () => follow(lab, 'ktrace-lab-nobody', ['pod/frontend-88237173-jdfgg', '-c', '1']);
    const change = (what: string) => ktrace(what, 'default', '--user', 'lab-nobody', '--kubeconfig', lab.kubeconfig);
    assert.equal(await change('grant'), 0);
    await until('it is let in', async () => (await asNobody()).code === 0);
    assert.equal(await change('revoke'), 0);
    const after = await asNobody();
    assert.equal(after.code, 4, after.stderr);
    const log = await lab.exec(`node/${NODE}`, ['cat', `${lab.directory}/log/agent-${NODE}.log`]);
    for (const token of Object.values(tokens)) if (token !== undefined) assert.ok(!log.includes(token));
  });

  test('an account that is deleted while somebody streams as it ends the stream when its right is asked for again', async () => {
    const answer = await ask(tokens['viewer of B'], TARGETS['the pods of B behind their Service'] as Target);
    assert.ok('client' in answer);
    const { client } = answer;
    await callApi(lab.directory, 'DELETE', '/api/v1/namespaces/kube-system/serviceaccounts/ktrace-viewer');
    await until('the stream ends', () => client.closed !== undefined);
    assert.equal(client.all('error')[0]?.code, 'KTRACE_E_NOT_AUTHORIZED');
  });

  test('an API server that is away lets nobody new in, and who is in stays', async () => {
    const inside = await ask(tokens['administrator'], TARGETS['all namespaces'] as Target);
    assert.ok('client' in inside);
    const { client } = inside;
    await lab.stopApi();
    try {
      // What the agent was told a moment ago it remembers.
      await until('nobody new is let in', async () => {
        const answer = await ask(tokens['administrator'], TARGETS['all namespaces'] as Target);
        if ('client' in answer) await answer.client.leave();
        return 'error' in answer && answer.error === 'KTRACE_E_AUTHORIZATION_UNAVAILABLE';
      });
      const seen = client.events.length;
      await until('events go on', () => client.events.length > seen);
      assert.equal(client.closed, undefined);
    } finally {
      await lab.startApi();
    }
    await client.leave();
  });

  test('authorization that is off is told to every follower', async () => {
    await lab.restartAgent(NODE, ['--authorization', 'off']);
    const answer = await ask(undefined, TARGETS['all namespaces'] as Target);
    assert.ok('client' in answer);
    const { client } = answer;
    await until('the notice', () =>
      client.events.some((event) => event.kind === 'notice' && event.code === 'KTRACE_N_AUTHORIZATION_OFF'),
    );
    await client.leave();
  });
});

function recordsIn(events: readonly KtraceEvent[]): (PacketEvent | FlowEvent)[] {
  return events.filter((event) => event.kind === 'packet' || event.kind === 'flow');
}

function endsOf(record: PacketEvent | FlowEvent): Endpoint[] {
  const about = record.kind === 'packet' ? record.icmp?.about : undefined;
  return [
    record.src,
    record.dst,
    ...(record.nat ?? []).flatMap(({ before, after }) => [before, after]),
    ...(about ? [about.src, about.dst] : []),
  ];
}

function ownerOf({ pod, service }: Endpoint): { namespace: string } | undefined {
  return pod ?? service;
}

function namespacesIn(records: readonly (PacketEvent | FlowEvent)[]): string[] {
  return [...new Set(records.flatMap(endsOf).flatMap((end) => ownerOf(end)?.namespace ?? []))].sort();
}

async function ktrace(...argv: string[]): Promise<number | null> {
  return (await runKtrace(argv)).code;
}

function follow(lab: Lab, context: string, argv: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return runKtrace(['follow', ...argv, '--kubeconfig', lab.kubeconfig, '--context', context, '-o', 'json', '--for', '100s']);
}
