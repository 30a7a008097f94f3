import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { packet } from '../agent/serve/fake-feed.ts';
import { serve } from '../agent/serve/server-fixture.ts';
import { StreamClient } from '../agent/serve/stream-client.ts';

describe('gateMain', () => {
  it('relays in a process of its own until SIGTERM, logs to stderr only, and exits 0', async (t) => {
    const { feed, socketPath } = await serve(t);
    const main = new URL('../../src/gate/main.ts', import.meta.url).href;
    const config = JSON.stringify({ socket: socketPath, port: 0, metricsPort: 0, maxConnections: 4, logLevel: 'info' });
    const script = `import(${JSON.stringify(main)}).then(({ gateMain }) => gateMain(${config}))`;
    const gate = spawn(process.execPath, ['--import', 'tsx', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] });
    t.after(() => gate.kill('SIGKILL'));
    let stdout = '';
    gate.stdout.on('data', (chunk) => (stdout += chunk));
    const [line] = await once(createInterface(gate.stderr), 'line');
    const { port, name } = JSON.parse(line);
    assert.equal(name, 'ktrace-gate');

    const client = new StreamClient(`ws://127.0.0.1:${port}/v1/stream`, { autoCredit: true });
    await client.subscribe();
    client.say({ type: 'credit', events: 10 });
    feed.publish(packet(1));
    await client.until(() => client.events.length === 1);
    gate.kill('SIGTERM');
    const [code] = await once(gate, 'exit');
    assert.equal(code, 0);
    assert.equal(stdout, '');
    await client.until(() => client.closed !== undefined);
    assert.equal(feed.followers.size, 1, 'the session waits for its client');
  });
});
