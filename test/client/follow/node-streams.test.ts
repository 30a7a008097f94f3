import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type FollowingOptions, NodeStreams } from '../../../src/client/follow/node-streams.ts';
import { Tally } from '../../../src/client/merge/tally.ts';
import { isIncomplete, silenceText, summaryText } from '../../../src/client/render/summary.ts';
import type { KtraceEvent, NoticeEvent, PacketEvent } from '../../../src/event/types.ts';
import type { KtraceError } from '../../../src/util/errors.ts';
import { until } from '../../support/until.ts';
import { hop, packet, pod } from '../events.ts';
import { FakeAgent, rawServer } from '../wire/fake-agent.ts';

const nowMs = (): number => performance.timeOrigin + performance.now();
const timeouts = {
  dialMs: 10_000,
  answerMs: 10_000,
  subscribedMs: 10_000,
  silenceMs: 20_000,
  retryFirstMs: 10,
  retryLastMs: 20,
  steadyMs: 10_000,
};
/** For an agent that never says anything. */
const impatient = { ...timeouts, dialMs: 500, answerMs: 300 };

function start(
  t: TestContext,
  agents: { node: string; dial: () => ReturnType<FollowingOptions['dial']> }[],
  more: Partial<FollowingOptions> = {},
) {
  const told: KtraceEvent[] = [];
  const errors: KtraceError[] = [];
  const following = new NodeStreams({
    targets: [{ kind: 'all' }],
    units: 'flows',
    dial: (node) => (agents.find((agent) => agent.node === node) as (typeof agents)[number]).dial(),
    tell: (event) => told.push(event),
    failed: (error) => errors.push(error),
    began: () => undefined,
    nowMs,
    timeouts,
    ...more,
  });
  t.after(() => following.close());
  following.setNodes(new Set(agents.map(({ node }) => node)));
  const packets = (): PacketEvent[] => told.filter((event): event is PacketEvent => event.kind === 'packet');
  const codes = (): string[] => told.filter((event): event is NoticeEvent => event.kind === 'notice').map(({ code }) => code);
  return { following, told, errors, packets, codes };
}

async function agentOf(t: TestContext, node: string): Promise<FakeAgent> {
  const agent = await FakeAgent.start(node);
  t.after(() => agent.close());
  return agent;
}

/** One packet that stays on its node. */
function local(node: string, id: string, atMs = nowMs()): PacketEvent {
  const time = `${new Date(atMs).toISOString().slice(0, -1)}000000Z`;
  const ends = { src: pod('a', '10.244.1.2', node), dst: pod('b', '10.244.1.3', node) };
  return packet({
    id,
    time,
    fingerprint: id,
    verdict: 'delivered',
    ...ends,
    hops: [hop(node, 'veth1', 'in', 0), hop(node, 'veth2', 'out', 900)],
  });
}

test('events come through, and every one told gives its credit back', async (t) => {
  const agent = await agentOf(t, 'host1');
  const { packets, following } = start(t, [agent]);
  await until('the first credits are there', () => agent.credits === 4096);
  for (let index = 0; index < 10_000; index++) agent.emit(local('host1', `p${index}`));
  await until('all are told', () => packets().length === 10_000);
  assert.deepEqual(
    packets().map(({ id }) => id),
    [...Array(10_000).keys()].map((index) => `p${index}`),
  );
  assert.equal(following.status().counts.captured, 10_000);
  const acks = agent.received.flatMap((message) => (message.type === 'credit' ? (message.ack ?? []) : []));
  assert.deepEqual(
    acks,
    [...acks].sort((a, b) => a - b),
  );
  assert.ok((acks.at(-1) ?? 0) > 50, 'what has arrived is acknowledged');
});

