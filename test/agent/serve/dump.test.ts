import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import type { Access } from '../../../src/agent/access/authorizer.ts';
import type { Recorder } from '../../../src/agent/record/recorder.ts';
import { Dump } from '../../../src/agent/serve/dump/dump.ts';
import type { PacketEvent } from '../../../src/event/types.ts';
import type { AgentMessage } from '../../../src/protocol/messages.ts';
import { parseClientMessage } from '../../../src/protocol/parse.ts';
import { until } from '../../support/until.ts';
import { startRecorder } from '../record/recorder/recorder-fixture.ts';
import { FakeFeed, packet } from './fake-feed.ts';
import { serve } from './server-fixture.ts';

const ADMIN: Access = { accounts: ['admin'], allowed: 'all' };
const VIEWER: Access = { accounts: ['viewer'], allowed: new Set(['shop']) };
const BEGAN_MS = Date.now();

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'ktrace-dump-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function start(t: TestContext, directory: string): Promise<Recorder> {
  return startRecorder(t, { directory, budgetBytes: 64 * 1024 * 1024, feed: new FakeFeed() });
}

/** A packet of a pod of a namespace; each has a time of its own. */
function packetOf(namespace: string, serial: number): PacketEvent {
  const pod = { namespace, name: `${namespace}-0`, uid: `u-${namespace}`, node: 'host1', labels: {} };
  const time = new Date(BEGAN_MS + serial).toISOString();
  return { ...packet(serial), id: `run-${serial}`, time, src: { ip: '10.0.0.1', pod }, dst: { ip: '10.0.0.2' } };
}

/** So many packets of shop, each followed by so many of others, in blocks of their own. */
async function record(recorder: Recorder, own: number, others: number): Promise<void> {
  for (let at = 0; at < own; at++) {
    recorder.event(packetOf('shop', at));
    for (let other = 0; other < others; other++) recorder.event(packetOf(`secret-${other}`, own * (other + 1) + at));
    if (at % 20 === 19) recorder.flush();
  }
  await recorder.settled();
}

interface Asked {
  access?: Access;
  after?: string;
  filter?: string;
  /** Credits given at once, and after that for each event that comes. */
  credits?: number;
  /** Breaks off when so many messages have come. */
  messages?: number;
  /** Stands still, if it is not given: no message is due before it is whole. */
  nowMs?: () => number;
  onMessage?: () => void;
}

/** All that a dump tells. */
function dump(recorder: Recorder, asking: Asked = {}) {
  const { access = VIEWER, after, filter, credits = 100_000, messages = Infinity, nowMs = () => 0, onMessage } = asking;
  const request = { targets: [{ kind: 'all' } as const], owners: [], sinceMs: 0, untilMs: 8e15 };
  return new Promise<AgentMessage[]>((resolve, reject) => {
    const told: AgentMessage[] = [];
    const asked = new Dump({
      recorder,
      request: {
        ...request,
        ...(after === undefined ? {} : { after }),
        ...(filter === undefined ? {} : { filter: { text: filter, revision: 1 } }),
      },
      access,
      vxlanPort: () => undefined,
      roomToSend: () => Promise.resolve(),
      nowMs,
      stallMs: 60_000,
      stalled: () => reject(new Error('it stalled')),
      send: (message) => {
        told.push(message);
        onMessage?.();
        if (message.type === 'dumped') resolve(told);
        if (message.type !== 'records') return;
        if (told.length < messages) return asked.credit(message.events.length);
        asked.close();
        resolve(told);
      },
      failed: reject,
    });
    asked.credit(credits);
  });
}

function idsIn(told: readonly AgentMessage[]): string[] {
  return told.flatMap((message) =>
    message.type === 'records' ? message.events.flatMap((event) => (event.kind === 'packet' ? [event.fingerprint] : [])) : [],
  );
}

function lastPlace(told: readonly AgentMessage[]): string | undefined {
  return told.findLast((message) => message.type === 'records')?.after;
}

