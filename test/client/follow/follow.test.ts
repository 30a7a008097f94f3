import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { runFollow } from '../../../src/client/follow/follow.ts';
import type { FollowOptions } from '../../../src/client/follow/options.ts';
import type { KtraceEvent, PacketEvent } from '../../../src/event/types.ts';
import { parseWords, type TargetWords } from '../../../src/filter/targets.ts';
import type { KtraceError } from '../../../src/util/errors.ts';
import { summaryOf } from '../../support/summary.ts';
import { until } from '../../support/until.ts';
import { type FakeApi, gatePod, startFakeApi } from '../cluster/fake-api.ts';
import { flow, hop, packet, pod } from '../events.ts';
import { FakeAgent, rawServer } from '../wire/fake-agent.ts';

class Sink extends Writable {
  text = '';
  /** What was written at once. */
  readonly chunks: Buffer[] = [];
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk;
    this.chunks.push(chunk);
    done();
  }
}

interface Cluster {
  api: FakeApi;
  agents: FakeAgent[];
  kubeconfig: string;
}

/** An API server, and a gate and an agent for each node. */
async function cluster(t: TestContext, nodes: string[]): Promise<Cluster> {
  const api = await startFakeApi();
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-client-'));
  const kubeconfig = join(directory, 'config');
  writeFileSync(kubeconfig, JSON.stringify(configOf(api.url)));
  t.after(async () => {
    rmSync(directory, { recursive: true });
    await api.close();
  });
  const agents: FakeAgent[] = [];
  for (const node of nodes) {
    const agent = await FakeAgent.start(node);
    t.after(() => agent.close());
    agents.push(agent);
    api.objects.set(...gatePod(`gate-${node}`, node));
    api.ports.set(`gate-${node}`, agent.port);
  }
  for (const namespace of ['default', 'kube-system'])
    api.objects.set(`/api/v1/namespaces/${namespace}`, { metadata: { name: namespace } });
  for (const name of ['frontend-88237173-jdfgg', 'frontend-88237173-mzmjf']) {
    api.objects.set(`/api/v1/namespaces/default/pods/${name}`, { metadata: { name }, spec: { nodeName: 'host1' } });
  }
  return { api, agents, kubeconfig };
}

function configOf(server: string): unknown {
  return {
    'current-context': 'fake',
    clusters: [{ name: 'fake', cluster: { server } }],
    users: [{ name: 'user', user: { token: 'secret' } }],
    contexts: [{ name: 'fake', context: { cluster: 'fake', user: 'user', namespace: 'default' } }],
  };
}

type Asking = Partial<Omit<FollowOptions, 'asked'> & TargetWords>;

function run(t: TestContext, kubeconfig: string, options: Asking = {}, stdout: Sink & { isTTY?: boolean } = new Sink()) {
  const stderr = new Sink();
  const interrupt = new AbortController();
  const { words = [], selectors = [], namespaces = [], allNamespaces = false, ...others } = options;
  const follow = async (): Promise<number> =>
    runFollow(
      {
        asked: parseWords({ words, selectors, namespaces, allNamespaces }),
        kubeconfig,
        ktraceNamespace: 'ktrace',
        output: 'json',
        packets: false,
        strict: false,
        color: false,
        ...others,
      },
      {
        stdout,
        stderr,
        interrupt: interrupt.signal,
        env: {},
        findLab: () => undefined,
        command: [],
        lookUp: async () => [],
        version: '0',
      },
    );
  const done = follow();
  done.catch(() => undefined);
  t.after(async () => {
    interrupt.abort();
    await done.catch(() => undefined);
  });
  const events = (): KtraceEvent[] =>
    stdout.text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as KtraceEvent);
  const packets = (): KtraceEvent[] => events().filter(({ kind }) => kind === 'packet');
  const isFollowing = (): Promise<true> => until('it is following', () => stderr.text.includes('ktrace: following '));
  return { done, stdout, stderr, interrupt, events, packets, isFollowing };
}

const FOLLOWING = 'ktrace: following no pod yet on 1 node: host1';

