import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import { mergeRecordings } from '../../../src/client/dump/dump-merge.ts';
import { DumpNode, type DumpNodeOptions } from '../../../src/client/dump/dump-node.ts';
import { isIncomplete, summaryText } from '../../../src/client/render/summary.ts';
import type { FlowEvent, KtraceEvent } from '../../../src/event/types.ts';
import { SUBPROTOCOL } from '../../../src/protocol/constants.ts';
import type { AgentMessage, ClientMessage } from '../../../src/protocol/messages.ts';
import { EPOCH_MS, flow } from '../events.ts';

type DumpMessage = Extract<ClientMessage, { type: 'dump' }>;

/** An agent that answers each `dump` as the test says. */
async function agent(
  t: TestContext,
  answer: (dump: DumpMessage, socket: WebSocket, attempt: number) => void,
  options: Partial<DumpNodeOptions> = {},
): Promise<DumpNode> {
  const http = createServer();
  const server = new WebSocketServer({ server: http, handleProtocols: () => SUBPROTOCOL });
  let attempts = 0;
  server.on('connection', (socket) => {
    say(socket, { type: 'hello', node: 'host1', instance: 'i', version: '0', clock: String(Date.now() * 1e6) });
    socket.on('message', (data) => {
      const message = JSON.parse(String(data)) as ClientMessage;
      if (message.type === 'dump') answer(message, socket, attempts++);
    });
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of server.clients) socket.terminate();
    http.close();
  });
  const node = new DumpNode({
    node: 'host1',
    dial: () => Promise.resolve(connect((http.address() as AddressInfo).port, '127.0.0.1')),
    tokens: () => [],
    interrupt: new AbortController().signal,
    request: { targets: [{ kind: 'all' }], owners: [], sinceMs: 0, untilMs: 1 },
    nowMs: () => Date.now(),
    onBroken: () => undefined,
    pauseMs: 1,
    ...options,
  });
  t.after(() => node.close());
  return node;
}

function say(socket: WebSocket, message: AgentMessage): void {
  socket.send(JSON.stringify(message));
}

const events = (...ids: string[]): KtraceEvent[] =>
  ids.map((id) => flow({ id, node: 'host1', src: { ip: '10.0.0.1' }, dst: { ip: '10.0.0.2' } }));
const DONE = { type: 'dumped', told: 0, filtered: 0, damaged: [] } satisfies AgentMessage;

async function idsOf(node: DumpNode): Promise<string[]> {
  const ids: string[] = [];
  for (let event = await node.next(); event !== undefined; event = await node.next()) if ('id' in event) ids.push(event.id);
  return ids;
}