suite('a dump', () => {
  test('tells who may see a part the same, however much there is of others', async (t) => {
    const told: unknown[] = [];
    for (const others of [0, 1, 9]) {
      const recorder = await start(t, folder(t));
      await record(recorder, 600, others);
      const messages = await dump(recorder);
      assert.equal(idsIn(messages).length, 600);
      told.push(
        messages.map((message) => {
          if (message.type !== 'records') return message;
          const events = message.events.map((event) => ({ ...event, id: '' }));
          return { ...message, after: message.after.length, events };
        }),
      );
      // No place looks like another, whatever it stands for, and all are as long.
      const places = messages.flatMap((message) => (message.type === 'records' ? [message.after] : []));
      assert.equal(new Set(places).size, places.length);
      for (const place of places) assert.doesNotMatch(Buffer.from(place, 'base64url').toString('latin1'), /kseg|\d{8}/);
    }
    assert.deepEqual(told[1], told[0]);
    assert.deepEqual(told[2], told[0]);
  });

  test('counts the packets that a filter does not match for want of recorded bytes, and how far it reads', async (t) => {
    const recorder = await start(t, folder(t));
    const headers = [
      Buffer.from('450003e800074000400600000a0000010a000002a22818eb00000001000000005002ffff00000000', 'hex').toString('base64'),
    ];
    for (const [at, verdict] of (['delivered', 'delivered', 'forwarded'] as const).entries())
      recorder.event({ ...packetOf('shop', at), len: 1000, verdict, headers });
    await recorder.settled();
    const told = await dump(recorder, { filter: 'tcp[20:4] = 7 or tcp[100:2] = 1' });
    // Another node may know more of the third one: its asker decides.
    assert.deepEqual(idsIn(told).length, 1);
    const { filtered, undecided, wantsBytes } = told.at(-1) as Extract<AgentMessage, { type: 'dumped' }>;
    assert.deepEqual([filtered, undecided, wantsBytes], [2, 2, 122]);
  });

  for (const access of [VIEWER, ADMIN]) {
    test(`of ${access.accounts} goes on behind any message, also at an agent that was started anew`, async (t) => {
      const directory = folder(t);
      let recorder = await start(t, directory);
      await record(recorder, 100, 3);
      const whole = idsIn(await dump(recorder, { access }));
      assert.equal(whole.length, access === ADMIN ? 400 : 100);
      const parts: string[] = [];
      let after: string | undefined;
      for (let round = 0; parts.length < whole.length; round++) {
        assert.ok(round < 100, `${parts.length} of ${whole.length}`);
        const told = await dump(recorder, { access, credits: 7, messages: 1 + (round % 3), ...(after && { after }) });
        parts.push(...idsIn(told));
        after = lastPlace(told);
        parseClientMessage(JSON.stringify({ type: 'dump', targets: [{ kind: 'all' }], sinceMs: 0, untilMs: 1, after }));
        if (round % 10 !== 5) continue;
        await recorder.close();
        recorder = await start(t, directory);
      }
      assert.deepEqual(parts, whole);
    });
  }

  test('tells what it has found while it searches on', async (t) => {
    const directory = folder(t);
    const earlier = await start(t, directory);
    await record(earlier, 20, 0);
    await earlier.close();
    // Writes a file of its own, which cannot be read until something of the first was told.
    const recorder = await start(t, directory);
    await record(recorder, 20, 0);
    let read = 0;
    const found = Promise.withResolvers<void>();
    t.mock.method(recorder.limiter, 'read', async () => void (read++ > 0 && (await found.promise)));
    let messages = 0;
    // A client that gives few credits has what was found in several messages, before the search goes on.
    const told = await dump(recorder, {
      credits: 8,
      nowMs: () => performance.now(),
      onMessage: () => void (++messages === 3 && found.resolve()),
    });
    assert.deepEqual(
      told.map((message) => (message.type === 'records' ? message.events.length : message.type)),
      [8, 8, 4, 8, 8, 4, 'dumped'],
    );
    assert.equal(read, 2);
  });

  test('passes over no lines of another block, where its own is gone or one of the other part comes first', async (t) => {
    const recorder = await start(t, folder(t));
    await record(recorder, 20, 0);
    const told = await dump(recorder, { credits: 5, messages: 1 });
    const place = recorder.seal.unseal(lastPlace(told) ?? '');
    assert.deepEqual([idsIn(told).length, place.lines], [5, 5]);
    const gone = recorder.seal.seal({ ...place, block: 'share:00000000000001-0001.kseg:99' });
    assert.equal(idsIn(await dump(recorder, { after: gone })).length, 20);
  });

  test('is ended by an agent whose client takes nothing of it, and not while it takes something', async (t) => {
    const recorder = await start(t, folder(t));
    await record(recorder, 20, 0);
    const { connect, server } = await serve(t, { stallMs: 500 }, { recorder: () => recorder });
    const question = { type: 'dump', targets: [{ kind: 'all' }], sinceMs: 0, untilMs: 8e15 };
    for (const credits of [0, 3]) {
      const idle = connect();
      await idle.hello();
      idle.say(question);
      if (credits > 0) idle.say({ type: 'credit', events: credits });
      await idle.until(() => idle.closed !== undefined);
      assert.equal(idsIn(idle.messages).length, credits);
      assert.deepEqual([idle.all('bye')[0]?.reason, idle.closed?.code], ['the client took no records for 0.5 s', 1001]);
    }
    await until('the places are free', () => server.clients === 0);
    // Slow, but not idle: longer as a whole than it may stand still.
    const slow = connect();
    await slow.hello();
    slow.say(question);
    for (let at = 0; at < 20; at++) {
      slow.say({ type: 'credit', events: 1 });
      await slow.until(() => idsIn(slow.messages).length === at + 1);
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    await slow.until(() => slow.all('dumped').length === 1);
  });

  test('takes no place but those that its node gave', async (t) => {
    const [recorder, other] = [await start(t, folder(t)), await start(t, folder(t))];
    await record(recorder, 10, 0);
    const place = lastPlace(await dump(recorder)) ?? '';
    const changed = Buffer.from(place, 'base64url');
    changed[40] = (changed[40] ?? 0) ^ 1;
    for (const after of ['', 'x', ':0::0', `${place.slice(0, -4)}`, changed.toString('base64url')]) {
      assert.throws(() => recorder.seal.unseal(after), { code: 'KTRACE_E_PROTOCOL' });
    }
    assert.throws(() => other.seal.unseal(place), { code: 'KTRACE_E_PROTOCOL' });
  });
});