/** An ICMP echo request, as the header's bytes are told. */
const ECHO = Buffer.from('45000054000040004001000000000000000000000800000000010001', 'hex').toString('base64');
/** Types of pcapng's blocks. */
const [SECTION, INTERFACE, NAMES, STATISTICS, PACKET] = [0x0a0d0d0a, 1, 4, 5, 6];

/** The blocks in each of these pieces, which are whole. */
function typesIn(chunks: readonly Buffer[]): number[][] {
  return chunks
    .filter(({ length }) => length > 0)
    .map((chunk) => {
      const types: number[] = [];
      for (let at = 0; at < chunk.length; at += chunk.readUInt32LE(at + 4)) types.push(chunk.readUInt32LE(at));
      return types;
    });
}

function ping(node: string, id: string): KtraceEvent {
  const time = `${new Date().toISOString().slice(0, -1)}000000Z`;
  const ends = { src: pod('a', '10.244.1.2', node), dst: pod('b', '10.244.1.3', node) };
  return packet({
    id,
    time,
    fingerprint: id,
    proto: 'icmp',
    verdict: 'delivered',
    ...ends,
    hops: [hop(node, 'veth1', 'in', 0), hop(node, 'veth2', 'out', 900)],
  });
}

test('a follow through port-forwards prints what the agents tell, and leaves after -c packets', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1', 'host2']);
  const { done, events, stderr, isFollowing } = run(t, kubeconfig, { words: ['pod/frontend-88237173-jdfgg'], count: 3 });
  await isFollowing();
  await until('it is told as JSON, too', () => events().length > 0);
  const following = 'following no pod yet on 2 nodes: host1, host2';
  assert.deepEqual(
    events().map((event) => event.kind === 'notice' && event.text),
    [following],
  );
  assert.equal(stderr.text, `ktrace: ${following}\n`, 'who writes JSON into a file sees at the terminal that it has begun');
  assert.deepEqual(agents[0]?.received[0], {
    type: 'subscribe',
    targets: [{ kind: 'pod', namespace: 'default', name: 'frontend-88237173-jdfgg' }],
    addresses: [],
    units: 'flows',
  });
  agents[0]?.emit(ping('host1', 'p1'), ping('host1', 'p2'));
  agents[1]?.emit(ping('host2', 'p3'), ping('host2', 'p4'));
  assert.equal(await done, 0);
  assert.equal(events().length, 4);
  assert.match(stderr.text, /\nktrace: 3 packets, 0 flows, 0 lost; 2 nodes, \d+\.\d s\nktrace: 4 records: 4 of packets\n$/);
  summaryOf(stderr.text);
});

test('a filter that reads behind the headers is warned of at the start, and what it missed is told at the end', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1']);
  const { done, stderr, interrupt, events, isFollowing } = run(t, kubeconfig, { words: ['udp[20:2] == 0x1234 or tcp[13] == 2'] });
  const agent = agents[0] as FakeAgent;
  await isFollowing();
  assert.equal(
    stderr.text,
    'ktrace: "udp[20:2] = 4660" matches nothing: it reads up to byte 42 from the IP header on at least, and the headers alone are captured; --snaplen 42 would capture them\n' +
      `${FOLLOWING}\n`,
  );
  agent.send({ type: 'undecided', packets: 7, wantsBytes: 42 });
  agent.emit({ ...(ping('host1', 'p1') as PacketEvent), judged: '1:x0', wantsBytes: 42 });
  agent.emit({ v: 1, kind: 'notice', level: 'info', code: 'KTRACE_N_TEST', text: 'the end' });
  await until('all has arrived', () => events().some((event) => event.kind === 'notice' && event.text === 'the end'));
  interrupt.abort();
  assert.equal(await done, 130);
  assert.match(
    stderr.text,
    /\nktrace: 8 packets were captured shorter than the filter reads, up to byte 42 from the IP header on, and not matched; --snaplen 42 would have decided\n$/,
  );
});