test('a reader that takes no more stops the credits, and the events wait at the agent', async (t) => {
  const agent = await agentOf(t, 'host1');
  const { packets, following } = start(t, [agent]);
  await until('the first credits are there', () => agent.credits === 4096);
  following.pause();
  for (let index = 0; index < 6000; index++) agent.emit(local('host1', `p${index}`));
  await until('a window full has come', () => following.status().counts.captured === 4096);
  assert.equal(packets().length, 0);
  assert.equal(agent.credits, 0);
  following.resume();
  await until('all are told', () => packets().length === 6000);
});

test('a broken connection is resumed: nothing is lost and nothing comes twice', async (t) => {
  const agent = await agentOf(t, 'host1');
  const { packets, codes, following } = start(t, [agent]);
  await until('it is subscribed', () => agent.credits > 0);
  for (let round = 0; round < 5; round++) {
    for (let index = 0; index < 300; index++) agent.emit(local('host1', `p${round * 300 + index}`));
    const connections = agent.connections;
    agent.cut();
    await until('it is connected again', () => agent.connections > connections && agent.credits > 0);
  }
  await until('all are told', () => packets().length >= 1500);
  assert.deepEqual(
    packets().map(({ id }) => id),
    [...Array(1500).keys()].map((index) => `p${index}`),
  );
  assert.ok(codes().includes('KTRACE_N_AGENT_DOWN') && codes().includes('KTRACE_N_AGENT_BACK'));
  assert.equal(isIncomplete(following.status()), false);
});

test('what the agent could not keep is told as lost', async (t) => {
  const agent = await agentOf(t, 'host1');
  const { told, following } = start(t, [agent]);
  await until('it is subscribed', () => agent.credits > 0);
  agent.missed = 128;
  agent.cut();
  await until('the loss is told', () => told.some(({ kind }) => kind === 'lost'));
  assert.deepEqual(following.status().lost, { 'client-socket': 128 });
  assert.equal(isIncomplete(following.status()), true);
  assert.match(summaryText(following.status(), new Tally(), 0), /128 lost \(client-socket 128\)/);
});

test('an agent that was started anew, or forgot the stream, leaves a gap that is told', async (t) => {
  const agent = await agentOf(t, 'host1');
  const { codes, following, packets } = start(t, [agent]);
  await until('it is subscribed', () => agent.credits > 0);
  Object.assign(agent, { instance: 'i2', session: 's2' });
  agent.cut();
  await until('the start is told', () => codes().includes('KTRACE_N_AGENT_RESTARTED'));
  agent.session = 's3';
  agent.cut();
  await until('the new stream is told', () => codes().includes('KTRACE_N_STREAM_RENEWED'));
  agent.emit(local('host1', 'after'));
  await until('it goes on', () => packets().length === 1);
  assert.deepEqual(following.status().gaps, ['host1']);
});

test('a gap in the batches breaks the connection, and the resume brings what was missing', async (t) => {
  const agent = await agentOf(t, 'host1');
  const { packets } = start(t, [agent]);
  await until('it is subscribed', () => agent.credits > 0);
  agent.emit(local('host1', 'one'));
  agent.send({ type: 'events', seq: 7, events: [local('host1', 'stray')] });
  agent.emit(local('host1', 'two'));
  await until('both are told', () => packets().length === 2);
  assert.deepEqual(
    packets().map(({ id }) => id),
    ['one', 'two'],
  );
});

test('what one agent resolved is told to all others, once it changes', async (t) => {
  const agents = [await agentOf(t, 'host1'), await agentOf(t, 'host2'), await agentOf(t, 'host3')];
  const [one, two, three] = agents as [FakeAgent, FakeAgent, FakeAgent];
  one.resolvedTo = { pods: [], addresses: ['10.244.1.2', '10.96.0.10'] };
  two.resolvedTo = { pods: [], addresses: ['10.96.0.10'] };
  start(t, agents);
  const asked = (agent: FakeAgent): string[] =>
    agent.received.findLast((message) => message.type === 'subscribe')?.addresses ?? [];
  await until('all know all addresses', () => asked(three).length === 2 && asked(two).length === 2 && asked(one).length === 1);
  two.send({ type: 'resolved', resolved: { pods: [], addresses: ['10.244.2.2'] } });
  await until('the new address is told', () => asked(one).includes('10.244.2.2') && asked(three).includes('10.244.2.2'));
  assert.deepEqual(asked(one), ['10.244.2.2']);
});