suite('fetching a recording', () => {
  test('a transfer that breaks goes on behind the last message, and nothing is missed or told twice', async (t) => {
    const asked: (string | undefined)[] = [];
    const node = await agent(t, ({ after }, socket, attempt) => {
      asked.push(after);
      if (attempt === 0) {
        say(socket, { type: 'records', after: 'one', events: events('a', 'b') });
        say(socket, { type: 'records', after: 'two', events: events('c') });
        // When it is written, and without a closing handshake.
        setTimeout(() => socket.terminate(), 50);
        return;
      }
      say(socket, { type: 'records', after: 'three', events: events('d') });
      say(socket, { type: 'records', after: 'four', events: events('e') });
      say(socket, DONE);
    });
    assert.deepEqual(await idsOf(node), ['a', 'b', 'c', 'd', 'e']);
    assert.deepEqual(asked, [undefined, 'two']);
    assert.equal(node.failure, undefined);
  });

  test('an agent that breaks off again and again is given up, with what came', async (t) => {
    const node = await agent(t, (_, socket) => socket.terminate());
    assert.deepEqual(await idsOf(node), []);
    assert.equal(node.failure?.code, 'KTRACE_E_CONNECTION');
  });

  test('an interruption ends it at once, without another attempt', async (t) => {
    const interrupt = new AbortController();
    let count = 0;
    const node = await agent(
      t,
      (_, socket) => {
        count += 1;
        interrupt.abort();
        socket.terminate();
      },
      { interrupt: interrupt.signal, pauseMs: 60_000 },
    );
    assert.deepEqual([await idsOf(node), node.failure, count], [[], undefined, 1]);
  });

  test('a refusal is final', async (t) => {
    let count = 0;
    const node = await agent(t, (_, socket) => {
      count += 1;
      say(socket, { type: 'error', code: 'KTRACE_E_NOT_AUTHORIZED', message: 'no' });
    });
    assert.deepEqual(await idsOf(node), []);
    assert.deepEqual([node.failure?.code, node.failure?.exitCode, count], ['KTRACE_E_NOT_AUTHORIZED', 4, 1]);
  });

  test('a record that cannot be read costs itself alone, and is counted once, also where the transfer breaks behind it', async (t) => {
    const { src: _, ...broken } = events('broken')[0] as FlowEvent;
    const bad = [broken, null, {}, { ...events('late')[0], endTime: 'never' }] as KtraceEvent[];
    const node = await agent(t, (__, socket, attempt) => {
      if (attempt === 0) {
        say(socket, { type: 'records', after: 'one', events: [...events('a'), ...bad, ...events('b')] });
        setTimeout(() => socket.terminate(), 50);
        return;
      }
      say(socket, { type: 'records', after: 'two', events: events('c') });
      say(socket, DONE);
    });
    const told: KtraceEvent[] = [];
    const { counts } = await mergeRecordings([node], {
      epochMs: EPOCH_MS,
      isFollowed: () => true,
      decide: () => 'match',
      tell: (event) => void told.push(event),
      isInterrupted: () => false,
    });
    assert.equal(node.failure, undefined);
    assert.deepEqual(
      told.map((event) => 'id' in event && event.id),
      ['a', 'b', 'c'],
    );
    assert.deepEqual([counts.captured, counts.invalid], [7, 4]);
    assert.match(node.unreadable.error?.message ?? '', /^Expected a flow event with all its fields, got/);
    const outcome = { counts, lost: {}, agents: 1, missing: [], gaps: [] };
    assert.equal(
      summaryText(outcome, { packets: 0, dropped: 0, flows: 3 }, 1.25),
      '0 packets, 3 flows, 0 lost; 1 node, 1.3 s\n7 records: 3 of flows, 4 unreadable',
    );
    assert.equal(isIncomplete(outcome), true);
  });

  test('records that cannot be read give their credits back: a window full of them stops nothing', async (t) => {
    const node = await agent(t, (_, socket) => {
      let sent = 0;
      socket.on('message', (data) => {
        const message = JSON.parse(String(data)) as ClientMessage;
        if (message.type !== 'credit' || sent >= 5000) return;
        sent += message.events;
        say(socket, { type: 'records', after: String(sent), events: Array(message.events).fill(null) });
        if (sent >= 5000) say(socket, DONE);
      });
    });
    assert.deepEqual(await idsOf(node), []);
    assert.deepEqual([node.failure, node.unreadable.count >= 5000], [undefined, true]);
  });

  test('an agent that ends what is not taken is asked for the rest when there is room, however long that takes', async (t) => {
    let attempts = 0;
    const broken: unknown[] = [];
    const answer = ({ after = '0' }: DumpMessage, socket: WebSocket): void => {
      attempts += 1;
      let sent = Number(after);
      socket.on('message', (data) => {
        const message = JSON.parse(String(data)) as ClientMessage;
        if (message.type !== 'credit') return;
        const batch = events(...Array.from({ length: Math.min(message.events, 5000 - sent) }, (__, at) => String(sent + at)));
        sent += batch.length;
        if (batch.length > 0) say(socket, { type: 'records', after: String(sent), events: batch });
        if (sent === 5000) say(socket, DONE);
      });
      setTimeout(() => {
        say(socket, { type: 'bye', reason: 'the client took no records' });
        socket.close();
      }, 20);
    };
    const node = await agent(t, answer, { onBroken: (error) => broken.push(error) });
    // Much longer than all attempts together take.
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.deepEqual([attempts, broken], [1, []]);
    const ids = await idsOf(node);
    assert.deepEqual([ids.length, ids.at(-1), node.failure], [5000, '4999', undefined]);
  });

  test('no more than the window is on its way, however much there is', async (t) => {
    const node = await agent(t, (_, socket) => {
      let credits = 0;
      let sent = 0;
      socket.on('message', (data) => {
        const message = JSON.parse(String(data)) as ClientMessage;
        if (message.type !== 'credit') return;
        credits += message.events;
        assert.ok(credits <= 2048);
        const batch = events(...Array.from({ length: Math.min(credits, 5000 - sent) }, (__, at) => String(sent + at)));
        credits -= batch.length;
        sent += batch.length;
        if (batch.length > 0) say(socket, { type: 'records', after: String(sent), events: batch });
        if (sent === 5000) say(socket, DONE);
      });
    });
    const ids = await idsOf(node);
    assert.deepEqual([ids.length, ids.at(-1)], [5000, '4999']);
  });
});