test('a snap length is asked of the agents, with the bytes where JSON is printed, and its own limit is what is warned of', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1']);
  const words = ['udp[20:2] == 0x1234 or udp[60] = 1 or udp[1480] = 1'];
  const { done, stderr, interrupt, isFollowing } = run(t, kubeconfig, { words, snapBytes: 64 });
  const agent = agents[0] as FakeAgent;
  await isFollowing();
  const [subscribe] = agent.received;
  assert.ok(subscribe?.type === 'subscribe');
  assert.deepEqual([subscribe.snapBytes, subscribe.data], [64, true]);
  const captured = 'no more than 64 bytes and the headers are captured';
  assert.deepEqual(stderr.text.trimEnd().split('\n'), [
    `ktrace: "udp[60] = 1" matches nothing: it reads up to byte 81 from the IP header on at least, and ${captured}; --snaplen 81 would capture them`,
    `ktrace: "udp[1480] = 1" matches nothing: it reads up to byte 1501 from the IP header on at least, and ${captured}; more than 1500 bytes are never captured`,
    FOLLOWING,
  ]);
  agent.send({ type: 'undecided', packets: 1, wantsBytes: 50 });
  interrupt.abort();
  await done;
  const asText = run(t, kubeconfig, { snapBytes: 1500, output: 'text' });
  await until('it asks again', () =>
    agent.received.some((message) => message.type === 'subscribe' && message.snapBytes === 1500),
  );
  assert.ok(
    agent.received.every((message) => message.type !== 'subscribe' || message.snapBytes !== 1500 || message.data === undefined),
  );
  asText.interrupt.abort();
  await asText.done;
});

test('a megabyte of events passes a port-forward whole', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1']);
  const { done, packets } = run(t, kubeconfig, { count: 4000 });
  const agent = agents[0] as FakeAgent;
  await until('it is subscribed', () => agent.credits > 0);
  for (let index = 0; index < 4000; index++) agent.emit(ping('host1', `p${index}`));
  assert.equal(await done, 0);
  assert.equal(packets().length, 4000);
});

test('an interrupt ends with the summary and 130, --for with 0', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1']);
  const first = run(t, kubeconfig);
  await until('it is subscribed', () => (agents[0] as FakeAgent).credits > 0);
  first.interrupt.abort();
  assert.equal(await first.done, 130);
  assert.deepEqual(summaryOf(first.stderr.text), { packets: 0, dropped: 0, flows: 0, lost: 0, records: 0 });
  assert.equal(await run(t, kubeconfig, { forMs: 50 }).done, 0);
});

test('--drops is a filter beside the filter; a mistake in that is shown at its place', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1']);
  for (const [words, asked] of [
    [[], 'dropped'],
    [['udp', 'or', 'icmp'], '(udp or icmp) and (dropped)'],
  ] as const) {
    const { interrupt, done, isFollowing } = run(t, kubeconfig, { words: [...words], drops: true });
    await isFollowing();
    const subscribe = agents[0]?.received.findLast(({ type }) => type === 'subscribe');
    assert.equal(subscribe?.type === 'subscribe' && subscribe.filter?.text, asked);
    interrupt.abort();
    assert.equal(await done, 130);
  }
  const wrong = run(t, kubeconfig, { words: ['pod/frontend-88237173-jdfgg', 'tcp', 'port'], drops: true });
  await assert.rejects(wrong.done, { message: /\n {2}tcp port\n {10}\^/ });
});

test('a ready file is there from when all agents follow until the end, and nobody’s file is touched', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1']);
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-ready-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const readyFile = join(directory, 'ready');
  const agent = agents[0] as FakeAgent;
  agent.answers = false;
  const { interrupt, done, isFollowing } = run(t, kubeconfig, { readyFile });
  await until('it is asked', () => agent.received.some(({ type }) => type === 'subscribe'));
  assert.equal(existsSync(readyFile), false);
  agent.send({ type: 'subscribed', session: agent.session, resumed: false, missed: 0, resolved: agent.resolvedTo });
  await isFollowing();
  await until('the file is there', () => existsSync(readyFile));
  assert.equal(readFileSync(readyFile, 'utf8'), 'following no pod yet on 1 node: host1\n');
  await assert.rejects(run(t, kubeconfig, { readyFile }).done, { code: 'KTRACE_E_ARGUMENT', exitCode: 2 });
  assert.ok(existsSync(readyFile));
  interrupt.abort();
  assert.equal(await done, 130);
  assert.deepEqual(readdirSync(directory), []);
  const nowhere = run(t, kubeconfig, { readyFile: join(directory, 'no', 'ready') });
  await assert.rejects(nowhere.done, { message: /can be written to.* for --ready-file/ });
});

