import { once } from 'node:events';
import { chmodSync, renameSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket, WebSocketServer } from 'ws';
import { agentSocket } from '../../src/lab/agents.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { waitFor } from '../../src/lab/machine/wait.ts';
import { MAX_AGENT_FRAME_BYTES, STREAM_PATH, SUBPROTOCOL } from '../../src/protocol/constants.ts';
import { Follower } from './follower.ts';
import { startProgram } from './program.ts';
import type { Thrown } from './scenarios.ts';

const NODE = 'host1';
/** A pod of that node; nobody else follows it. */
const POD = 'frontend-88237173-jdfgg';
const PEER = 'frontend-88237173-z3ltv';
const PING_SECONDS = '0.005';
const START_MS = 30_000;
/** What was on its way to the client when the last event was spoilt. */
const ARRIVES_MS = 10_000;

/** Between an agent and its gate stands something that takes fields from every second event of the first who comes. */
export async function unreadable(lab: Lab, over: AbortSignal): Promise<Thrown> {
  const spoiler = await spoil(agentSocket(lab.directory, NODE));
  let sound = 0;
  const follower = new Follower(lab, [`pod/${POD}`, '-n', 'default', '--packets'], () => {
    sound += 1;
  });
  const ping = startProgram(lab, POD, ['ping', '-n', '-q', '-i', PING_SECONDS, lab.pod(PEER).ip], 'SIGINT');
  const problems: string[] = [];
  try {
    if (!(await follower.following(over, START_MS))) problems.push(`the client does not follow: ${follower.said}`);
    await delay(START_MS * 1000, undefined, { signal: over }).catch(() => undefined);
    await ping.end();
    spoiler.stop();
    const toldAtLast = sound;
    await waitFor(() => sound > toldAtLast + 10 || !follower.isAlive, ARRIVES_MS);
    if (!follower.isAlive) problems.push('the client has ended');
    if (!follower.notices.some(({ code }) => code === 'KTRACE_N_EVENTS_INVALID')) problems.push('the client says nothing of it');
    if (sound === 0) problems.push('the client tells nothing of what it can read');
  } finally {
    await follower.close();
    await spoiler.close();
  }
  const leftOut = unreadableIn(follower.said);
  if (leftOut !== spoiler.counts.spoilt) problems.push(`the client counts ${leftOut} events that it left out: ${follower.said}`);
  const { passed, spoilt, connections } = spoiler.counts;
  return {
    counts: { 'events spoilt': spoilt, 'events passed': passed, connections, 'told by the client': sound, 'left out': leftOut },
    problems,
  };
}

interface Spoiler {
  counts: { passed: number; spoilt: number; connections: number };
  /** From now on events pass as they are. */
  stop(): void;
  /** The agent is met at its socket again. */
  close(): Promise<void>;
}

/** Takes the agent's place at its socket. Connections that stand already are the agent's, and stay so. */
async function spoil(path: string): Promise<Spoiler> {
  const hidden = `${path}.real`;
  renameSync(path, hidden);
  const counts = { passed: 0, spoilt: 0, connections: 0 };
  let isStopped = false;
  const http = createServer((_, response) => response.end('ok\n'));
  const websockets = new WebSocketServer({ server: http, perMessageDeflate: false, handleProtocols: () => SUBPROTOCOL });
  websockets.on('connection', (client) => {
    counts.connections += 1;
    const isFirst = counts.connections === 1;
    const agent = new WebSocket(`ws+unix:${hidden}:${STREAM_PATH}`, SUBPROTOCOL, {
      perMessageDeflate: false,
      maxPayload: MAX_AGENT_FRAME_BYTES,
    });
    agent.on('message', (data) => client.send(isFirst && !isStopped ? spoiltBatch(String(data), counts) : String(data)));
    client.on('message', (data) => agent.send(String(data)));
    for (const [one, other] of [
      [agent, client],
      [client, agent],
    ] as const) {
      one.on('error', () => undefined);
      one.on('close', () => other.close());
    }
  });
  http.listen(path);
  await once(http, 'listening');
  chmodSync(path, 0o666);
  return {
    counts,
    stop() {
      isStopped = true;
    },
    async close() {
      for (const client of websockets.clients) client.terminate();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
      renameSync(hidden, path);
    },
  };
}

/** Without these a client does not know what to tell. */
const FIELDS: Record<string, readonly string[]> = {
  packet: ['id', 'time', 'proto', 'fingerprint', 'verdict', 'dir', 'nodes', 'src', 'dst', 'hops', 'len'],
  flow: ['id', 'node', 'proto', 'state', 'startTime', 'endTime', 'src', 'dst', 'packets', 'bytes'],
};

function spoiltBatch(text: string, counts: Spoiler['counts']): string {
  const message = JSON.parse(text) as { type: string; events?: Record<string, unknown>[] };
  if (message.type !== 'events') return text;
  for (const event of message.events ?? []) {
    const fields = FIELDS[String(event['kind'])];
    if (fields === undefined || counts.passed < counts.spoilt) {
      counts.passed += 1;
      continue;
    }
    delete event[fields[counts.spoilt % fields.length] as string];
    counts.spoilt += 1;
  }
  return JSON.stringify(message);
}

/** How many events a follow says at its end that it could not read; numbers there have commas. */
export function unreadableIn(said: string): number {
  const [, digits = '0'] = /([\d,]+) unreadable/.exec(said) ?? [];
  return Number(digits.replaceAll(',', ''));
}
