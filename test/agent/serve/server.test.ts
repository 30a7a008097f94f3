import assert from 'node:assert/strict';
import { once } from 'node:events';
import { access, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { connect as connectNet } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { WebSocket } from 'ws';
import type { Authorize } from '../../../src/agent/access/authorizer.ts';
import { DEFAULT_LIMITS } from '../../../src/agent/access/limits.ts';
import { startServer } from '../../../src/agent/serve/server.ts';
import { KtraceError } from '../../../src/util/errors.ts';
import { until } from '../../support/until.ts';
import { emptyRecorder } from '../record/recorder/recorder-fixture.ts';
import { FakeFeed, packet } from './fake-feed.ts';
import { quiet, serve, temporaryDirectory } from './server-fixture.ts';
import { refusal, StreamClient, unixUrl } from './stream-client.ts';

const NEVER_MS = 3_600_000;

interface Answer {
  status: number;
  body: string;
}

async function get(
  socketPath: string,
  path: string,
  options: { method?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const asked = request({ socketPath, path, agent: false, ...options });
  asked.end();
  const [response] = await once(asked, 'response');
  let body = '';
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode, body };
}

async function endOf(client: StreamClient): Promise<{ code: number; error: string | undefined }> {
  await client.until(() => client.closed !== undefined);
  return { code: client.closed?.code ?? 0, error: client.all('error')[0]?.code };
}

describe('the agent socket', () => {
  it('says hello with node, instance, version and clock', async (t) => {
    const { connect } = await serve(t);
    const { clock, ...hello } = await connect().hello();
    assert.deepEqual(hello, {
      type: 'hello',
      node: 'host1',
      instance: 'first',
      version: '1.2.3',
    });
    assert.ok(Math.abs(Number(BigInt(clock) / 1_000_000n) - Date.now()) < 10_000);
  });

  it('tells its clock again and again', async (t) => {
    const { connect } = await serve(t, { clockMs: 10 });
    const client = connect();
    await client.until(() => client.all('clock').length >= 3);
    assert.ok(BigInt(client.all('clock')[2]?.clock ?? 0) > 0n);
  });

  it('is made with its directory, for other users too, and is gone after close', async (t) => {
    const socketPath = join(await temporaryDirectory(t), 'a', 'b', 'agent.sock');
    const server = await startServer({ feed: new FakeFeed(), socketPath, version: '1', log: quiet });
    assert.equal((await stat(socketPath)).mode & 0o777, 0o666);
    await server.close();
    await assert.rejects(access(socketPath));
  });

  it('replaces the file of a process that is gone', async (t) => {
    const socketPath = join(await temporaryDirectory(t), 'agent.sock');
    // A process that binds and is killed leaves the file behind.
    const { spawn } = await import('node:child_process');
    const child = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(socketPath)}, () => console.log('up'))`,
    ]);
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    await access(socketPath);
    const { connect } = await serve(t, {}, { socketPath });
    await connect().hello();
  });

  it('is not taken from an agent that answers', async (t) => {
    const { socketPath, connect } = await serve(t);
    await assert.rejects(
      startServer({ feed: new FakeFeed(), socketPath, version: '1', log: quiet }),
      (error) => error instanceof KtraceError && error.code === 'KTRACE_E_SOCKET_IN_USE',
    );
    await connect().hello();
  });

  it('does not remove a file that is no socket', async (t) => {
    const socketPath = join(await temporaryDirectory(t), 'agent.sock');
    await writeFile(socketPath, 'precious');
    await assert.rejects(
      startServer({ feed: new FakeFeed(), socketPath, version: '1', log: quiet }),
      (error) => error instanceof KtraceError && error.code === 'KTRACE_E_SOCKET',
    );
    await access(socketPath);
  });

  it('says bye to all when the agent stops', async (t) => {
    const socketPath = join(await temporaryDirectory(t), 'agent.sock');
    const feed = new FakeFeed();
    const server = await startServer({ feed, socketPath, version: '1', log: quiet });
    const clients = [1, 2, 3].map(() => new StreamClient(unixUrl(socketPath)));
    for (const client of clients) await client.subscribe();
    await server.close();
    for (const client of clients) {
      await client.until(() => client.closed !== undefined);
      assert.equal(client.all('bye')[0]?.reason, 'the agent stops');
      assert.equal(client.closed?.code, 1001);
    }
    assert.equal(feed.followers.size, 0);
  });

  it('stops though a client takes nothing', async (t) => {
    const socketPath = join(await temporaryDirectory(t), 'agent.sock');
    const feed = new FakeFeed();
    const server = await startServer({ feed, socketPath, version: '1', log: quiet, limits: { closingMs: 20 } });
    const client = new StreamClient(unixUrl(socketPath));
    await client.subscribe();
    client.say({ type: 'credit', events: 100_000 });
    client.socket.pause();
    for (let i = 0; i < 8000; i += 1) feed.publish(packet(i));
    await server.close();
    client.socket.terminate();
  });
});

describe('the HTTP side', () => {
  it('answers health, readiness with its reason, and metrics', async (t) => {
    const { feed, socketPath, connect } = await serve(t);
    await connect().subscribe();
    assert.deepEqual(await get(socketPath, '/healthz'), { status: 200, body: 'ok\n' });
    assert.equal((await get(socketPath, '/readyz')).status, 200);
    feed.why = 'the list of pods has not arrived';
    const { status, body } = await get(socketPath, '/readyz');
    assert.equal(status, 503);
    assert.deepEqual(JSON.parse(body), { code: 'KTRACE_E_NOT_READY', message: 'the list of pods has not arrived' });
    const metrics = (await get(socketPath, '/metrics')).body;
    assert.match(metrics, /^ktrace_sightings_total\{hook="tc"\} 7$/m);
    assert.match(metrics, /^ktrace_server_clients 1$/m);
    assert.match(metrics, /^ktrace_server_errors_total\{code="KTRACE_E_NOT_READY"\} 1$/m);
    assert.match(metrics, /^process_resident_memory_bytes \d+/m);
    const names = [...metrics.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    assert.equal(new Set(names).size, names.length);
  });

  it('reads the counters once a second, however often the metrics are asked for', async (t) => {
    let nowMs = 0;
    let read = 0;
    const counters = () => [
      {
        name: 'ktrace_read',
        help: 'x',
        type: 'gauge' as const,
        values: [{ labels: {} as Record<string, string>, value: ++read }],
      },
    ];
    const { socketPath } = await serve(t, {}, { counters, nowMs: () => nowMs });
    const reads = async () => {
      const pages = await Promise.all(Array.from({ length: 20 }, () => get(socketPath, '/metrics')));
      return new Set(pages.map(({ body }) => /^ktrace_read (\d+)$/m.exec(body)?.[1]));
    };
    assert.deepEqual(await reads(), new Set(['1']));
    nowMs = 999;
    assert.deepEqual(await reads(), new Set(['1']));
    nowMs = 1000;
    assert.deepEqual(await reads(), new Set(['2']));
  });

  it('refuses other paths, other methods, a plain GET of the stream, and pages of browsers', async (t) => {
    const { socketPath } = await serve(t);
    const cases = [
      ['/', {}, 404, 'KTRACE_E_HTTP'],
      ['/metrics/../healthz', {}, 404, 'KTRACE_E_HTTP'],
      ['/metrics', { method: 'POST' }, 405, 'KTRACE_E_HTTP'],
      ['/v1/stream', {}, 426, 'KTRACE_E_HTTP'],
      ['/healthz', { headers: { origin: 'http://example.org' } }, 403, 'KTRACE_E_ORIGIN'],
    ] as const;
    for (const [path, options, status, code] of cases) {
      const answer = await get(socketPath, path, options);
      assert.equal(answer.status, status, path);
      assert.equal(JSON.parse(answer.body).code, code, path);
    }
  });

  it('refuses a websocket with an Origin, another subprotocol, or another path', async (t) => {
    const { socketPath, connect } = await serve(t);
    const origin = await refusal(connect({ headers: { origin: 'http://localhost' } }));
    assert.deepEqual([origin.status, origin.body['code']], [403, 'KTRACE_E_ORIGIN']);
    const subprotocol = await refusal(connect({ subprotocol: 'ktrace.v9' }));
    assert.deepEqual([subprotocol.status, subprotocol.body['code']], [400, 'KTRACE_E_SUBPROTOCOL']);
    const path = await refusal(new StreamClient(`ws+unix:${socketPath}:/v2/stream`));
    assert.deepEqual([path.status, path.body['code']], [404, 'KTRACE_E_HTTP']);
  });

  it('tells a client too many so', async (t) => {
    const { connect } = await serve(t, { clients: 2 });
    const two = [connect(), connect()];
    for (const client of two) await client.hello();
    const { status, body } = await refusal(connect());
    assert.deepEqual([status, body['code']], [503, 'KTRACE_E_BUSY']);
    await two[0]?.leave();
    await connect().hello();
  });

  it('does not wait for ever for a request', async (t) => {
    const { socketPath } = await serve(t, { handshakeMs: 40 });
    for (const said of ['', 'GET /v1/stream HTTP/1.1\r\nHost: a\r\n']) {
      const socket = connectNet(socketPath);
      socket.resume();
      socket.write(said);
      await once(socket, 'close');
    }
  });
});

describe('a websocket', () => {
  const subscribe = { type: 'subscribe', targets: [{ kind: 'all' }] };
  const garbage: [what: string, say: (client: StreamClient) => void, code: number][] = [
    ['text that is no JSON', (client) => client.socket.send('hello?'), 1002],
    ['JSON that is no object', (client) => client.socket.send('[1]'), 1002],
    ['an unknown message', (client) => client.say({ type: 'explode' }), 1002],
    ['an unknown field', (client) => client.say({ ...subscribe, colour: 'red' }), 1002],
    ['credit before a subscription', (client) => client.say({ type: 'credit', events: 1 }), 1002],
    ['negative credit', (client) => client.say({ type: 'credit', events: -5 }), 1002],
    ['a binary frame', (client) => client.socket.send(Buffer.from('{}')), 1003],
  ];
  for (const [what, say, code] of garbage) {
    it(`ends with an error for ${what}`, async (t) => {
      const { connect, server } = await serve(t);
      const client = connect();
      await client.hello();
      say(client);
      assert.deepEqual(await endOf(client), { code, error: 'KTRACE_E_PROTOCOL' });
      await until('no client is connected', () => server.clients === 0);
    });
  }

  it('ends, and with it its session, for garbage behind a subscription', async (t) => {
    const { connect, feed } = await serve(t);
    const client = connect();
    await client.subscribe();
    client.socket.send('{');
    assert.equal((await endOf(client)).error, 'KTRACE_E_PROTOCOL');
    assert.equal(feed.followers.size, 0);
  });

  it('ends for a frame over the limit, which is not read', async (t) => {
    const { connect, feed } = await serve(t);
    const client = connect();
    await client.subscribe();
    client.socket.send('x'.repeat(4 * 1024 * 1024 + 1));
    await client.until(() => client.closed !== undefined);
    assert.ok([1009, 1006].includes(client.closed?.code ?? 0), `closed with ${client.closed?.code}`);
    await until('nobody follows', () => feed.followers.size === 0);
  });

  it('ends when bytes that are no frame come', async (t) => {
    const { connect, feed } = await serve(t);
    const client = connect();
    await client.subscribe();
    const { _socket: raw } = client.socket as unknown as { _socket: import('node:net').Socket };
    raw.write(Buffer.alloc(300, 0xff));
    await client.until(() => client.closed !== undefined);
    await until('nobody follows', () => feed.followers.size === 0);
  });

  it('is cut after a broken frame though its client never closes', async (t) => {
    const { server, socketPath } = await serve(t, { closingMs: 30 });
    const raw = connectNet({ path: socketPath, allowHalfOpen: true });
    t.after(() => raw.destroy());
    const lines = [
      'GET /v1/stream HTTP/1.1',
      'Host: agent',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Protocol: ktrace.v1',
    ];
    raw.on('error', () => undefined).resume();
    raw.write(`${lines.join('\r\n')}\r\n\r\n`);
    await until('one client is connected', () => server.clients === 1);
    raw.write(Buffer.alloc(300, 0xff));
    await until('no client is connected', () => server.clients === 0);
  });

  it('ends when no subscription comes in time', async (t) => {
    const { connect } = await serve(t, { handshakeMs: 30 });
    const client = connect();
    assert.deepEqual(await endOf(client), { code: 1008, error: 'KTRACE_E_HANDSHAKE' });
  });

  it('is closed when nothing is asked for behind an answer', async (t) => {
    const recorder = await emptyRecorder(t);
    const { connect, server } = await serve(t, { closingMs: NEVER_MS }, { recorder: () => recorder });
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const leftAlone = async (client: StreamClient) => {
      while (client.closed === undefined) {
        t.mock.timers.tick(DEFAULT_LIMITS.handshakeMs);
        await new Promise((resolve) => setImmediate(resolve));
      }
      return endOf(client);
    };
    const client = connect();
    await client.hello();
    client.say({ type: 'doctor' });
    client.say({ type: 'recorded', targets: [{ kind: 'all' }] });
    await client.until(() => client.all('recorded').length === 1);
    assert.equal(client.all('recorded')[0]?.vxlanPort, 8472);
    assert.deepEqual(await leftAlone(client), { code: 1008, error: 'KTRACE_E_HANDSHAKE' });
    const dumping = connect();
    await dumping.hello();
    dumping.say({ type: 'dump', targets: [{ kind: 'all' }], sinceMs: 0, untilMs: 1 });
    await dumping.until(() => dumping.all('dumped').length === 1);
    assert.deepEqual(await leftAlone(dumping), { code: 1008, error: 'KTRACE_E_HANDSHAKE' });
    t.mock.timers.reset();
    await until('no client is connected', () => server.clients === 0);
  });

  it('does not read on while it looks for an answer', async (t) => {
    const waiting: (() => void)[] = [];
    const authorize: Authorize = () =>
      new Promise((resolve) => waiting.push(() => resolve({ accounts: ['somebody'], allowed: 'all' })));
    const { connect } = await serve(t, { clockMs: 10 }, { authorize });
    for (const question of [
      { type: 'doctor' },
      { type: 'recorded', targets: [{ kind: 'all' }] },
      { type: 'dump', targets: [{ kind: 'all' }], sinceMs: 0, untilMs: 1 },
      subscribe,
    ]) {
      const client = connect();
      await client.hello();
      client.say(question);
      await until('the right is asked for', () => waiting.length > 0);
      for (let i = 0; i < 6; i += 1) client.socket.send('x'.repeat(2 * 1024 * 1024));
      const clocks = client.all('clock').length;
      await client.until(() => client.all('clock').length > clocks + 20 || client.socket.bufferedAmount === 0);
      assert.ok(
        client.socket.bufferedAmount > 8 * 1024 * 1024,
        `${question.type}: ${client.socket.bufferedAmount} bytes are not read`,
      );
      waiting.shift()?.();
      await client.until(() => client.closed !== undefined);
    }
  });

  it('takes new tokens at a bounded rate', async (t) => {
    const asked: string[] = [];
    let nowMs = 0;
    const authorize: Authorize = async ([token = '']) => {
      asked.push(token);
      return { accounts: ['somebody'], allowed: 'all' };
    };
    const { connect } = await serve(t, {}, { authorize, nowMs: () => nowMs });
    const client = connect();
    await client.subscribe();
    for (let i = 0; i < 64; i += 1) client.say({ type: 'auth', token: `${i}` });
    await client.subscribe();
    nowMs += 1000;
    client.say({ type: 'auth', token: 'in time' });
    client.say({ type: 'auth', token: 'too soon' });
    assert.deepEqual(await endOf(client), { code: 1002, error: 'KTRACE_E_PROTOCOL' });
    assert.equal(asked.at(-1), 'in time');
  });

  it('ends when its client gives no sign of life, and the session waits', async (t) => {
    let nowMs = 0;
    const { connect, feed, server } = await serve(t, { clockMs: 10, deadAfterMs: 60_000 }, { nowMs: () => nowMs });
    const client = connect();
    await client.subscribe();
    client.socket.pause();
    nowMs = 60_001;
    await until('no client is connected', () => server.clients === 0);
    assert.equal(feed.followers.size, 1);
  });

  it('survives a feed that refuses a subscription, and says why', async (t) => {
    const { connect, feed } = await serve(t);
    feed.follow = () => {
      throw new KtraceError('KTRACE_E_SELECTOR', 'Expected a label selector, got "=="', { hint: 'Look.' });
    };
    const client = connect();
    await client.hello();
    client.say(subscribe);
    await client.until(() => client.closed !== undefined);
    assert.deepEqual(client.all('error'), [
      { type: 'error', code: 'KTRACE_E_SELECTOR', message: 'Expected a label selector, got "=="', hint: 'Look.' },
    ]);
  });

  it('hides the reason of an unforeseen fault from the client', async (t) => {
    const { connect, feed } = await serve(t);
    feed.follow = () => {
      throw new TypeError('secret path');
    };
    const client = connect();
    await client.hello();
    client.say(subscribe);
    assert.deepEqual(await endOf(client), { code: 1011, error: 'KTRACE_E_INTERNAL' });
    assert.doesNotMatch(JSON.stringify(client.all('error')), /secret/);
  });

  it('hands the token and what is asked for to authorize, in the order things were said', async (t) => {
    const asked: [string[], string][] = [];
    const authorize: Authorize = async (tokens, { units }) => {
      await new Promise(setImmediate);
      asked.push([[...tokens], units]);
      if (tokens.includes('expired')) throw new KtraceError('KTRACE_E_NOT_AUTHORIZED', 'The token is not valid');
      return { accounts: ['somebody'], allowed: 'all' };
    };
    const { connect, feed } = await serve(t, {}, { authorize });
    const client = connect({ autoCredit: true });
    await client.hello();
    client.say({ type: 'auth', token: 'one' });
    client.say({ ...subscribe, units: 'packets' });
    client.say({ type: 'credit', events: 10 });
    client.say({ type: 'auth', token: 'two' });
    await client.until(() => asked.length === 2);
    assert.deepEqual(asked, [
      [['one'], 'packets'],
      [['two'], 'packets'],
    ]);
    feed.publish(packet(1));
    await client.until(() => client.events.length === 1);
    client.say({ type: 'auth', token: 'expired' });
    assert.deepEqual(await endOf(client), { code: 1008, error: 'KTRACE_E_NOT_AUTHORIZED' });
    assert.equal(feed.followers.size, 0);
  });

  it('opens no session for a client that left while it was authorized', async (t) => {
    let letIn: (() => void) | undefined;
    const authorize: Authorize = () =>
      new Promise((resolve) => {
        letIn = () => resolve({ accounts: [], allowed: 'all' });
      });
    let nowMs = 0;
    const { connect, feed, server } = await serve(t, { clockMs: 5 }, { authorize, nowMs: () => nowMs });
    const client = connect();
    await client.hello();
    client.say(subscribe);
    await until('the right is asked for', () => letIn !== undefined);
    client.socket.terminate();
    nowMs = 3_600_000;
    await until('no client is connected', () => server.clients === 0);
    letIn?.();
    await new Promise(setImmediate);
    assert.equal(feed.followers.size, 0);
  });

  it('leaves no handle behind after 100 clients that vanished in every state', async (t) => {
    const { connect, feed, server } = await serve(t, { clients: 200, lingerMs: 20 });
    const first = connect();
    await first.subscribe();
    const before = process.getActiveResourcesInfo().length;
    const clients = Array.from({ length: 100 }, () => connect());
    for (const [index, client] of clients.entries()) {
      if (index % 3 === 0) continue;
      await client.subscribe();
      if (index % 3 === 1) client.say({ type: 'credit', events: 100 });
    }
    for (let i = 0; i < 50; i += 1) feed.publish(packet(i));
    for (const client of clients) client.socket.on('error', () => {}).terminate();
    await until('one client follows', () => server.clients === 1 && feed.followers.size === 1);
    await until('all clients are closed', () => clients.every(({ socket }) => socket.readyState === WebSocket.CLOSED));
    await until('no handle is left', () => process.getActiveResourcesInfo().length <= before + 1);
    assert.deepEqual(server.held().bytes < 100_000, true);
  });
});