for (const output of ['json', 'pcapng'] as const) {
  test(`a follow that fails on the way tells what it came to, and then why (${output})`, async (t) => {
    const { agents, kubeconfig } = await cluster(t, ['host1']);
    const { done, stdout, stderr, isFollowing } = run(t, kubeconfig, { output });
    const agent = agents[0] as FakeAgent;
    await isFollowing();
    agent.emit({ ...ping('host1', 'p1'), headers: [ECHO] } as PacketEvent);
    await until('it is told', () => stdout.chunks.length === 2);
    agent.send({ type: 'error', code: 'KTRACE_E_NOT_AUTHORIZED', message: 'not any more' });
    await assert.rejects(done, { code: 'KTRACE_E_NOT_AUTHORIZED' });
    assert.deepEqual(summaryOf(stderr.text).packets, 1);
    if (output === 'pcapng') assert.deepEqual(typesIn(stdout.chunks).at(-1), [STATISTICS]);
  });
}

test('broken port-forwards are made again; with --strict what was lost on the way is 5', async (t) => {
  const { api, agents, kubeconfig } = await cluster(t, ['host1']);
  const { done, events, packets, isFollowing } = run(t, kubeconfig, { strict: true, count: 2 });
  const agent = agents[0] as FakeAgent;
  await isFollowing();
  agent.missed = 7;
  agent.emit(ping('host1', 'p1'));
  await until('the first is told', () => packets().length === 1);
  api.cut();
  await until('it is connected again', () => agent.connections === 2 && agent.credits > 0);
  agent.emit(ping('host1', 'p2'));
  assert.equal(await done, 5);
  const kinds = events().map((event) => (event.kind === 'notice' ? event.code : event.kind));
  assert.deepEqual(kinds, ['KTRACE_N_FOLLOWING', 'packet', 'KTRACE_N_AGENT_DOWN', 'KTRACE_N_AGENT_BACK', 'lost', 'packet']);
});

test('a follow into a capture writes each packet at once, names before it, and what nodes lost at its end', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1']);
  const { done, stdout, stderr, interrupt } = run(t, kubeconfig, { output: 'pcapng' });
  const agent = agents[0] as FakeAgent;
  await until('it is subscribed', () => agent.credits > 0);
  const asked = agent.received.find(({ type }) => type === 'subscribe');
  assert.ok(asked?.type === 'subscribe' && asked.headers === true);
  // Who reads a pipe learns that it is a capture before there is a packet.
  assert.deepEqual(typesIn(stdout.chunks), [[SECTION]]);
  const told = ping('host1', 'p1') as PacketEvent;
  agent.emit({ ...told, headers: [ECHO] });
  await until('the first is written', () => stdout.chunks.length === 2);
  agent.emit({ ...ping('host1', 'p2'), headers: [ECHO] } as PacketEvent);
  await until('the second is written', () => stdout.chunks.length === 3);
  // Neither what is told again, nor a conversation, nor a packet without bytes.
  agent.emit({ ...told, headers: [ECHO], amends: true }, ping('host1', 'p3'));
  agent.emit(flow({ id: 'f1', node: 'host1', src: pod('a', '10.244.1.2', 'host1'), dst: pod('b', '10.244.1.3', 'host1') }));
  agent.emit({ v: 1, kind: 'lost', node: 'host1', stage: 'pod-rate', count: 7, from: '', to: '' });
  await until('the loss is told', () => stderr.text.includes('lost 7'));
  interrupt.abort();
  assert.equal(await done, 130);
  assert.deepEqual(typesIn(stdout.chunks), [[SECTION], [NAMES, INTERFACE, PACKET], [PACKET], [STATISTICS]]);
  const [, first, , last] = stdout.chunks;
  for (const text of ['a.default', 'b.default', 'host1/veth1', 'delivered']) assert.ok(first?.includes(text), text);
  // Of the statistics: the number of the interface, 8 bytes of time, one option.
  assert.equal(last?.readBigUInt64LE(24), 7n);
  assert.match(stderr.text, /ktrace: 1 packet is not in the capture: no bytes are known\n/);
  assert.match(stderr.text, /ktrace: 2 packets, 0 flows, 7 lost \(pod-rate 7\); 1 node, .* s\n/);
  assert.equal(summaryOf(stderr.text).records, 6);
});

