import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { Writable } from 'node:stream';
import { describe, it, type TestContext } from 'node:test';
import { WebSocketServer } from 'ws';
import type { Asked } from '../../../src/client/dump/dump-nodes.ts';
import { endpointOwners, NamedServices, tellServices } from '../../../src/client/dump/services.ts';
import { askRecorded, type NodeAccess } from '../../../src/client/wire/node-question.ts';
import type { RecordedService } from '../../../src/event/service.ts';
import type { Target } from '../../../src/event/target.ts';
import { SUBPROTOCOL } from '../../../src/protocol/constants.ts';
import type { AgentMessage } from '../../../src/protocol/messages.ts';
import { parseClientMessage } from '../../../src/protocol/parse.ts';
import { KtraceError, messageOf } from '../../../src/util/errors.ts';
import { flow, pod } from '../events.ts';

const AT_MS = Date.UTC(2026, 10, 22, 3, 0, 0);
const PORTS = [{ name: 'http', proto: 'tcp', port: 8080 }];
const WEB: Target = { kind: 'service', namespace: 'shop', name: 'web' };
const POD = { namespace: 'shop', name: 'web-1', uid: 'u1' };
const RECORDED = {
  type: 'recorded',
  fromMs: 0,
  toMs: AT_MS * 2,
  pods: [],
  known: [],
  gaps: [],
  damaged: [],
} satisfies AgentMessage;

/** shop/web as it changed its address after a minute, with one endpoint that went and one that stays. */
const web = (): RecordedService => ({
  ...{ namespace: 'shop', name: 'web' },
  states: [
    {
      ...{ uid: 's1', type: 'ClusterIP', ips: ['10.96.0.1'] },
      ports: [{ name: 'http', proto: 'tcp', port: 80 }],
      fromMs: AT_MS,
      toMs: AT_MS + 60_000,
    },
    {
      ...{ uid: 's1', type: 'LoadBalancer', ips: ['10.96.0.2', 'fd00::2'], balancerIps: ['192.0.2.1'] },
      ports: [{ name: '', proto: 'udp', port: 53, nodePort: 30053 }],
      fromMs: AT_MS + 60_000,
    },
  ],
  endpoints: [
    { ip: '10.0.0.1', node: 'host1', pod: POD, ports: PORTS, fromMs: AT_MS, toMs: AT_MS + 30_000 },
    { ip: 'fd00:1::2', node: 'host2', ready: false, ports: PORTS, fromMs: AT_MS + 30_000 },
  ],
});

function asked(node: string, more: Partial<NonNullable<Asked['answer']>>): Asked {
  return { access: { node } as Asked['access'], error: undefined, answer: { ...RECORDED, ...more } };
}

function told(nodes: Asked[], targets: Target[] = [{ kind: 'all' }], options: Partial<Parameters<typeof tellServices>[2]> = {}) {
  const sink = () => {
    const lines: string[] = [];
    const write = (chunk: Buffer, _: string, done: () => void): void => {
      lines.push(String(chunk));
      done();
    };
    return { lines, stream: new Writable({ write }) };
  };
  const [stdout, stderr] = [sink(), sink()];
  const recordings = { asked: nodes, answers: nodes.flatMap(({ answer }) => answer ?? []) };
  const all = { sinceMs: 0, untilMs: AT_MS * 2, output: 'text', strict: true } as const;
  const code = tellServices(targets, recordings, { ...all, ...options }, { stdout: stdout.stream, stderr: stderr.stream });
  return { code, stdout: stdout.lines.join(''), stderr: stderr.lines.join('') };
}

