import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { describe, type TestContext, test } from 'node:test';
import { NodeStreams } from '../../../src/client/follow/node-streams.ts';
import type { KtraceEvent } from '../../../src/event/types.ts';
import { refuseUpgrade, rejectionResponse } from '../../../src/protocol/admission.ts';
import type { KtraceError } from '../../../src/util/errors.ts';
import { until } from '../../support/until.ts';
import { hop, packet, pod } from '../events.ts';
import { FakeAgent } from './fake-agent.ts';

const NOW = performance.timeOrigin + performance.now();

function follow(
  t: TestContext,
  dial: (node: string) => Promise<Duplex>,
  nodes = ['host1'],
): { told: KtraceEvent[]; errors: KtraceError[] } {
  const told: KtraceEvent[] = [];
  const errors: KtraceError[] = [];
  const following = new NodeStreams({
    targets: [{ kind: 'all' }],
    units: 'flows',
    dial,
    tell: (event) => told.push(event),
    failed: (error) => errors.push(error),
    began: () => undefined,
    version: '0',
    nowMs: () => performance.timeOrigin + performance.now(),
    timeouts: {
      dialMs: 500,
      answerMs: 300,
      subscribedMs: 2000,
      silenceMs: 2000,
      retryFirstMs: 10,
      retryLastMs: 20,
      steadyMs: 10_000,
    },
  });
  t.after(() => following.close());
  following.setNodes(new Set(nodes));
  return { told, errors };
}

const local = (id: string): KtraceEvent =>
  packet({
    id,
    time: `${new Date(NOW).toISOString().slice(0, -1)}000000Z`,
    fingerprint: id,
    verdict: 'delivered',
    src: pod('a', '10.244.1.2', 'host1'),
    dst: pod('b', '10.244.1.3', 'host1'),
    hops: [hop('host1', 'veth1', 'in', 0), hop('host1', 'veth2', 'out', 900)],
  });

/** What a later version says over today's, and a client of today must pass over. */
const NEWS: Record<string, (agent: FakeAgent) => void> = {
  'a message of a kind that is not known': (agent) => agent.sendRaw('{"type":"weather","sky":"blue"}'),
  'an event of a kind that is not known': (agent) => agent.emit({ v: 1, kind: 'incident', id: 'x' } as never),
  'fields that are not known': (agent) => agent.emit({ ...local('p0'), colour: { deep: ['red'] } } as never),
  'a notice of a code that is not known': (agent) =>
    agent.emit({ v: 1, kind: 'notice', node: 'host1', level: 'info', code: 'KTRACE_N_LATER', text: 'news' }),
};

describe('an agent of a newer minor version', () => {
  for (const [name, say] of Object.entries(NEWS)) {
    test(`is followed although it says ${name}`, async (t) => {
      const agent = await FakeAgent.start('host1');
      t.after(() => agent.close());
      const { told, errors } = follow(t, () => agent.dial());
      await until('it is followed', () => agent.credits > 0);
      say(agent);
      agent.emit(local('p1'));
      await until('the packet behind it is told', () => told.some((event) => event.kind === 'packet' && event.id === 'p1'));
      assert.deepEqual(errors, []);
      assert.equal(agent.connections, 1);
    });
  }
});

test('agents of another version than the client are told of, once for each version, also when one was replaced', async (t) => {
  const agents = await Promise.all(['host1', 'host2', 'host3'].map((node) => FakeAgent.start(node)));
  t.after(() => Promise.all(agents.map((agent) => agent.close())));
  const [one, two, three] = agents as [FakeAgent, FakeAgent, FakeAgent];
  one.version = '1.2.0';
  two.version = '1.2.0';
  const dial = (node: string) => (agents.find((agent) => agent.node === node) as FakeAgent).dial();
  const { told } = follow(t, dial, ['host1', 'host2', 'host3']);
  await until('all are followed', () => agents.every(({ credits }) => credits > 0));
  three.version = '1.3.0';
  three.cut();
  const texts = () => told.flatMap((event) => (event.kind === 'notice' && event.code === 'KTRACE_N_VERSION' ? [event.text] : []));
  await until('the new one is told', () => texts().length === 2);
  assert.deepEqual(texts(), ['the agent has version 1.2.0, this client has 0', 'the agent has version 1.3.0, this client has 0']);
});

test('an agent of an older minor version, which leaves optional fields out, is followed', async (t) => {
  const agent = await FakeAgent.start('host1');
  t.after(() => agent.close());
  const { told, errors } = follow(t, () => agent.dial());
  await until('it is followed', () => agent.credits > 0);
  const {
    nat: _nat,
    tcp: _tcp,
    icmp: _icmp,
    ...bare
  } = local('p1') as KtraceEvent & { nat?: unknown; tcp?: unknown; icmp?: unknown };
  agent.emit(bare as KtraceEvent);
  await until('its packet is told', () => told.some((event) => event.kind === 'packet' && event.id === 'p1'));
  assert.deepEqual(errors, []);
});

test('an agent of another major version is a clear error that names both, and is not tried again', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let dials = 0;
  const server = createServer();
  server.on('upgrade', (request, socket) => {
    const rejection = refuseUpgrade({
      method: 'GET',
      url: request.url ?? '',
      headers: { ...request.headers, 'sec-websocket-protocol': 'none' },
    });
    assert.ok(rejection !== undefined);
    // What this very agent says, as its next major version will.
    socket.end(rejectionResponse({ ...rejection, message: rejection.message.replace('ktrace.v1', 'ktrace.v2') }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => new Promise((resolve) => server.close(resolve)));
  const { port } = server.address() as AddressInfo;
  const dial = () =>
    new Promise<Duplex>((resolve, reject) => {
      dials += 1;
      const socket = connect(port, '127.0.0.1', () => resolve(socket)).on('error', reject);
    });
  const { errors } = follow(t, dial);
  for (let turn = 0; turn < 1e5 && errors.length === 0; turn++) await new Promise(setImmediate);
  const [{ code, message, hint } = {} as KtraceError] = errors;
  assert.deepEqual([code, message], ['KTRACE_E_SUBPROTOCOL', 'This client speaks ktrace.v1, the agent ktrace.v2']);
  assert.match(hint ?? '', /ktrace status/);
  t.mock.timers.tick(60_000);
  await new Promise(setImmediate);
  assert.equal(dials, 1);
});