test('a follow into a capture leaves after -c packets of it, and quietly when its reader does', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1']);
  const agent = agents[0] as FakeAgent;
  const counted = run(t, kubeconfig, { output: 'pcapng', count: 2 });
  await until('it is subscribed', () => agent.credits > 0);
  agent.emit(ping('host1', 'p1'));
  for (const id of ['p2', 'p3', 'p4']) agent.emit({ ...ping('host1', id), headers: [ECHO] } as PacketEvent);
  assert.equal(await counted.done, 0);
  assert.equal(
    typesIn(counted.stdout.chunks)
      .flat()
      .filter((type) => type === PACKET).length,
    2,
  );
  const left = run(t, kubeconfig, { output: 'pcapng' });
  await left.isFollowing();
  left.stdout.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
  assert.equal(await left.done, 0);
  assert.equal(left.stderr.text, `${FOLLOWING}\n`);
});

test('a follow into a capture is refused where it would go to a terminal, before a cluster is asked', async (t) => {
  const stdout = Object.assign(new Sink(), { isTTY: true });
  const { done } = run(t, '/nowhere/config', { output: 'pcapng' }, stdout);
  await assert.rejects(done, {
    code: 'KTRACE_E_ARGUMENT',
    exitCode: 2,
    message: /a file or a pipe for -o pcapng, got "?a terminal/,
  });
});

test('a reader that closes its end ends the follow quietly', async (t) => {
  const { kubeconfig } = await cluster(t, ['host1']);
  const { done, stdout, stderr, isFollowing } = run(t, kubeconfig);
  await isFollowing();
  stdout.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
  assert.equal(await done, 0);
  assert.equal(stderr.text, `${FOLLOWING}\n`);
});

