import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer as createHttpServer, request } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { type Gate, type GateOptions, runGate } from '../../src/gate/gate.ts';
import { KtraceError } from '../../src/util/errors.ts';
import { createLog } from '../../src/util/log.ts';
import { packet } from '../agent/serve/fake-feed.ts';
import { serve } from '../agent/serve/server-fixture.ts';
import { published, refusal, StreamClient } from '../agent/serve/stream-client.ts';
import { until } from '../support/until.ts';

const HAS_IPV6 = Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === '::1'));
const log = createLog('test', 'silent');

async function openGate(t: TestContext, socketPath: string, options: Partial<GateOptions> = {}): Promise<Gate> {
  const gate = await runGate({ socketPath, port: 0, metricsPort: 0, log, ...options });
  t.after(() => gate.close());
  return gate;
}

async function noAgent(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'ktrace-gate-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return join(directory, 'agent.sock');
}

function client(
  t: TestContext,
  { port }: { port: number },
  options?: ConstructorParameters<typeof StreamClient>[1],
): StreamClient {
  const made = new StreamClient(`ws://127.0.0.1:${port}/v1/stream`, options);
  t.after(() => made.socket.terminate());
  return made;
}

/** A socket that has asked for the websocket by hand. */
function connectRaw(port: number): Socket {
  const socket = connect(port, '127.0.0.1').on('error', () => {});
  const headers = ['Host: a', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Protocol: ktrace.v1'];
  socket.write(['GET /v1/stream HTTP/1.1', ...headers, '', ''].join('\r\n'));
  return socket;
}

async function get(
  port: number,
  path: string,
  options: { method?: string; headers?: Record<string, string>; host?: string; localAddress?: string } = {},
) {
  const asked = request({ host: '127.0.0.1', port, path, agent: false, ...options });
  asked.end();
  const [response] = await once(asked, 'response');
  let body = '';
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode as number, body };
}

