import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { agentSocket } from '../../../src/lab/agents.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { STREAM_PATH } from '../../../src/protocol/constants.ts';
import { StreamClient, unixUrl } from '../../agent/serve/stream-client.ts';
import { before } from '../../support/evidence.ts';
import { until } from '../../support/until.ts';
import { fuzz } from '../support/fuzz/fuzz.ts';
import { type GateProcess, startGate } from '../support/gate-process.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';
import { openFiles, peakBytes } from '../support/process-figures.ts';

const NODE = 'host1';
const FRAMES = 100_000;
const REQUESTS = 10_000;
/** The limits of memory in the manifests: beyond them the kernel would have killed it. */
const MEMORY_LIMITS = { agent: 512 * 1024 * 1024, gate: 192 * 1024 * 1024 };

suite('a gate and an agent that are told rubbish', { skip: SKIP }, () => {
  const name = randomLabName();
  let lab: Lab;
  let gate: GateProcess;

  before(async () => {
    lab = await labUp({ name, bound: true, agents: false });
    // Without tokens what is said gets further.
    await lab.startAgent(NODE, ['--authorization', 'off']);
    gate = await startGate(lab, NODE);
  });
  after(async () => {
    gate?.child.kill('SIGKILL');
    await removeLab(name);
  });

  test(`of ${FRAMES} frames and ${REQUESTS} requests serve who is there, and stay within their memory`, async (t) => {
    const socketPath = agentSocket(lab.directory, NODE);
    const agent = lab.agent(NODE);
    const pids = { agent: agent?.pid ?? 0, gate: gate.child.pid ?? 0 };
    const streamUrl = `ws://127.0.0.1:${gate.port}${STREAM_PATH}`;
    // Somebody who follows all the time: nothing is attached and detached at each subscription, and they are to go on.
    const steady = new StreamClient(streamUrl, { autoCredit: true });
    await steady.subscribe();
    steady.say({ type: 'credit', events: 10_000 });
    await until('packets', () => steady.events.length > 0);
    const before = figures(pids);
    const seed = Number(process.env['KTRACE_FUZZ_SEED'] ?? 1);
    const toGate = { host: '127.0.0.1', port: gate.port };
    const toAgent = { path: socketPath };
    const counts = await fuzz({
      seed,
      frames: FRAMES,
      requests: REQUESTS,
      streams: [toGate, toAgent],
      servers: [toGate, { host: '127.0.0.1', port: gate.metricsPort }, toAgent],
      concurrency: 16,
    });
    t.diagnostic(`seed ${seed}: ${JSON.stringify(counts)}`);
    assert.ok(counts.upgraded > 1000, 'hardly any websocket was opened: the frames met nobody');

    const seen = steady.events.length;
    await until('the steady follower goes on', () => steady.events.length > seen);
    assert.equal(steady.closed, undefined);
    for (const url of [streamUrl, unixUrl(socketPath)]) {
      const fresh = new StreamClient(url, { autoCredit: true });
      await fresh.subscribe();
      fresh.say({ type: 'credit', events: 1000 });
      await until('a new follower is told', () => fresh.events.some(({ kind }) => kind === 'packet'));
      await fresh.leave();
    }
    assert.deepEqual(lab.agent(NODE), agent, 'the agent is another process');
    assert.deepEqual([gate.child.exitCode, gate.child.signalCode], [null, null]);
    await until(
      'the files are closed again',
      () => {
        const now = figures(pids);
        return now.agent.files <= before.agent.files && now.gate.files <= before.gate.files;
      },
      45_000,
    );
    const now = figures(pids);
    t.diagnostic(`${JSON.stringify(before)} -> ${JSON.stringify(now)}`);
    for (const one of ['agent', 'gate'] as const) {
      assert.ok(now[one].bytes < MEMORY_LIMITS[one], `${one}: ${now[one].bytes} bytes at its peak`);
    }
    await steady.leave();
  });

  test('have found no error of their own', () => {
    const agentLog = readFileSync(join(lab.directory, 'log', `agent-${NODE}.log`), 'utf8')
      .trim()
      .split('\n');
    for (const line of [...agentLog, ...gate.log]) {
      assert.ok((JSON.parse(line) as { level: number }).level < 50, line);
    }
  });
});

function figures(pids: { agent: number; gate: number }): Record<'agent' | 'gate', { bytes: number; files: number }> {
  const of = (pid: number) => ({ bytes: peakBytes(pid), files: openFiles(pid) });
  return { agent: of(pids.agent), gate: of(pids.gate) };
}