test("skewed clocks: the nodes' parts are joined and their times come onto one line", async (t) => {
  const skews: Record<string, number> = { host1: 480, host2: -500, host3: 20 };
  const agents = await Promise.all(Object.keys(skews).map((node) => agentOf(t, node)));
  for (const agent of agents) agent.clockMs = () => nowMs() + (skews[agent.node] ?? 0);
  const { packets } = start(t, agents);
  await until('all are subscribed', () => agents.every(({ credits }) => credits > 0));
  const [one, , three] = agents as [FakeAgent, FakeAgent, FakeAgent];
  for (let index = 0; index < 20; index++) {
    const sentMs = nowMs();
    const first = local('host1', `a${index}`, sentMs + 480);
    const second = local('host3', `b${index}`, sentMs + 20);
    const dst = pod('c', '10.244.3.2', 'host3');
    three.emit({
      ...second,
      fingerprint: `${index}`,
      dst,
      hops: [hop('host3', 'flannel.1', 'in', 0), hop('host3', 'veth9', 'out', 900)],
      src: { ip: first.src.ip },
    });
    one.emit({
      ...first,
      fingerprint: `${index}`,
      dst,
      verdict: 'forwarded',
      hops: [hop('host1', 'veth1', 'in', 0), hop('host1', 'flannel.1', 'out', 900)],
    });
  }
  await until('all are told', () => packets().length === 20);
  for (const event of packets()) {
    assert.deepEqual(event.nodes, ['host1', 'host3']);
    assert.ok(Math.abs(Date.parse(event.time) - nowMs()) < 5000);
  }
  assert.deepEqual(
    packets().map(({ id }) => id),
    [...Array(20).keys()].map((index) => `a${index}`),
  );
});

test('a node that was not seen at all interfaces is named at the end, also when it was only for a time', async (t) => {
  const agent = await agentOf(t, 'host1');
  const { codes, following } = start(t, [agent]);
  await until('the first credits are there', () => agent.credits > 0);
  assert.equal(isIncomplete(following.status()), false);
  const code = 'KTRACE_N_INTERFACES_INCOMPLETE';
  for (const level of ['warn', 'info'] as const) agent.emit({ v: 1, kind: 'notice', node: 'host1', level, code, text: 'x' });
  await until('both notices are told', () => codes().filter((each) => each === code).length === 2);
  assert.match(summaryText(following.status(), new Tally(), 0), /1 node, 0\.0 s; not seen at all interfaces: host1$/m);
  assert.equal(isIncomplete(following.status()), true);
});

test('nodes join and leave while following', async (t) => {
  const agents = [await agentOf(t, 'host1'), await agentOf(t, 'host2')];
  const { following, codes } = start(t, agents);
  following.setNodes(new Set(['host1']));
  await until('host1 is followed', () => following.status().agentsUp === 1);
  following.setNodes(new Set(['host1', 'host2']));
  await until('host2 has joined', () => codes().includes('KTRACE_N_AGENT_JOINED'));
  following.setNodes(new Set(['host2']));
  await until('host1 has left', () => codes().filter((code) => code === 'KTRACE_N_AGENT_LEFT').length === 2);
  assert.deepEqual(following.status().missing, []);
  assert.equal(isIncomplete(following.status()), true, 'a node that left was missing');
});

test('one node that cannot be reached is told, and does not keep the others from being followed', async (t) => {
  const agent = await agentOf(t, 'host1');
  const { following, codes, packets, errors } = start(t, [
    agent,
    { node: 'host2', dial: () => Promise.reject(new Error('no route')) },
  ]);
  await until('it is told', () => codes().includes('KTRACE_N_AGENT_DOWN'));
  agent.emit(local('host1', 'p'));
  await until('host1 is followed', () => packets().length === 1);
  assert.deepEqual(following.status().missing, ['host2']);
  assert.deepEqual(errors, []);
  assert.match(silenceText(following.status(), 10, 0), /1 of 2 agents reached/);
});

