import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { WebSocketServer } from 'ws';
import { type Gathering, gather } from '../../../src/client/dump/dump.ts';
import type { Asked } from '../../../src/client/dump/dump-nodes.ts';
import { FollowFilter } from '../../../src/client/merge/follow-filter.ts';
import type { RecordedAnswer } from '../../../src/client/wire/node-question.ts';
import type { DumpRequest } from '../../../src/event/target.ts';
import type { KtraceEvent } from '../../../src/event/types.ts';
import { SUBPROTOCOL } from '../../../src/protocol/constants.ts';
import type { AgentMessage, ClientMessage } from '../../../src/protocol/messages.ts';
import { parseClientMessage } from '../../../src/protocol/parse.ts';
import { EPOCH_MS } from '../events.ts';

/** A node whose agent records: what it answers, and which records a dump of it has. */
export interface RecordingNode {
  node: string;
  answer?: Partial<RecordedAnswer>;
  records?: KtraceEvent[];
  damaged?: RecordedAnswer['damaged'];
}

export interface Dumped {
  code: number;
  stderr: string;
  events: KtraceEvent[];
  /** What each node was asked. */
  requests: Map<string, DumpRequest>;
}

/** An hour. */
export const SINCE_MS = EPOCH_MS - 1_800_000;
export const UNTIL_MS = EPOCH_MS + 1_800_000;

/** Dumps what these nodes have recorded, as JSON. */
export async function dumpOf(
  t: TestContext,
  nodes: readonly RecordingNode[],
  options: Partial<Gathering['options']> = {},
  targets: Gathering['targets'] = [{ kind: 'all' }],
): Promise<Dumped> {
  const requests = new Map<string, DumpRequest>();
  const asked = await Promise.all(nodes.map((node) => serve(t, node, (request) => requests.set(node.node, request))));
  const [stdout, stderr] = [sink(), sink()];
  const code = await gather({
    options: { sinceMs: SINCE_MS, untilMs: UNTIL_MS, output: 'json', strict: true, ...options },
    io: { stdout: stdout.stream, stderr: stderr.stream, interrupt: new AbortController().signal, env: {} },
    targets,
    filter: new FollowFilter(undefined),
    recordings: { asked, answers: asked.flatMap(({ answer }) => answer ?? []) },
  });
  const lines = stdout
    .text()
    .split('\n')
    .filter((line) => line !== '');
  return { code, stderr: stderr.text(), requests, events: lines.map((line) => JSON.parse(line) as KtraceEvent) };
}

async function serve(t: TestContext, node: RecordingNode, onDump: (request: DumpRequest) => void): Promise<Asked> {
  const http = createServer();
  const server = new WebSocketServer({ server: http, handleProtocols: () => SUBPROTOCOL });
  server.on('connection', (socket) => {
    const say = (message: AgentMessage) => socket.send(JSON.stringify(message));
    say({ type: 'hello', node: node.node, instance: 'i', version: '0', clock: String(Date.now() * 1e6) });
    socket.on('message', (data) => {
      if ((JSON.parse(String(data)) as ClientMessage).type !== 'dump') return;
      const message = parseClientMessage(String(data));
      if (message.type !== 'dump') return;
      onDump(message);
      const { records = [], damaged = [] } = node;
      if (records.length > 0) say({ type: 'records', after: 'x', events: records });
      say({ type: 'dumped', told: records.length, filtered: 0, damaged });
    });
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of server.clients) socket.terminate();
    http.close();
  });
  const dial = () => Promise.resolve(connect((http.address() as AddressInfo).port, '127.0.0.1'));
  const answer = { type: 'recorded', fromMs: 0, toMs: UNTIL_MS, pods: [], known: [], gaps: [], damaged: [] } as const;
  return {
    access: { node: node.node, dial, tokens: () => [], interrupt: new AbortController().signal },
    answer: { ...answer, pods: [], known: [], gaps: [], damaged: [], ...node.answer },
    error: undefined,
  };
}

function sink(): { stream: Writable; text(): string } {
  const chunks: string[] = [];
  const write = (chunk: Buffer, _: string, done: () => void): void => {
    chunks.push(String(chunk));
    done();
  };
  return { stream: new Writable({ write }), text: () => chunks.join('') };
}
