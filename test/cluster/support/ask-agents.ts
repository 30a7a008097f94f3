import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { KubeConfig } from '@kubernetes/client-node';
import { WebSocket } from 'ws';
import { createApi } from '../../../src/client/cluster/api.ts';
import { type Gate, listGates } from '../../../src/client/cluster/gates.ts';
import { forwardPort } from '../../../src/client/cluster/port-forward.ts';
import type { Target } from '../../../src/event/target.ts';
import { GATE_PORT, KTRACE_NAMESPACE } from '../../../src/protocol/constants.ts';
import type { AgentMessage } from '../../../src/protocol/messages.ts';
import { StreamClient } from '../../agent/serve/stream-client.ts';

/**
 * Run beside the cluster: asks agents through `pods/portforward`, as a client of its own making would that keeps to no rule of ours. Each line of
 * stdin is a list of questions, which are asked at once; their answers are a line of stdout.
 */
export type Question =
  /** Events until each of these patterns is in the JSON of one of them, or the time is over. */
  | { ask: 'stream'; node: string; token?: string; target: Target; addresses?: string[]; wanted: string[]; forMs: number }
  /** How the agent's node is. */
  | { ask: 'doctor'; node: string; token?: string }
  /** What was recorded of a target: what there is, or the records of the last ten minutes. */
  | { ask: 'recorded'; node: string; token?: string; target: Target }
  | { ask: 'dump'; node: string; token?: string; target: Target }
  /** A plain request to a port of the gate. */
  | { ask: 'page'; node: string; token?: string; port: number; path: string };

export type Answer = { messages: AgentMessage[] } | { status: string; body: string };

async function stream(
  connection: Duplex,
  { token, target, addresses, wanted, forMs }: Question & { ask: 'stream' },
): Promise<Answer> {
  const client = new StreamClient('ws://agent/v1/stream', { autoCredit: true, connection });
  await client.hello();
  if (token !== undefined) client.say({ type: 'auth', token });
  client.say({ type: 'subscribe', targets: [target], units: 'packets', ...(addresses === undefined ? {} : { addresses }) });
  await client.until(() => client.all('subscribed').length > 0 || client.closed !== undefined);
  if (client.closed === undefined) {
    client.say({ type: 'credit', events: 10_000 });
    const endMs = performance.now() + forMs;
    const hasAll = () =>
      wanted.every((pattern) => client.events.some((event) => new RegExp(pattern).test(JSON.stringify(event))));
    while (!hasAll() && performance.now() < endMs && client.socket.readyState === WebSocket.OPEN)
      await new Promise((resolve) => setTimeout(resolve, 50));
    client.socket.close(1000);
  }
  connection.destroy();
  return { messages: client.messages };
}

async function doctor(connection: Duplex, { token }: Question & { ask: 'doctor' }): Promise<Answer> {
  const client = new StreamClient('ws://agent/v1/stream', { autoCredit: true, connection });
  await client.hello();
  if (token !== undefined) client.say({ type: 'auth', token });
  client.say({ type: 'doctor' });
  await client.until(() => client.all('doctor').length > 0 || client.closed !== undefined);
  client.socket.close(1000);
  connection.destroy();
  return { messages: client.messages };
}

async function recording(connection: Duplex, { ask, token, target }: Question & { ask: 'recorded' | 'dump' }): Promise<Answer> {
  const client = new StreamClient('ws://agent/v1/stream', { autoCredit: true, connection });
  await client.hello();
  if (token !== undefined) client.say({ type: 'auth', token });
  const untilMs = Date.now();
  const sinceMs = untilMs - 600_000;
  if (ask === 'recorded') client.say({ type: 'recorded', targets: [target], services: { sinceMs, untilMs } });
  else {
    client.say({ type: 'dump', targets: [target], owners: [], sinceMs, untilMs });
    client.say({ type: 'credit', events: 100_000 });
  }
  const answer = ask === 'recorded' ? 'recorded' : 'dumped';
  await client.until(() => client.all(answer).length > 0 || client.closed !== undefined);
  if (client.closed === undefined) client.socket.close(1000);
  connection.destroy();
  return { messages: client.messages };
}

async function page(connection: Duplex, { token, path }: Question & { ask: 'page' }): Promise<Answer> {
  const authorization = token === undefined ? '' : `Authorization: Bearer ${token}\r\n`;
  connection.write(`GET ${path} HTTP/1.0\r\nHost: agent\r\n${authorization}\r\n`);
  const [head = '', ...body] = (await text(connection)).split('\r\n\r\n');
  return { status: head.split('\r\n')[0] ?? '', body: body.join('\r\n\r\n') };
}

const config = new KubeConfig();
config.loadFromDefault();
const api = createApi(config);
for await (const line of createInterface({ input: process.stdin })) {
  const gates = await listGates(api, KTRACE_NAMESPACE);
  const answers = await Promise.all(
    (JSON.parse(line) as Question[]).map((question) => answer(question, gates.get(question.node))),
  );
  process.stdout.write(`${JSON.stringify(answers)}\n`);
}
if (process.stdout.writableNeedDrain) await once(process.stdout, 'drain');
process.exit(0);

async function answer(question: Question, gate: Gate | undefined): Promise<Answer> {
  if (gate === undefined) throw new Error(`no gate on ${question.node}`);
  const port = question.ask === 'page' ? question.port : GATE_PORT;
  const connection = await forwardPort(config, gate, port, new AbortController().signal);
  if (question.ask === 'page') return page(connection, question);
  if (question.ask === 'dump' || question.ask === 'recorded') return recording(connection, question);
  return question.ask === 'stream' ? stream(connection, question) : doctor(connection, question);
}