test('a socket that accepts and says nothing, one that talks garbage, and an agent that refuses are clear errors', async (t) => {
  const silent = await rawServer(() => undefined);
  const garbage = await rawServer((socket) => socket.write('220 mail.example ESMTP\r\n'));
  const closing = await rawServer((socket) => socket.destroy());
  t.after(() => Promise.all([silent.close(), garbage.close(), closing.close()]));
  const cases: [() => ReturnType<FollowingOptions['dial']>, string, RegExp, number][] = [
    [silent.dial, 'KTRACE_E_STALLED', /said nothing for 0.3 s/, 3],
    [garbage.dial, 'KTRACE_E_PROTOCOL', /got something else/, 1],
    [closing.dial, 'KTRACE_E_CONNECTION', /broke/, 3],
    [() => new Promise(() => undefined), 'KTRACE_E_STALLED', /nothing/, 3],
  ];
  for (const [dial, code, text, exitCode] of cases) {
    const { errors } = start(t, [{ node: 'host1', dial }], { timeouts: code === 'KTRACE_E_STALLED' ? impatient : timeouts });
    await until(code, () => errors.length > 0);
    assert.equal(errors[0]?.code, code);
    assert.match(errors[0]?.message ?? '', text);
    assert.equal(errors[0]?.exitCode, exitCode, code);
  }
});

test('garbage on the websocket is a clear error', async (t) => {
  const cases: [(agent: FakeAgent) => void, RegExp][] = [
    [(agent) => agent.sendRaw('not json'), /JSON/],
    [(agent) => agent.sendRaw(Buffer.from([1, 2, 3])), /text frame/],
    [(agent) => agent.sendRaw('{"type":"subscribed"}'), /session/],
    [(agent) => agent.sendRaw('{"type":"events","seq":1,"events":[]}'), /subscribed before events/],
    [(agent) => agent.send({ type: 'hello', node: 'other', instance: '', version: '', clock: '1' }), /that of other/],
  ];
  for (const [talk, text] of cases) {
    const agent = await agentOf(t, 'host1');
    agent.answers = false;
    const { errors } = start(t, [agent]);
    await until('it is asked', () => agent.received.length > 0);
    talk(agent);
    await until('it is told', () => errors.length > 0);
    assert.equal(errors[0]?.code, 'KTRACE_E_PROTOCOL');
    assert.match(errors[0]?.message ?? '', text);
  }
});

test('an event without its fields is not taken, and the follow goes on', async (t) => {
  const agent = await agentOf(t, 'host1');
  const { following, packets, codes, told } = start(t, [agent]);
  await until('it is subscribed', () => agent.credits > 0);
  const { src: _, ...broken } = local('host1', 'broken');
  const timeless = { ...local('host1', 'timeless'), time: 'never' };
  agent.emit(local('host1', 'before'), broken as PacketEvent, null as never, timeless, local('host1', 'behind'));
  for (let index = 0; index < 5000; index++) agent.emit(broken as PacketEvent);
  agent.emit(local('host1', 'whole'));
  await until('it goes on', () => packets().some(({ id }) => id === 'whole'));
  assert.deepEqual(
    packets().map(({ id }) => id),
    ['before', 'behind', 'whole'],
  );
  assert.equal(agent.connections, 1, 'the batch was acknowledged, the connection stands');
  assert.deepEqual([following.status().counts.captured, following.status().counts.invalid], [5006, 5003]);
  assert.deepEqual(
    codes().filter((code) => code !== 'KTRACE_N_FOLLOWING'),
    ['KTRACE_N_EVENTS_INVALID'],
    'told once',
  );
  assert.match(told.flatMap((event) => (event.kind === 'notice' ? event.text : [])).join(), /Expected a packet event/);
  assert.equal(isIncomplete(following.status()), true);
});