test('mistakes and missing things are clear errors with their exit codes', async (t) => {
  const { api, kubeconfig } = await cluster(t, ['host1']);
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-wrong-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const wrong = join(folder, 'filter');
  writeFileSync(wrong, 'tcp\nport x80\n');
  const cases: [Asking, string, number, RegExp][] = [
    [{ words: ['pod/frontend-88237173-jdfg'] }, 'KTRACE_E_POD_UNKNOWN', 1, /Did you mean pod\/frontend-88237173-jdfgg/],
    [{ words: ['pod/frontend'] }, 'KTRACE_E_POD_UNKNOWN', 1, /Did you mean/],
    [{ words: ['pod/zzz'] }, 'KTRACE_E_POD_UNKNOWN', 1, /kubectl get pods -n default/],
    [{ words: ['deploy/web'] }, 'KTRACE_E_DEPLOYMENT_UNKNOWN', 1, /kubectl get deployments/],
    [{ words: ['pod/a'], namespaces: ['defalt'] }, 'KTRACE_E_NAMESPACE_UNKNOWN', 1, /Did you mean default/],
    [{ namespaces: ['kube-sytem'] }, 'KTRACE_E_NAMESPACE_UNKNOWN', 1, /Did you mean kube-system/],
    [{ words: ['node/host9'] }, 'KTRACE_E_NODE_UNKNOWN', 1, /kubectl get nodes/],
    [{ words: ['tcp', 'port', 'x80'] }, 'KTRACE_E_FILTER', 2, /Give its number/],
    [{ words: ['ether', 'host', '0a:58:0a:f4:00:01'] }, 'KTRACE_E_FILTER', 2, /Write "host"/],
    [{ words: ['host', 'nobody.invalid'] }, 'KTRACE_E_FILTER_HOST', 2, /Give its address/],
    [{ words: ['tcp'], filterFile: '/nowhere/filter' }, 'KTRACE_E_ARGUMENT', 2, /^$/],
    [{ filterFile: '/nowhere/filter' }, 'KTRACE_E_ARGUMENT', 2, /^$/],
    [{ filterFile: wrong, kubeconfig: '/nowhere/config' }, 'KTRACE_E_FILTER', 2, /Give its number/],
    [{ words: ['frontend'] }, 'KTRACE_E_KIND_MISSING', 2, /pod\/frontend/],
    [{ context: 'fak' }, 'KTRACE_E_CONTEXT_UNKNOWN', 1, /Did you mean fake/],
    [{ kubeconfig: '/nowhere/config' }, 'KTRACE_E_KUBECONFIG', 1, /^$/],
    [{ ktraceNamespace: 'elsewhere' }, 'KTRACE_E_NO_AGENT', 3, /--ktrace-namespace/],
  ];
  for (const [options, code, exitCode, hint] of cases) {
    await assert.rejects(run(t, kubeconfig, options).done, (error: { code: string; exitCode: number; hint?: string }) => {
      assert.equal(error.code, code);
      assert.equal(error.exitCode, exitCode, code);
      assert.match(error.hint ?? '', hint);
      return true;
    });
  }
  api.refused.set('/api/v1/namespaces/ktrace/pods', 403);
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_API_FORBIDDEN', exitCode: 4 });
  api.refused.set('/api/v1/namespaces/ktrace/pods', 401);
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_API_UNAUTHORIZED', exitCode: 4 });
});

test('where the cluster is large and the user may not ask where the targets are, the missing right is told, and the grant that gives it', async (t) => {
  const { api, kubeconfig } = await cluster(t, []);
  for (let index = 0; index < 51; index++) api.objects.set(...gatePod(`gate-${index}`, `host${index}`));
  api.refused.set('/api/v1/namespaces/default/pods/frontend-88237173-jdfgg', 403);
  await assert.rejects(run(t, kubeconfig, { words: ['pod/frontend-88237173-jdfgg'] }).done, (error: KtraceError) => {
    assert.deepEqual([error.code, error.exitCode], ['KTRACE_E_API_FORBIDDEN', 4]);
    assert.match(error.message, /51 nodes.*you may not ask: .*namespaces\/default\/pods/);
    assert.match(error.hint ?? '', /ktrace grant default --user /);
    return true;
  });
  api.refused.set('/api/v1/pods', 403);
  await assert.rejects(run(t, kubeconfig, { selectors: ['app=web'], allNamespaces: true }).done, (error: KtraceError) => {
    assert.deepEqual([error.code, error.exitCode], ['KTRACE_E_API_FORBIDDEN', 1]);
    assert.match(error.hint ?? '', /-n/);
    return true;
  });
});

test('a port-forward that is refused, denied, or leads to garbage is a clear error', async (t) => {
  const { api, kubeconfig } = await cluster(t, ['host1']);
  const path = '/api/v1/namespaces/ktrace/pods/gate-host1/portforward';
  api.ports.delete('gate-host1');
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_PORTFORWARD', exitCode: 3, message: /connection refused/ });
  api.refused.set(path, 403);
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_API_FORBIDDEN', exitCode: 4 });
  api.refused.delete(path);
  const garbage = await rawServer((socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n'));
  t.after(() => garbage.close());
  api.ports.set('gate-host1', garbage.port);
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_PROTOCOL', exitCode: 1 });
});

test('gates that are not ready, and an API server that is not there', async (t) => {
  const { api, kubeconfig } = await cluster(t, ['host1']);
  api.objects.set(...gatePod('gate-host1', 'host1', false));
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_NO_AGENT', exitCode: 3, message: /None of the 1 agents/ });
  await api.close();
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_API_UNREACHABLE', exitCode: 1 });
});