describe('the gate', () => {
  it('joins clients to the agent', async (t) => {
    const { feed, socketPath } = await serve(t);
    const gate = await openGate(t, socketPath);
    const clients = [client(t, gate, { autoCredit: true }), client(t, gate, { autoCredit: true })];
    for (const one of clients) {
      await one.subscribe();
      one.say({ type: 'credit', events: 1000 });
    }
    for (let i = 0; i < 5000; i += 1) feed.publish(packet(i));
    for (const one of clients) await one.until(() => one.events.length === 5000);
    assert.equal(gate.connections, 2);
    for (const one of clients) await one.leave();
    await until('no connection and no follower is left', () => gate.connections === 0 && feed.followers.size === 0);
  });

  it('is open on IPv6 loopback too, where there is one', { skip: HAS_IPV6 ? false : 'this machine has no ::1' }, async (t) => {
    const { socketPath } = await serve(t);
    const gate = await openGate(t, socketPath);
    const six = new StreamClient(`ws://[::1]:${gate.port}/v1/stream`);
    t.after(() => six.socket.terminate());
    assert.equal((await six.hello()).node, 'host1');
  });

  it('carries a broken connection over to the next, with nothing twice and nothing missing', async (t) => {
    const { feed, socketPath } = await serve(t);
    const gate = await openGate(t, socketPath);
    const first = client(t, gate, { autoCredit: true });
    const { instance } = await first.hello();
    const { session } = await first.subscribe();
    first.say({ type: 'credit', events: 700 });
    for (let i = 0; i < 5000; i += 1) feed.publish(packet(i));
    await first.until(() => first.events.length > 1000);
    await first.break();
    for (let i = 5000; i < 6000; i += 1) feed.publish(packet(i));
    const second = client(t, gate, { autoCredit: true });
    second.lastSeq = first.lastSeq;
    const { resumed, missed } = await second.subscribe({ resume: { instance, session, seq: first.lastSeq } });
    assert.deepEqual([resumed, missed], [true, 0]);
    second.say({ type: 'credit', events: 700 });
    await second.until(() => first.events.length + second.events.length >= 6000);
    const ids = [...first.events, ...second.events].map((event) => (event.kind === 'packet' ? event.id : event.kind));
    assert.deepEqual(
      ids,
      Array.from({ length: 6000 }, (_, i) => `default-${i}`),
    );
  });

  it('passes the slowness of a client on to the agent, and does not fill up itself', async (t) => {
    const { feed, server, socketPath } = await serve(t, { socketBytes: 64 * 1024, queueEvents: 1000 });
    const gate = await openGate(t, socketPath);
    const slow = client(t, gate, { autoCredit: true });
    const quick = client(t, gate, { autoCredit: true });
    for (const one of [slow, quick]) await one.subscribe();
    for (const one of [slow, quick]) one.say({ type: 'credit', events: 1_000_000 });
    for (const one of [slow, quick]) await one.subscribe();
    slow.socket.pause();
    const total = 60_000;
    for (let i = 0; i < total; i += 1) {
      feed.publish(packet(i));
      // As fast as the quick one reads, so that only the other falls behind.
      if (i % 500 === 499) await quick.until(() => quick.events.length >= i - 499);
    }
    await quick.until(() => quick.events.length === total);
    assert.ok(server.held().events <= 2002, `${server.held().events} events are held`);
    slow.socket.resume();
    await slow.until(() => published(slow.events) === total);
    assert.ok(slow.events.some((event) => event.kind === 'lost'));
  });

  it('gives on what an agent writes byte for byte to a client that reads now and then, and the end behind it', async (t) => {
    const socketPath = await noAgent(t);
    // More than the kernel keeps for two sockets, and no two words the same.
    const sent = Buffer.from(Uint32Array.from({ length: 8 << 20 }, (_, index) => index).buffer);
    const agent = createServer((socket) => socket.once('data', () => socket.end(sent))).listen(socketPath);
    t.after(() => agent.close());
    await once(agent, 'listening');
    const gate = await openGate(t, socketPath);
    const reader = connectRaw(gate.port);
    const parts: Buffer[] = [];
    reader.on('data', (part) => {
      parts.push(part);
      if (parts.length % 100 !== 1) return;
      reader.pause();
      setTimeout(() => reader.resume(), 5);
    });
    await once(reader, 'end');
    assert.ok(Buffer.concat(parts).equals(sent));
  });

  it('lets go of an agent that goes on writing when its client is gone', async (t) => {
    const socketPath = await noAgent(t);
    const part = Buffer.alloc(1 << 20);
    const agent = createServer({ allowHalfOpen: true }, (socket) => {
      const flood = () => {
        while (socket.writable && socket.write(part));
      };
      socket
        .on('error', () => {})
        .on('drain', flood)
        .once('data', flood);
    }).listen(socketPath);
    t.after(() => agent.close());
    await once(agent, 'listening');
    const gate = await openGate(t, socketPath, { halfClosedMs: 600_000 });
    const socket = connect(gate.port, '127.0.0.1').on('error', () => {});
    t.after(() => socket.destroy());
    // The answer to the first request ends the connection, and with it the websocket behind it.
    const headers = ['Host: a', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Protocol: ktrace.v1'];
    socket.write(`GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n${['GET /v1/stream HTTP/1.1', ...headers, '', ''].join('\r\n')}`);
    await once(socket.resume(), 'close');
    await until('the relay is gone', () => gate.connections === 0);
  });

  it('passes on that the agent stopped', async (t) => {
    const { server, socketPath } = await serve(t);
    const gate = await openGate(t, socketPath);
    const one = client(t, gate);
    await one.subscribe();
    await server.close();
    await one.until(() => one.closed !== undefined);
    assert.equal(one.all('bye').length, 1);
    await until('no connection is left', () => gate.connections === 0);
  });

  it('says that the agent is not running, and what to do', async (t) => {
    const gate = await openGate(t, await noAgent(t));
    const { status, body } = await refusal(client(t, gate));
    assert.equal(status, 503);
    assert.deepEqual(Object.keys(body), ['code', 'message', 'hint']);
    assert.equal(body['code'], 'KTRACE_E_AGENT_DOWN');
    for (const path of ['/healthz', '/readyz']) {
      const answer = await get(gate.port, path);
      assert.equal(answer.status, 503);
      assert.equal(JSON.parse(answer.body).code, 'KTRACE_E_AGENT_DOWN');
    }
    await until('no connection is left', () => gate.connections === 0);
  });

  it('says that the agent does not answer', async (t) => {
    const socketPath = await noAgent(t);
    const taken: Socket[] = [];
    const silent = createServer((socket) => taken.push(socket)).listen(socketPath);
    await once(silent, 'listening');
    t.after(() => {
      for (const socket of taken) socket.destroy();
      silent.close();
    });
    const gate = await openGate(t, socketPath, { handshakeMs: 50 });
    const { status, body } = await refusal(client(t, gate));
    assert.deepEqual([status, body['code']], [504, 'KTRACE_E_AGENT_SILENT']);
    assert.equal((await get(gate.port, '/healthz')).status, 504);
    await until('no connection is left', () => gate.connections === 0);
  });

  it('says so when the agent closes without a word', async (t) => {
    const socketPath = await noAgent(t);
    const full = createServer((socket) => socket.end()).listen(socketPath);
    await once(full, 'listening');
    t.after(() => full.close());
    const gate = await openGate(t, socketPath);
    const { status, body } = await refusal(client(t, gate));
    assert.deepEqual([status, body['code']], [503, 'KTRACE_E_AGENT_DOWN']);
    await until('no connection is left', () => gate.connections === 0);
  });

  it('does not wait for a stopped agent when a client leaves, nor when it closes itself', async (t) => {
    const socketPath = await noAgent(t);
    const taken: Socket[] = [];
    // Answers the handshake's first bytes, and never reads or closes again.
    const stopped = createServer({ allowHalfOpen: true }, (socket) => {
      taken.push(socket.on('error', () => {}));
      socket.write('HTTP/1.1 101 Switching Protocols\r\n');
    }).listen(socketPath);
    await once(stopped, 'listening');
    t.after(() => {
      for (const socket of taken) socket.destroy();
      stopped.close();
    });
    const gate = await runGate({ socketPath, port: 0, metricsPort: 0, log, halfClosedMs: 30 });
    const leaving = connectRaw(gate.port);
    await once(leaving, 'data');
    leaving.end();
    await until('no connection is left', () => gate.connections === 0);
    const staying = connectRaw(gate.port);
    await once(staying, 'data');
    await gate.close();
    await until('no connection is left', () => gate.connections === 0);
  });

  it('finds the agent again when it comes back', async (t) => {
    const socketPath = await noAgent(t);
    const gate = await openGate(t, socketPath);
    assert.equal((await get(gate.port, '/readyz')).status, 503);
    await serve(t, {}, { socketPath });
    assert.equal((await get(gate.port, '/readyz')).status, 200);
    await client(t, gate).hello();
  });

  it('lets through only what a client needs', async (t) => {
    const { socketPath } = await serve(t);
    const gate = await openGate(t, socketPath);
    assert.deepEqual(await get(gate.port, '/healthz'), { status: 200, body: 'ok\n' });
    assert.equal((await get(gate.port, '/metrics')).status, 404);
    assert.equal((await get(gate.port, '/')).status, 404);
    assert.equal((await get(gate.port, '/v1/stream')).status, 426);
    assert.equal((await get(gate.port, '/healthz', { method: 'DELETE' })).status, 405);
    assert.equal((await get(gate.port, '/healthz', { headers: { origin: 'http://a' } })).status, 403);
    assert.equal((await refusal(client(t, gate, { headers: { origin: 'http://a' } }))).status, 403);
    assert.equal((await refusal(client(t, gate, { subprotocol: 'other' }))).status, 400);
    assert.equal(gate.connections, 0);
  });

  it('does not let a second request ride behind the first', async (t) => {
    const { socketPath } = await serve(t);
    const gate = await openGate(t, socketPath);
    const socket = connect(gate.port, '127.0.0.1');
    socket.write('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n');
    let text = '';
    socket.on('data', (chunk) => (text += chunk));
    await once(socket, 'close');
    assert.match(text, /^HTTP\/1\.1 200 /);
    assert.doesNotMatch(text, /ktrace_sightings_total/);
  });

  it('serves metrics and probes, and nothing else, on the metrics port', async (t) => {
    const { feed, socketPath } = await serve(t);
    const gate = await openGate(t, socketPath);
    const { status, body } = await get(gate.metricsPort, '/metrics');
    assert.equal(status, 200);
    assert.match(body, /^ktrace_sightings_total\{hook="tc"\} 7$/m);
    assert.match(body, /^ktrace_gate_agent_up 1$/m);
    assert.equal((await get(gate.metricsPort, '/v1/stream')).status, 404);
    assert.equal((await get(gate.metricsPort, '/healthz')).status, 200);
    feed.why = 'not yet';
    assert.equal((await get(gate.metricsPort, '/readyz')).status, 503);
    assert.equal((await get(gate.metricsPort, '/healthz')).status, 200);
    const asked = request({
      port: gate.metricsPort,
      path: '/v1/stream',
      headers: { connection: 'upgrade', upgrade: 'websocket' },
    });
    asked.end();
    const [response] = await once(asked, 'response');
    response.resume();
    assert.equal(response.statusCode, 404);
  });

  it('asks the agent once for all who ask at the same time, and no more than once a second', async (t) => {
    const socketPath = await noAgent(t);
    const asked: Record<string, number> = {};
    const waiting: (() => void)[] = [];
    const agent = createHttpServer(({ url = '' }, response) => {
      asked[url] = (asked[url] ?? 0) + 1;
      waiting.push(() => response.writeHead(200, { 'Content-Type': 'text/plain' }).end(`answer ${asked[url]}\n`));
    }).listen(socketPath);
    await once(agent, 'listening');
    t.after(() => agent.close());
    let nowMs = 0;
    const gate = await openGate(t, socketPath, { nowMs: () => nowMs });
    const doors: [path: string, port: number][] = [
      ['/metrics', gate.metricsPort],
      ['/readyz', gate.metricsPort],
      ['/healthz', gate.port],
    ];
    for (const [path, port] of doors) {
      const all = Promise.all(Array.from({ length: 4 }, () => get(port, path)));
      await until('the agent is asked', () => waiting.length > 0);
      // All have come to the gate when one that came behind them is answered.
      await get(gate.port, '/');
      for (const answer of waiting.splice(0)) answer();
      for (const { body } of await all) assert.match(body, /^answer 1$/m);
      assert.match((await get(port, path)).body, /^answer 1$/m);
      nowMs += 1000;
      const later = get(port, path);
      await until('the agent is asked again', () => waiting.length > 0);
      waiting.shift()?.();
      assert.match((await later).body, /^answer 2$/m);
    }
    assert.deepEqual(asked, { '/metrics': 2, '/readyz': 2, '/healthz': 2 });
  });

  it('still serves its own metrics, and is alive, without an agent', async (t) => {
    const gate = await openGate(t, await noAgent(t));
    const { status, body } = await get(gate.metricsPort, '/metrics');
    assert.equal(status, 200);
    assert.match(body, /^ktrace_gate_agent_up 0$/m);
    assert.equal((await get(gate.metricsPort, '/healthz')).status, 200);
    assert.equal((await get(gate.metricsPort, '/readyz')).status, 503);
  });

  it('relays no more connections than it may, and says so', async (t) => {
    const { socketPath } = await serve(t);
    const gate = await openGate(t, socketPath, { maxConnections: 2 });
    const two = [client(t, gate), client(t, gate)];
    for (const one of two) await one.hello();
    const { status, body } = await refusal(client(t, gate));
    assert.deepEqual([status, body['code']], [503, 'KTRACE_E_BUSY']);
    await two[0]?.break();
    await until('one connection stands', () => gate.connections === 1);
    await client(t, gate).hello();
  });

  it('cuts who is slow with a request, or sends a head too large', async (t) => {
    const { socketPath } = await serve(t);
    const gate = await openGate(t, socketPath, { handshakeMs: 60 });
    for (const said of ['', 'GET /v1/st', `GET /v1/stream HTTP/1.1\r\nA: ${'a'.repeat(40_000)}\r\n\r\n`]) {
      const socket = connect(gate.port, '127.0.0.1');
      socket.on('error', () => {});
      socket.resume();
      socket.write(said);
      await once(socket, 'close');
    }
    assert.equal(gate.connections, 0);
  });

  for (const count of [32, 200]) {
    it(`answers while ${count} sockets of one address say nothing, others and that address`, async (t) => {
      const { socketPath } = await serve(t);
      const gate = await openGate(t, socketPath, { handshakeMs: 3_600_000, metricsHeadMs: 3_600_000 });
      const silent = async (port: number): Promise<Socket> => {
        const socket = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.9' }).on('error', () => {});
        t.after(() => socket.destroy());
        await once(socket, 'connect');
        return socket.resume();
      };
      const all = await Promise.all(Array.from({ length: count }, () => silent(gate.metricsPort)));
      await until('all but four are cut', () => all.filter((socket) => !socket.destroyed).length === 4);
      for (const localAddress of ['127.0.0.8', '127.0.0.9']) {
        assert.equal((await get(gate.metricsPort, '/healthz', { localAddress })).status, 200);
        assert.match((await get(gate.metricsPort, '/metrics', { localAddress })).body, /^ktrace_gate_agent_up 1$/m);
      }
      // Clients come from one address all.
      await Promise.all(Array.from({ length: count }, () => silent(gate.port)));
      assert.equal((await get(gate.port, '/readyz')).status, 200);
      await client(t, gate).hello();
    });
  }

  it('answers though silent sockets of many addresses take all places of the metrics port', async (t) => {
    const { socketPath } = await serve(t);
    const gate = await openGate(t, socketPath, { metricsHeadMs: 3_600_000 });
    for (let i = 0; i < 64; i += 1) {
      const socket = connect({ port: gate.metricsPort, host: '127.0.0.1', localAddress: `127.0.1.${i + 1}` });
      t.after(() => socket.destroy());
      await once(
        socket.on('error', () => {}),
        'connect',
      );
    }
    assert.equal((await get(gate.metricsPort, '/metrics')).status, 200);
  });

  it('cuts no client that has its websocket for sockets that say nothing', async (t) => {
    const { socketPath } = await serve(t);
    const gate = await openGate(t, socketPath, { maxConnections: 2 });
    const one = client(t, gate);
    await one.hello();
    for (let i = 0; i < 100; i += 1) {
      const socket = connect(gate.port, '127.0.0.1');
      t.after(() => socket.destroy());
      await once(
        socket.on('error', () => {}),
        'connect',
      );
    }
    await one.subscribe();
  });

  it('says which port it could not have', async (t) => {
    const taken = createHttpServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    t.after(() => taken.close());
    const { port } = taken.address() as { port: number };
    await assert.rejects(
      runGate({ socketPath: '/nowhere', port, metricsPort: 0, log }),
      (error) => error instanceof KtraceError && error.code === 'KTRACE_E_LISTEN' && error.message.includes(String(port)),
    );
  });

  it('leaves no handle behind after 100 connections that were abandoned', async (t) => {
    const { feed, server, socketPath } = await serve(t, { clients: 200, lingerMs: 20 });
    const gate = await openGate(t, socketPath);
    const before = process.getActiveResourcesInfo().length;
    const sockets: Socket[] = [];
    const clients: StreamClient[] = [];
    for (let i = 0; i < 100; i += 1) {
      if (i % 2 === 0) {
        const socket = connect(gate.port, '127.0.0.1').on('error', () => {});
        if (i % 4 === 0) socket.write('GET /v1/stream HTTP/1.1\r\n');
        sockets.push(socket);
      } else {
        clients.push(client(t, gate));
      }
    }
    for (const one of clients.slice(10)) await one.subscribe();
    for (const socket of sockets) socket.destroy();
    for (const one of clients) one.socket.terminate();
    await until(
      'no connection, client and follower is left',
      () => gate.connections === 0 && server.clients === 0 && feed.followers.size === 0,
    );
    await until('no handle is left', () => process.getActiveResourcesInfo().length <= before + 1);
  });
});
