import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentConnection } from '../../../src/client/wire/agent-connection.ts';
import { until } from '../../support/until.ts';
import { FakeAgent } from './fake-agent.ts';

test('pauses grow while streams break as soon as they stand, and begin anew after one that stood', async (t) => {
  const agent = await FakeAgent.start('host1');
  t.after(() => agent.close());
  let nowMs = 0;
  let ups = 0;
  const pauses: number[] = [];
  const connection = new AgentConnection({
    node: 'host1',
    dial: () => agent.dial(),
    subscription: { targets: [{ kind: 'all' }], addresses: [], units: 'flows' },
    window: 4096,
    nowMs: () => nowMs,
    random: () => 1,
    timeouts: {
      dialMs: 10_000,
      answerMs: 10_000,
      subscribedMs: 10_000,
      silenceMs: 20_000,
      retryFirstMs: 2,
      retryLastMs: 8,
      steadyMs: 10_000,
    },
    handler: {
      up: () => {
        ups += 1;
      },
      down: (_, retryMs) => pauses.push(retryMs),
      refused: () => undefined,
      events: () => undefined,
      invalid: () => undefined,
      resolved: () => undefined,
    },
  });
  t.after(() => connection.close());
  const breaksAfter = async (steadyMs: number): Promise<void> => {
    const before = pauses.length;
    await until('the stream stands', () => ups > before && agent.credits > 0);
    nowMs += steadyMs;
    agent.cut();
    await until('it broke', () => pauses.length === before + 1);
  };
  for (const steadyMs of [0, 100, 9_999, 9_999, 10_000, 0]) await breaksAfter(steadyMs);
  assert.deepEqual(pauses, [2, 4, 8, 8, 2, 4]);
});

test('an agent that said hello may take longer to attach, and what it says meanwhile is no answer', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const agent = await FakeAgent.start('host1');
  t.after(() => agent.close());
  agent.answers = false;
  const downs: string[] = [];
  let told = 0;
  const connection = new AgentConnection({
    node: 'host1',
    dial: () => agent.dial(),
    subscription: { targets: [{ kind: 'all' }], addresses: [], units: 'flows' },
    window: 4096,
    nowMs: () => 0,
    handler: {
      up: () => undefined,
      down: ({ code }) => downs.push(code),
      refused: () => undefined,
      events: () => undefined,
      invalid: () => undefined,
      resolved: () => undefined,
      undecided: () => told++,
    },
  });
  t.after(() => connection.close());
  const turned = async (isSo: () => boolean): Promise<void> => {
    for (let turn = 0; turn < 1e5 && !isSo(); turn++) await new Promise(setImmediate);
    assert.ok(isSo());
  };
  await turned(() => agent.received.length > 0);
  for (const count of [1, 2]) {
    t.mock.timers.tick(14_999);
    agent.send({ type: 'undecided', packets: 1, wantsBytes: 1 });
    await turned(() => told === count);
  }
  assert.deepEqual(downs, []);
  t.mock.timers.tick(15_000);
  await turned(() => downs.length > 0);
  assert.deepEqual(downs, ['KTRACE_E_STALLED']);
});