test('an agent that refuses the user ends the follow with the exit code for it', async (t) => {
  const agent = await agentOf(t, 'host1');
  const { errors } = start(t, [agent]);
  await until('it is asked', () => agent.received.length > 0);
  agent.send({ type: 'error', code: 'KTRACE_E_NOT_AUTHORIZED', message: 'not you' });
  await until('it is refused', () => errors.length > 0);
  assert.equal(errors[0]?.exitCode, 4);
});

test('who is refused after a connection broke is told the refusal, not the break', async (t) => {
  const agents = await Promise.all(['host1', 'host2'].map((node) => agentOf(t, node)));
  const { errors, codes } = start(t, agents);
  await until('both are followed', () => agents.every(({ credits }) => credits > 0));
  for (const agent of agents) {
    agent.answers = false;
    agent.cut();
  }
  await until('both are down', () => codes().filter((code) => code === 'KTRACE_N_AGENT_DOWN').length === 2);
  await until('both are reached again', () => agents.every(({ connections }) => connections === 2));
  for (const agent of agents) agent.send({ type: 'error', code: 'KTRACE_E_NOT_AUTHORIZED', message: 'The account is gone' });
  await until('it has failed', () => errors.length > 0);
  assert.deepEqual(
    errors.map(({ code, exitCode }) => ({ code, exitCode })),
    [{ code: 'KTRACE_E_NOT_AUTHORIZED', exitCode: 4 }],
  );
});

test('it is following when every agent knows what all others resolved, and says so again when that changes', async (t) => {
  const agents = await Promise.all(['host1', 'host2', 'host3'].map((node) => agentOf(t, node)));
  const [one, two, three] = agents as [FakeAgent, FakeAgent, FakeAgent];
  const podOf = (node: string, name: string, ip: string) => ({ namespace: 'default', name, uid: name, node, ips: [ip] });
  one.resolvedTo = { pods: [podOf('host1', 'a', '10.244.1.2')], addresses: ['10.244.1.2'] };
  three.answers = false;
  const { told, following } = start(t, agents);
  const tellings = (): NoticeEvent[] =>
    told.filter((event): event is NoticeEvent => event.kind === 'notice' && event.code === 'KTRACE_N_FOLLOWING');
  const knows = (agent: FakeAgent, ip: string): boolean =>
    agent.received.findLast((message) => message.type === 'subscribe')?.addresses.includes(ip) === true;
  await until('host2 knows the pod, host3 is asked', () => knows(two, '10.244.1.2') && three.received.length > 0);
  assert.deepEqual(tellings(), [], 'host3 has not answered');
  three.answers = true;
  three.cut();
  // Where it takes a while to come back, that it is missing is told first.
  const complete = (): NoticeEvent[] => tellings().filter((notice) => notice.following?.missing.length === 0);
  await until('it is following', () => complete().length > 0);
  assert.ok(knows(three, '10.244.1.2'), 'host3 knew the pod before it was told');
  assert.equal(complete()[0]?.text, 'following 1 pod on 3 nodes: host1, host2, host3');
  two.resolvedTo = { pods: [podOf('host2', 'b', '10.244.2.2')], addresses: ['10.244.2.2'] };
  two.send({ type: 'resolved', resolved: two.resolvedTo });
  await until('it is told again', () => complete().length > 1);
  assert.ok(knows(one, '10.244.2.2') && knows(three, '10.244.2.2'), 'all others knew the new pod before it was told');
  assert.equal(complete()[1]?.text, 'following 2 pods on 3 nodes: host1, host2, host3');
  following.setNodes(new Set(['host1', 'host2']));
  await until('it is told again', () => complete().length > 2);
  assert.equal(complete()[2]?.text, 'following 2 pods on 2 nodes: host1, host2');
});