describe('Services of all nodes’ recordings', () => {
  it('are told as text, each with what it was in turn and its endpoints', () => {
    const { code, stdout, stderr } = told([asked('host1', { services: [web()] })]);
    assert.equal(code, 0);
    assert.equal(
      stdout,
      'shop/web  ClusterIP  10.96.0.1  http 80/tcp  from 2026-11-22T03:00:00.000Z to 2026-11-22T03:01:00.000Z\n' +
        'shop/web  LoadBalancer  10.96.0.2, fd00::2  load balancer 192.0.2.1  53/udp (node port 30053)  from 2026-11-22T03:01:00.000Z\n' +
        '  10.0.0.1:8080  shop/web-1  host1  from 2026-11-22T03:00:00.000Z to 2026-11-22T03:00:30.000Z\n' +
        '  [fd00:1::2]:8080  host2  not ready  from 2026-11-22T03:00:30.000Z\n',
    );
    assert.equal(stderr, 'ktrace: 1 Service\n');
  });

  it('are told as JSON, a line each, of several nodes as one, from the first that saw it to the last', () => {
    const late = web();
    late.states = [{ ...(late.states[1] as RecordedService['states'][0]), fromMs: AT_MS + 61_000, toMs: AT_MS + 90_000 }];
    late.endpoints = late.endpoints.map((one) => ({
      ...one,
      fromMs: one.fromMs + 1000,
      ...(one.toMs && { toMs: one.toMs + 1000 }),
    }));
    const { stdout } = told([asked('host2', { services: [late] }), asked('host1', { services: [web()] })], undefined, {
      output: 'json',
    });
    const service = JSON.parse(stdout) as { nodes: string[]; states: { from: string; to?: string }[]; endpoints: object[] };
    assert.deepEqual(service.nodes, ['host1', 'host2']);
    assert.deepEqual(
      service.states.map(({ from, to }) => [from, to]),
      [
        ['2026-11-22T03:00:00.000Z', '2026-11-22T03:01:00.000Z'],
        ['2026-11-22T03:01:00.000Z', undefined],
      ],
    );
    assert.deepEqual(service.endpoints, [
      { ip: '10.0.0.1', node: 'host1', pod: POD, ports: PORTS, from: '2026-11-22T03:00:00.000Z', to: '2026-11-22T03:00:31.000Z' },
      { ip: 'fd00:1::2', node: 'host2', ready: false, ports: PORTS, from: '2026-11-22T03:00:30.000Z' },
    ]);
  });

  it('are missing where a node is silent, older, or had more to tell: it is told, and --strict ends with 5', () => {
    const error = new KtraceError('KTRACE_E_STALLED', 'The agent of node host3 did not answer');
    const silent: Asked = { access: { node: 'host3' } as Asked['access'], answer: undefined, error };
    const cut = asked('host4', { services: [], servicesCut: 7 });
    const { code, stderr } = told([asked('host1', { services: [web()] }), asked('host2', {}), silent, cut]);
    assert.equal(code, 5);
    assert.match(stderr, /host2: its agent is of an older version/);
    assert.match(stderr, /host3: .*; what it recorded is missing \[KTRACE_N_AGENT_DOWN\]/);
    assert.match(stderr, /host4: 7 more Services than fit/);
    assert.doesNotMatch(stderr, /host1/);
  });

  it('that nobody recorded are an error where they are asked for by name, and so is a time of which nothing is recorded', () => {
    const nodes = [asked('host1', { services: [] })];
    assert.throws(() => told(nodes, [WEB]), { code: 'KTRACE_E_NOT_RECORDED', message: /shop\/web/ });
    assert.equal(told(nodes, [{ kind: 'namespace', name: 'shop' }]).stderr, 'ktrace: 0 Services\n');
    assert.throws(() => told(nodes, [WEB], { sinceMs: AT_MS * 3, untilMs: AT_MS * 4 }), { code: 'KTRACE_E_NOT_RECORDED' });
  });

  it('with words from outside stay on their line', () => {
    const evil = { ...web(), name: 'a\u001b[2J\nb' };
    const { stdout } = told([asked('host1', { services: [evil] })]);
    assert.ok(!stdout.includes('\u001b') && stdout.split('\n').length === 5);
  });

  it('that are targets make their endpoints’ records theirs, each for its time', () => {
    const other = { ...web(), name: 'other' };
    const recordings = { asked: [asked('host1', { services: [web(), other] }), asked('host2', { services: [web()] })] };
    assert.deepEqual(endpointOwners(recordings, [WEB]), [{ ip: '10.0.0.1', uid: 'u1', fromMs: AT_MS, toMs: AT_MS + 30_000 }]);
    assert.deepEqual(endpointOwners(recordings, [{ kind: 'namespace', name: 'shop' }]), []);
  });
});

