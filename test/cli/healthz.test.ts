import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { askHealth } from '../../src/cli/commands/healthz.ts';
import { runGate } from '../../src/gate/gate.ts';
import { KtraceError } from '../../src/util/errors.ts';
import { quiet, serve, temporaryDirectory } from '../agent/server-fixture.ts';

test('an agent that lives is healthy, and ready when its feed is', async (t) => {
  const { socketPath, feed } = await serve(t);
  assert.equal(await askHealth({ socket: socketPath }), 0);
  assert.equal(await askHealth({ socket: socketPath, ready: true }), 0);
  feed.why = 'The API server has not answered yet';
  assert.equal(await askHealth({}, { KTRACE_SOCKET: socketPath }), 0);
  await assert.rejects(
    () => askHealth({ socket: socketPath, ready: true }),
    isUnhealthy(/^The agent at \S+ answers The API server has not answered yet$/),
  );
});

test('no agent, and one that answers nonsense or nothing, are not healthy', async (t) => {
  const directory = await temporaryDirectory(t);
  await assert.rejects(() => askHealth({ socket: join(directory, 'none.sock') }), isUnhealthy(/cannot be asked: .*ENOENT/));
  for (const [name, answer, text] of [
    ['nonsense', 'SSH-2.0-OpenSSH\r\n', /answers SSH-2\.0-OpenSSH$/],
    ['nothing', '', /answers nothing$/],
  ] as const) {
    const socketPath = join(directory, name);
    const server = createServer((socket) => socket.end(answer)).listen(socketPath);
    t.after(() => server.close());
    await assert.rejects(() => askHealth({ socket: socketPath }), isUnhealthy(text));
  }
});

test('a gate that lives is healthy without an agent, and ready with one that is', async (t) => {
  const socketPath = join(await temporaryDirectory(t), 'agent.sock');
  const gate = await runGate({ socketPath, port: 0, metricsPort: 0, log: quiet });
  t.after(() => gate.close());
  const port = String(gate.port);
  assert.equal(await askHealth({ gate: true, port }), 0);
  await assert.rejects(
    () => askHealth({ gate: true, ready: true, port }),
    isUnhealthy(/^The gate at port \d+ answers The agent on this node is not running$/),
  );
  await serve(t, {}, { socketPath });
  assert.equal(await askHealth({ gate: true, ready: true }, { KTRACE_GATE_PORT: port }), 0);
  await gate.close();
  await assert.rejects(
    () => askHealth({ gate: true, port }),
    isUnhealthy(/^The gate at port \d+ cannot be asked: .*ECONNREFUSED/),
  );
});

function isUnhealthy(text: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof KtraceError);
    assert.equal(error.code, 'KTRACE_E_UNHEALTHY');
    assert.match(error.message, text);
    return true;
  };
}
