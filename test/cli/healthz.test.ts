import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runGate } from '../../src/gate/gate.ts';
import { DEFAULT_SOCKET, GATE_HEALTH_PATH, GATE_PORT } from '../../src/protocol/constants.ts';
import { quiet, serve, temporaryDirectory } from '../agent/serve/server-fixture.ts';

const HEALTHZ = fileURLToPath(new URL('../../native/build/Release/ktrace-healthz', import.meta.url));

/** Its exit status, and its reason without the name and the code. */
function healthz(argv: string[], env: Record<string, string> = {}): Promise<{ code: number; reason: string }> {
  return new Promise((resolve, reject) => {
    execFile(HEALTHZ, argv, { env }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') return reject(error);
      assert.equal(stdout, '');
      const [, reason = stderr] = /^ktrace: (.*) \[KTRACE_E_(?:UNHEALTHY|ARGUMENT)\]\n$/.exec(stderr) ?? [];
      resolve({ code: Number(error?.code ?? 0), reason });
    });
  });
}

const WELL = { code: 0, reason: '' };

test('an agent that lives is healthy, and ready when its feed is', async (t) => {
  const { socketPath, feed } = await serve(t);
  assert.deepEqual(await healthz(['--socket', socketPath]), WELL);
  assert.deepEqual(await healthz(['--socket', socketPath, '--ready']), WELL);
  feed.why = 'The API server has not answered yet';
  assert.deepEqual(await healthz([], { KTRACE_SOCKET: socketPath }), WELL);
  assert.deepEqual(await healthz(['--socket', socketPath, '--ready']), {
    code: 1,
    reason: `The agent at ${socketPath} answers The API server has not answered yet`,
  });
});

test('no agent, and one that answers nonsense or nothing, are not healthy, and nothing of it reaches a terminal', async (t) => {
  const directory = await temporaryDirectory(t);
  const { code, reason } = await healthz(['--socket', join(directory, 'none.sock')]);
  assert.equal(code, 1);
  assert.match(reason, /^The agent at \S+ cannot be asked: No such file or directory$/);
  for (const [name, answer, told] of [
    ['nonsense', 'SSH-2.0-OpenSSH\r\n', 'SSH-2.0-OpenSSH'],
    ['escapes', '\u001b[2J\u00e9\r\n', '?[2J??'],
    ['much', 'x'.repeat(100_000), 'x'.repeat(255)],
    ['nothing', '', 'nothing'],
    ['refusal', 'HTTP/1.1 503 Busy\r\n\r\n{"code":"KTRACE_E_BUSY","message":"No room"}\n', 'No room'],
    ['quote', 'HTTP/1.1 503 Busy\r\n\r\n{"message":"got \\"x\\"","hint":"y"}', 'got \\"x\\"'],
    ['almost', 'HTTP/1.1 2000 OK\r\n\r\nok\n', 'HTTP/1.1 2000 OK'],
  ] as const) {
    const socketPath = join(directory, name);
    const server = createServer((socket) => socket.on('error', () => undefined).end(answer)).listen(socketPath);
    t.after(() => server.close());
    assert.deepEqual(await healthz(['--socket', socketPath]), { code: 1, reason: `The agent at ${socketPath} answers ${told}` });
  }
});

test('a gate that lives is healthy without an agent, and ready with one that is', async (t) => {
  const socketPath = join(await temporaryDirectory(t), 'agent.sock');
  const gate = await runGate({ socketPath, port: 0, metricsPort: 0, log: quiet });
  t.after(() => gate.close());
  const port = String(gate.port);
  assert.deepEqual(await healthz(['--gate', '--port', port]), WELL);
  assert.deepEqual(await healthz(['--gate', '--ready', '--port', port]), {
    code: 1,
    reason: `The gate at port ${port} answers The agent on this node is not running`,
  });
  await serve(t, {}, { socketPath });
  assert.deepEqual(await healthz(['--gate', '--ready'], { KTRACE_GATE_PORT: port }), WELL);
  await gate.close();
  assert.deepEqual(await healthz(['--gate', '--port', port]), {
    code: 1,
    reason: `The gate at port ${port} cannot be asked: Connection refused`,
  });
});

test('who waits is told as soon as it is so, and after the time the reason as it is then', async (t) => {
  const socketPath = join(await temporaryDirectory(t), 'agent.sock');
  const waiting = healthz(['--socket', socketPath, '--ready', '--wait', '60']);
  const { feed } = await serve(t, {}, { socketPath });
  assert.deepEqual(await waiting, WELL);
  feed.why = 'The API server has not answered yet';
  const waitingLonger = healthz(['--socket', socketPath, '--ready', '--wait', '60']);
  setTimeout(() => (feed.why = undefined), 300);
  assert.deepEqual(await waitingLonger, WELL);
  feed.why = 'The API server has not answered yet';
  assert.deepEqual(await healthz(['--socket', socketPath, '--ready', '--wait', '1']), {
    code: 1,
    reason: `The agent at ${socketPath} answers The API server has not answered yet`,
  });
});

test('one that is silent is told after 4 s, and who waits asks it again', async (t) => {
  const directory = await temporaryDirectory(t);
  const silent = (name: string, answers: readonly string[]): string => {
    const left = [...answers];
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket.on('error', () => undefined));
      const answer = left.shift();
      if (answer !== undefined && answer !== '') socket.end(answer);
    });
    t.after(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    return server.listen(join(directory, name)).address() as string;
  };
  const mute = silent('mute', []);
  const busy = silent('busy', ['', 'HTTP/1.1 200 OK\r\n\r\nok\n']);
  assert.deepEqual(await Promise.all([healthz(['--socket', mute]), healthz(['--socket', busy, '--wait', '60'])]), [
    { code: 1, reason: `The agent at ${mute} does not answer within 4 s` },
    WELL,
  ]);
});

test('asks where agents and gates are by default', () => {
  const source = readFileSync(new URL('../../native/src/healthz.cc', import.meta.url), 'utf8');
  for (const text of [`"${DEFAULT_SOCKET}"`, `kGatePort = ${GATE_PORT};`, `"${GATE_HEALTH_PATH}"`])
    assert.ok(source.includes(text), text);
});

test('wrong arguments are told, and are no answer of an agent', async () => {
  for (const [argv, expected] of [
    [['--gate', '--port', '0'], /^Expected a whole number from 1 to 65535 for --port/],
    [['--gate', '--port', '7471x'], /got "7471x"$/],
    [['--wait', '0'], /^Expected a whole number of seconds from 1 to 60 for --wait, got "0"$/],
    [['--wait', '1.5'], /for --wait, got "1.5"$/],
    [['--wait', '61'], /for --wait/],
    [['--socket', 'agent.sock'], /^Expected an absolute path of at most 107 bytes for --socket/],
    [['--socket', `/${'x'.repeat(107)}`], /^Expected an absolute path/],
    [['--gate', '--port', '+7471'], /for --port/],
    [['--gate', '--port', ''], /for --port/],
    [['--socket', ''], /for --socket/],
    [['agent'], /^Expected \[--gate\] .* got "agent"$/],
  ] as const) {
    const { code, reason } = await healthz([...argv]);
    assert.equal(code, 2);
    assert.match(reason, expected);
  }
  assert.equal((await healthz(['--live'])).code, 2);
});
