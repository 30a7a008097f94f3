import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import type { WebSocket } from 'ws';
import { allowAll } from '../../../src/agent/access/authorizer.ts';
import { DEFAULT_LIMITS } from '../../../src/agent/access/limits.ts';
import { ClientConnection } from '../../../src/agent/serve/client-connection.ts';
import { Sessions } from '../../../src/agent/serve/sessions.ts';
import { FakeFeed } from './fake-feed.ts';
import { quiet } from './server-fixture.ts';

class FakeSocket extends EventEmitter {
  readonly said: { type: string }[] = [];
  readonly bufferedAmount = 0;
  readonly noop = () => undefined;
  readonly pause = this.noop;
  readonly resume = this.noop;
  readonly ping = this.noop;
  readonly terminate = this.noop;

  send(text: string): void {
    this.said.push(JSON.parse(text));
  }

  close(): void {
    this.emit('close', 1000);
  }
}

function open(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  let nowMs = 0;
  const feed = new FakeFeed();
  const socket = new FakeSocket();
  const sessions = new Sessions(feed, DEFAULT_LIMITS);
  new ClientConnection({
    socket: socket as unknown as WebSocket,
    transport: new PassThrough(),
    feed,
    sessions,
    limits: DEFAULT_LIMITS,
    version: '1.2.3',
    authorize: allowAll,
    vouch: async () => true,
    isOpenToAll: true,
    admit: () => undefined,
    recorder: () => undefined,
    log: quiet,
    nowMs: () => nowMs,
    onError: () => undefined,
    onClosed: () => undefined,
  });
  t.after(() => {
    socket.close();
    sessions.closeAll();
  });
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  return {
    settled,
    async subscribe(name: string) {
      const message = { type: 'subscribe', targets: [{ kind: 'namespace', name }], addresses: [], units: 'flows' };
      socket.emit('message', JSON.stringify(message), false);
      await settled();
    },
    async pass(ms: number) {
      nowMs += ms;
      t.mock.timers.tick(ms);
      await settled();
    },
    followed: () => [...feed.followers].map(({ subscription }) => subscription.targets),
    answers: () => socket.said.filter(({ type }) => type === 'subscribed').length,
    errors: () => socket.said.filter(({ type }) => type === 'error').map((error) => (error as { code?: string }).code),
  };
}

const named = (name: string) => [[{ kind: 'namespace', name }]];

test('a connection that changes what it follows all the time has one change a second, the newest, and an answer for each', async (t) => {
  const { subscribe, pass, followed, answers, errors } = open(t);
  for (let n = 1; n <= 5; n++) await subscribe(`a${n}`);
  assert.deepEqual(followed(), named('a5'));
  for (let n = 1; n <= 60; n++) await subscribe(`b${n}`);
  assert.deepEqual([followed(), answers(), errors()], [named('a5'), 5, []]);
  await pass(999);
  assert.deepEqual(followed(), named('a5'));
  await pass(1);
  assert.deepEqual([followed(), answers()], [named('b60'), 65]);
  await subscribe('c');
  assert.deepEqual(followed(), named('b60'));
  await pass(1000);
  assert.deepEqual([followed(), answers()], [named('c'), 66]);
  await pass(5000);
  for (let n = 1; n <= 5; n++) await subscribe(`d${n}`);
  assert.deepEqual(followed(), named('d5'));
  assert.deepEqual(errors(), []);
});

test('more changes than can be answered at once are no client’s', async (t) => {
  const { subscribe, errors, followed } = open(t);
  for (let n = 1; n <= 5 + 64; n++) await subscribe(`a${n}`);
  assert.deepEqual(errors(), []);
  await subscribe('b');
  assert.deepEqual([errors(), followed()], [['KTRACE_E_PROTOCOL'], []]);
});
