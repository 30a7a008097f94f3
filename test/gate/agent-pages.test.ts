import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { AgentPages } from '../../src/gate/agent-pages.ts';
import { temporaryDirectory } from '../agent/serve/server-fixture.ts';

test('a hundred who want a page at once make one request, and a failure is told to all and forgotten', async (t) => {
  const socketPath = join(await temporaryDirectory(t), 'agent.sock');
  let asked = 0;
  const agent = createServer((_, response) => {
    asked += 1;
    response.end(`${asked}`);
  });
  t.after(() => agent.close());
  const pages = new AgentPages(socketPath, 10_000, () => 0);
  const wanted = () => Promise.allSettled(Array.from({ length: 100 }, () => pages.get('/metrics')));
  for (const answer of await wanted()) assert.equal(answer.status === 'rejected' && answer.reason.code, 'KTRACE_E_AGENT_DOWN');
  agent.listen(socketPath);
  await once(agent, 'listening');
  for (const answer of await wanted()) assert.equal(answer.status === 'fulfilled' && String(answer.value.body), '1');
  assert.equal(String((await pages.get('/metrics')).body), '1');
  assert.equal(String((await pages.get('/readyz')).body), '2');
});
