import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, suite, test } from 'node:test';
import { agentSocket } from '../../../src/lab/agents.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { STREAM_PATH, SUBPROTOCOL } from '../../../src/protocol/constants.ts';
import { refusal, StreamClient } from '../../agent/serve/stream-client.ts';
import { unixGet } from '../../agent/serve/unix-get.ts';
import { before } from '../../support/evidence.ts';
import { until } from '../../support/until.ts';
import { type GateProcess, startGate } from '../support/gate-process.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';
import { openFiles, peakBytes } from '../support/process-figures.ts';

const NODE = 'host1';
const CROWD = 100;
const ABANDONED = 10_000;
const AT_ONCE = 100;
/** As the manifests limit them. */
const MEMORY_LIMITS = { agent: 512 * 1024 * 1024, gate: 192 * 1024 * 1024 };
/** What an agent admits unless told otherwise. */
const MAX_CLIENTS = 32;
/** A beginning of a request, a whole one, and one that is a websocket's. */
const BEGINNINGS = [
  '',
  'GET / HTTP/1.1\r\nHost: x\r\n',
  'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n',
  `GET ${STREAM_PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ${SUBPROTOCOL}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
];

suite('a gate and an agent that many come to', { skip: SKIP }, () => {
  const name = randomLabName();
  let lab: Lab;
  let gate: GateProcess;
  let url: string;
  let steady: StreamClient;

  before(async () => {
    lab = await labUp({ name, bound: true, agents: false });
    await lab.startAgent(NODE, ['--authorization', 'off']);
    gate = await startGate(lab, NODE);
    url = `ws://127.0.0.1:${gate.port}${STREAM_PATH}`;
    steady = await following({ autoCredit: true });
  });
  after(async () => {
    gate?.child.kill('SIGKILL');
    await removeLab(name);
  });

  async function following(options: { autoCredit?: boolean }): Promise<StreamClient> {
    const client = new StreamClient(url, options);
    await client.subscribe({ units: 'packets' });
    if (options.autoCredit === true) client.say({ type: 'credit', events: 1000 });
    return client;
  }

  /** The sum of a metric's values whose labels contain this. */
  async function metric(metricName: string, label = ''): Promise<number> {
    const text = await unixGet(agentSocket(lab.directory, NODE), '/metrics');
    const lines = text.split('\n').filter((line) => line.startsWith(`${metricName}{`) || line.startsWith(`${metricName} `));
    return lines
      .filter((line) => line.includes(label))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }

  const pids = () => ({ agent: lab.agent(NODE)?.pid ?? 0, gate: gate.child.pid ?? 0 });

  async function assertAllIsWell(): Promise<void> {
    const seen = steady.events.length;
    await until('who was there first goes on', () => steady.events.length > seen);
    assert.equal(steady.closed, undefined);
    const fresh = await following({ autoCredit: true });
    await until('who comes new is told', () => fresh.events.some(({ kind }) => kind === 'packet'));
    await fresh.leave();
    const { agent, gate: ofGate } = pids();
    assert.ok(peakBytes(agent) < MEMORY_LIMITS.agent, `agent: ${peakBytes(agent)} bytes at its peak`);
    assert.ok(peakBytes(ofGate) < MEMORY_LIMITS.gate, `gate: ${peakBytes(ofGate)} bytes at its peak`);
  }

  test(`${CROWD} clients at once: as many as it admits are served, the others are told so, and what the slow ones miss is counted`, async () => {
    const outcomes = await Promise.all(
      Array.from({ length: CROWD }, async () => {
        const client = new StreamClient(url);
        const refused = refusal(client).catch(() => undefined);
        const opened = once(client.socket, 'open').then(() => undefined);
        return { client, refused: await Promise.race([opened, refused]) };
      }),
    );
    const admitted = outcomes.filter(({ refused }) => refused === undefined).map(({ client }) => client);
    assert.equal(admitted.length, MAX_CLIENTS - 1, 'one was there before');
    for (const { refused } of outcomes) {
      if (refused === undefined) continue;
      assert.deepEqual([refused.status, refused.body['code']], [503, 'KTRACE_E_BUSY']);
    }
    // They take nothing: their queues fill, are cut, and it is counted.
    await Promise.all(admitted.map((client) => client.subscribe({ units: 'packets' })));
    await until('queues fill', async () => (await metric('ktrace_server_events_queued')) > MAX_CLIENTS * 10);
    const inOut = async () => [
      (await metric('ktrace_server_events_in_total')) + (await metric('ktrace_server_events_put_back_total')),
      (await metric('ktrace_server_events_out_total')) +
        (await metric('ktrace_server_events_dropped_total')) +
        (await metric('ktrace_server_events_queued')),
    ];
    await Promise.all(admitted.map((client) => client.leave()));
    await until('the crowd has gone', async () => (await metric('ktrace_server_clients')) === 1);
    await until('what came in is accounted for', async () => {
      const [came = 0, went = 1] = await inOut();
      // Read one after the other, while events pass.
      return Math.abs(came - went) < 100;
    });
    assert.ok((await metric('ktrace_server_events_dropped_total', 'session_ended')) > 0);
    await assertAllIsWell();
  });

  test(`${ABANDONED} connections that are opened and abandoned cost nobody anything, and leave no file open`, async (t) => {
    const files = () => ({ agent: openFiles(pids().agent), gate: openFiles(pids().gate) });
    const before = files();
    let next = 0;
    let refused = 0;
    const abandon = async (): Promise<void> => {
      while (next < ABANDONED) {
        const beginning = BEGINNINGS[next++ % BEGINNINGS.length] as string;
        await new Promise<void>((resolve) => {
          const socket = connect({ port: gate.port, host: '127.0.0.1' }, () => {
            socket.write(beginning, () => (next % 2 === 0 ? socket.destroy() : socket.resetAndDestroy()));
          });
          socket.on('error', () => {
            refused += 1;
          });
          socket.once('close', () => resolve());
        });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, abandon));
    t.diagnostic(`${refused} of ${ABANDONED} ended in an error of the socket`);
    assert.ok(refused < ABANDONED / 2, 'most of them reached the gate');
    await until('all files are closed again', () => files().agent <= before.agent && files().gate <= before.gate);
    await assertAllIsWell();
    const peaks = { agent: peakBytes(pids().agent), gate: peakBytes(pids().gate) };
    t.diagnostic(JSON.stringify({ before, now: files(), peaks }));
  });
});