/** An agent that takes messages as an agent does: an older one refuses what it does not know. */
async function agent(t: TestContext, isOlder: boolean): Promise<{ access: NodeAccess; questions: unknown[] }> {
  const http = createServer();
  const server = new WebSocketServer({ server: http, handleProtocols: () => SUBPROTOCOL });
  const questions: unknown[] = [];
  server.on('connection', (socket) => {
    const say = (message: AgentMessage) => socket.send(JSON.stringify(message));
    say({ type: 'hello', node: 'host1', instance: 'i', version: '0', clock: '1' });
    socket.on('message', (data) => {
      const message = JSON.parse(String(data)) as object;
      questions.push(message);
      try {
        parseClientMessage(JSON.stringify(isOlder && 'services' in message ? { ...message, notKnown: 1 } : message));
        say({ ...RECORDED, ...('services' in message ? { services: [web()], servicesCut: 0 } : {}) });
      } catch (error) {
        say({ type: 'error', code: (error as KtraceError).code, message: messageOf(error) });
        socket.close();
      }
    });
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of server.clients) socket.terminate();
    http.close();
  });
  const dial = () => Promise.resolve(connect((http.address() as AddressInfo).port, '127.0.0.1'));
  return { access: { node: 'host1', dial, tokens: () => [], interrupt: new AbortController().signal }, questions };
}

describe('the question for Services', () => {
  it('is put without them to an agent of an older version, which refuses it', async (t) => {
    const { access, questions } = await agent(t, true);
    const answer = await askRecorded(access, [WEB], { sinceMs: 1, untilMs: 2 });
    assert.equal(answer.services, undefined);
    const plain = { type: 'recorded', targets: [WEB] };
    assert.deepEqual(questions, [{ ...plain, services: { sinceMs: 1, untilMs: 2 } }, plain]);
  });

  it('is not put where nobody wants them, so that any agent takes it', async (t) => {
    const { access, questions } = await agent(t, true);
    await askRecorded(access, [WEB]);
    assert.deepEqual(questions, [{ type: 'recorded', targets: [WEB] }]);
  });

  it('is put of those that the records of a dump name, before and after translation', async (t) => {
    const { access, questions } = await agent(t, false);
    const named = new NamedServices();
    const nothing = await named.ask([{ access, answer: RECORDED, error: undefined }], { sinceMs: 1, untilMs: 2 });
    assert.deepEqual(nothing, { services: [], lacks: [] });
    const dst = { ip: '10.96.0.1', service: { namespace: 'shop', name: 'web', port: 'http' } };
    const nat = [{ kind: 'dnat', before: dst, after: { ip: '10.0.0.1' }, service: 'bank/vault:http', seenBy: 'kprobe' } as const];
    named.note({ ...flow({ id: 'f', node: 'host1', src: pod('a', '10.0.0.9', 'host1'), dst }), nat });
    const { services, lacks } = await named.ask([{ access, answer: RECORDED, error: undefined }], { sinceMs: 1, untilMs: 2 });
    assert.deepEqual(lacks, []);
    assert.deepEqual(
      services.map(({ name, nodes }) => [name, nodes]),
      [['web', ['host1']]],
    );
    const [question] = questions as { targets: Target[] }[];
    assert.deepEqual(question?.targets, [WEB, { kind: 'service', namespace: 'bank', name: 'vault' }]);
  });

  it('says what a dump’s file lacks: a node that does not answer any more, and Services beyond those that a question takes', async (t) => {
    const { access } = await agent(t, false);
    const gone: NodeAccess = { ...access, node: 'host2', dial: () => Promise.reject(new Error('connection refused')) };
    const named = new NamedServices();
    for (let at = 0; at < 257; at += 1) {
      const dst = { ip: '10.96.0.1', service: { namespace: 'shop', name: at === 0 ? 'web' : `other-${at}`, port: 'http' } };
      named.note(flow({ id: `f${at}`, node: 'host1', src: pod('a', '10.0.0.9', 'host1'), dst }));
    }
    const asked = [access, gone].map((one) => ({ access: one, answer: RECORDED, error: undefined }));
    const { services, lacks } = await named.ask(asked, { sinceMs: 1, untilMs: 2 });
    assert.deepEqual(
      services.map(({ name }) => name),
      ['web'],
    );
    assert.equal(lacks.length, 2);
    assert.match(lacks[0] ?? '', /more than 256 Services/);
    assert.match(lacks[1] ?? '', /connection refused; the Services that host2 recorded are missing/);
  });
});
