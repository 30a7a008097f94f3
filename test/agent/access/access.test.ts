import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { describe, it } from 'node:test';
import type { Access, Authorize, Vouch } from '../../../src/agent/access/authorizer.ts';
import type { PacketEvent } from '../../../src/event/types.ts';
import { KtraceError } from '../../../src/util/errors.ts';
import { emptyRecorder } from '../record/recorder/recorder-fixture.ts';
import { packet } from '../serve/fake-feed.ts';
import { serve } from '../serve/server-fixture.ts';
import type { StreamClient } from '../serve/stream-client.ts';

const ALICE: Access = { accounts: ['alice'], allowed: new Set(['a']) };
const TOO_OFTEN = new KtraceError('KTRACE_E_ASKED_TOO_OFTEN', 'This agent was asked too often');
const AWAY = new KtraceError('KTRACE_E_AUTHORIZATION_UNAVAILABLE', 'The API server does not answer');
const DENIED = new KtraceError('KTRACE_E_NOT_AUTHORIZED', 'Not any more');

const token = (sub: string, time: number): string => `h.${Buffer.from(JSON.stringify({ sub, time })).toString('base64url')}.s`;

/** A packet of a pod in namespace `a` to one in `b`. */
function mixed(number: number): PacketEvent {
  const one = packet(number, 'a');
  one.src = { ip: '10.244.1.2', pod: { namespace: 'a', name: 'mine', uid: 'u1', labels: {} } };
  one.dst = { ip: '10.244.3.2', pod: { namespace: 'b', name: 'SECRET', uid: 'SECRET', labels: { SECRET: 'x' } } };
  return one;
}

function foreign(number: number): PacketEvent {
  const { src, dst, ...rest } = mixed(number);
  return { ...rest, src: dst, dst: { ip: '1.1.1.1', world: true } };
}

/** An authorizer that says what a test lets it say. */
function saying(first: Access | Error): { authorize: Authorize; says: Access | Error; asked: number } {
  const state = {
    says: first,
    asked: 0,
    authorize: async () => {
      state.asked += 1;
      if (state.says instanceof Error) throw state.says;
      return state.says;
    },
  };
  return state;
}

async function follows(client: StreamClient, message = {}): Promise<string> {
  const { session } = await client.subscribe(message);
  client.say({ type: 'credit', events: 1000 });
  return session;
}

/** All strings in what was told. */
function stringsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(stringsIn) : [];
}

async function errorOf(client: StreamClient): Promise<string | undefined> {
  await client.until(() => client.closed !== undefined);
  return client.all('error')[0]?.code;
}

describe('a stream of somebody who may see a part', () => {
  it('is not changed to one with payloads by who may see none, while nobody can be asked', async (t) => {
    const access = saying(ALICE);
    const { connect } = await serve(t, {}, access);
    const client = connect({ autoCredit: true });
    await follows(client);
    access.says = AWAY;
    client.say({ type: 'subscribe', targets: [{ kind: 'namespace', name: 'a' }], snapBytes: 1500 });
    assert.equal(await errorOf(client), 'KTRACE_E_AUTHORIZATION_UNAVAILABLE');
  });

  it('with payloads is resumed only by who may see them', async (t) => {
    const access = saying({ ...ALICE, payloads: true });
    const { connect, feed } = await serve(t, {}, access);
    const [first, second] = [connect(), connect()];
    const session = await follows(first, { snapBytes: 64 });
    access.says = ALICE;
    const resume = { instance: feed.instance, session, seq: 0 };
    assert.equal((await second.subscribe({ resume })).resumed, false);
    const third = connect();
    access.says = { ...ALICE, payloads: true };
    assert.equal((await third.subscribe({ snapBytes: 64, resume })).resumed, true);
  });

  it('holds only that part, and nothing of the other ends but addresses', async (t) => {
    const { connect, feed } = await serve(t, {}, saying(ALICE));
    const client = connect({ autoCredit: true });
    await follows(client);
    for (let i = 0; i < 10; i += 1) feed.publish(i % 2 === 0 ? mixed(i) : foreign(i));
    await client.until(() => client.events.length === 5);
    assert.doesNotMatch(JSON.stringify(client.messages), /SECRET/);
    assert.ok(client.events.every((event) => event.kind === 'packet' && event.dst.ip === '10.244.3.2'));
  });

  it('has ids without gaps to count, and the same id for what amends', async (t) => {
    const { connect, feed } = await serve(t, {}, saying(ALICE));
    const client = connect({ autoCredit: true });
    await follows(client);
    feed.publish(mixed(1));
    feed.publish(mixed(2));
    feed.publish({ ...mixed(1), amends: true });
    await client.until(() => client.events.length === 3);
    const ids = (client.events as PacketEvent[]).map(({ id }) => id);
    assert.equal(ids[0], ids[2]);
    assert.notEqual(ids[0], ids[1]);
    assert.doesNotMatch(ids.join(), /a-[12]/);
  });

  it('has ids that cannot be made again from anything that its client is told, and keeps them over a resume', async (t) => {
    const { connect, feed } = await serve(t, {}, saying(ALICE));
    const told = (number: number): PacketEvent => ({ ...mixed(number), id: `${feed.instance}-${number}` });
    const [client, again, other] = [connect(), connect(), connect({ autoCredit: true })];
    const session = await follows(client);
    await follows(other);
    feed.publish(told(977));
    await client.until(() => client.events.length === 1);
    await client.break();
    const resume = { instance: feed.instance, session, seq: 1 };
    assert.equal((await again.subscribe({ resume })).resumed, true);
    again.lastSeq = 1;
    again.say({ type: 'credit', events: 10 });
    feed.publish({ ...told(977), amends: true });
    await again.until(() => again.events.length === 1);
    await other.until(() => other.events.length === 2);
    const [id, amended, others] = [client, again, other].map(({ events }) => (events[0] as PacketEvent).id);
    assert.equal(amended, id);
    assert.notEqual(others, id);
    const keys = [...new Set(stringsIn([client.messages, again.messages]))];
    assert.ok(keys.includes(session));
    const length = id?.length ?? 0;
    for (const key of keys) {
      const [raw, text] = [told(977).id, `${key} ${told(977).id}`];
      const guesses = [
        createHash('sha256').update(text),
        createHash('sha256').update(raw),
        createHmac('sha256', key).update(raw),
      ];
      for (const guess of guesses) assert.notEqual(guess.digest('base64url').slice(0, length), id);
    }
  });

  it('counts what it withholds in the metrics alone', async (t) => {
    const { connect, feed, socketPath } = await serve(t, {}, saying(ALICE));
    const client = connect({ autoCredit: true });
    await follows(client);
    for (let i = 0; i < 7; i += 1) feed.publish(foreign(i));
    feed.publish(mixed(8));
    await client.until(() => client.events.length === 1);
    const metrics = await metricsOf(socketPath);
    assert.match(metrics, /^ktrace_server_records_withheld_total 7$/m);
    assert.doesNotMatch(metrics, /SECRET/);
  });

  it('ends when the right is withdrawn', async (t) => {
    const state = saying(ALICE);
    const { connect, feed } = await serve(t, { recheckMs: 20 }, state);
    const client = connect();
    await follows(client);
    state.says = DENIED;
    assert.equal(await errorOf(client), 'KTRACE_E_NOT_AUTHORIZED');
    assert.equal(feed.followers.size, 0);
  });

  it('is asked of the kernel within what may be seen, also when that has changed since', async (t) => {
    const state = saying(ALICE);
    const { connect, feed } = await serve(t, { recheckMs: 20 }, state);
    const client = connect();
    await follows(client);
    const allowed = () => [...feed.followers].map((follower) => follower.allowed);
    assert.deepEqual(allowed(), [new Set(['a'])]);
    state.says = { ...ALICE, allowed: new Set(['a', 'b']) };
    await client.until(() => (allowed()[0] as Set<string>).size === 2);
  });

  it('goes on while nobody can say whether it may, and ends when that takes too long', async (t) => {
    const state = saying(ALICE);
    let nowMs = 0;
    const { connect, feed } = await serve(t, { recheckMs: 10, graceMs: 60_000 }, { ...state, nowMs: () => nowMs });
    const client = connect({ autoCredit: true });
    await follows(client, { targets: [{ kind: 'namespace', name: 'a' }] });
    state.says = AWAY;
    const asked = state.asked;
    await client.until(() => state.asked > asked + 3);
    feed.publish(mixed(1));
    await client.until(() => client.events.length === 1);
    // What is followed may change meanwhile, within what was allowed.
    await client.subscribe({ targets: [{ kind: 'pod', namespace: 'a', name: 'mine' }] });
    assert.equal(client.closed, undefined);
    nowMs = 60_001;
    assert.equal(await errorOf(client), 'KTRACE_E_AUTHORIZATION_UNAVAILABLE');
  });

  it('does not go on because the agent asks nobody any more', async (t) => {
    const state = saying(ALICE);
    const { connect, feed } = await serve(t, { recheckMs: 10 }, state);
    const client = connect();
    await follows(client, { targets: [{ kind: 'namespace', name: 'a' }] });
    state.says = TOO_OFTEN;
    assert.equal(await errorOf(client), 'KTRACE_E_ASKED_TOO_OFTEN');
    assert.equal(feed.followers.size, 0);
  });

  it('does not widen while nobody can say whether it may', async (t) => {
    const state = saying(ALICE);
    const { connect } = await serve(t, {}, state);
    const client = connect();
    await client.subscribe({ targets: [{ kind: 'namespace', name: 'a' }] });
    state.says = AWAY;
    client.say({ type: 'subscribe', targets: [{ kind: 'namespace', name: 'b' }] });
    assert.equal(await errorOf(client), 'KTRACE_E_AUTHORIZATION_UNAVAILABLE');
  });

  it('is not begun while nobody can say whether it may', async (t) => {
    const { connect, feed } = await serve(t, {}, saying(AWAY));
    const client = connect();
    await client.hello();
    client.say({ type: 'subscribe', targets: [{ kind: 'all' }] });
    assert.equal(await errorOf(client), 'KTRACE_E_AUTHORIZATION_UNAVAILABLE');
    assert.equal(feed.followers.size, 0);
  });

  it('is checked by its own right, and keeps what that gave, whatever else is asked beside it', async (t) => {
    for (const beside of [{ type: 'recorded', targets: [{ kind: 'namespace', name: 'b' }] }, { type: 'doctor' }]) {
      let isAway = false;
      const withdrawn = new Set<string>();
      const rechecks: string[] = [];
      const authorize: Authorize = async (_, { targets }, verb = 'watch') => {
        const asked = `${verb} ${JSON.stringify(targets)}`;
        rechecks.push(asked);
        if (isAway) throw AWAY;
        if (withdrawn.has(asked)) throw DENIED;
        const [target] = targets;
        return { accounts: ['alice'], allowed: target?.kind === 'namespace' ? new Set([target.name]) : 'all' };
      };
      const recorder = await emptyRecorder(t);
      const { connect, feed } = await serve(t, { recheckMs: 10 }, { authorize, recorder: () => recorder });
      const [asking, widening] = [connect(), connect()];
      for (const client of [asking, widening]) {
        await client.subscribe({ targets: [{ kind: 'namespace', name: 'a' }] });
        client.say(beside);
        await client.until(() => client.all('recorded').length + client.all('doctor').length > 0);
      }
      rechecks.length = 0;
      await asking.until(() => rechecks.length > 4);
      const own = 'watch [{"kind":"namespace","name":"a"}]';
      assert.deepEqual([...new Set(rechecks)], [own]);
      assert.deepEqual(
        [...feed.followers].map(({ allowed }) => allowed),
        [new Set(['a']), new Set(['a'])],
      );
      isAway = true;
      widening.say({ type: 'subscribe', targets: [{ kind: 'namespace', name: 'b' }] });
      assert.equal(await errorOf(widening), 'KTRACE_E_AUTHORIZATION_UNAVAILABLE');
      isAway = false;
      withdrawn.add(own);
      assert.equal(await errorOf(asking), 'KTRACE_E_NOT_AUTHORIZED');
    }
  });

  it('is resumed by the same only, and left to its owner when another asks', async (t) => {
    const state = saying(ALICE);
    const { connect, feed } = await serve(t, {}, state);
    const client = connect({ autoCredit: true });
    const session = await follows(client);
    await client.break();
    feed.publish(mixed(1));
    const resume = { instance: feed.instance, session, seq: 0 };
    for (const other of [
      { ...ALICE, accounts: ['bob'] },
      { accounts: ['alice'], allowed: new Set(['b']) },
    ]) {
      state.says = other;
      const stranger = connect();
      const answer = await stranger.subscribe({ resume });
      assert.equal(answer.resumed, false);
      assert.notEqual(answer.session, session);
      await stranger.leave();
    }
    state.says = ALICE;
    const again = connect({ autoCredit: true });
    assert.equal((await again.subscribe({ resume })).resumed, true);
    again.say({ type: 'credit', events: 10 });
    await again.until(() => again.events.length === 1);
  });

  it('keeps what it was resumed with, whatever its old connection is told later, even that it may see nothing', async (t) => {
    for (const late of [ALICE, DENIED]) {
      const WIDER: Access = { accounts: ['alice'], allowed: new Set(['a', 'b']) };
      const held: (() => void)[] = [];
      let isHeld = false;
      const authorize: Authorize = async () => {
        if (!isHeld) return WIDER;
        await new Promise<void>((resolve) => held.push(resolve));
        if (late instanceof Error) throw late;
        return late;
      };
      const { connect, feed, socketPath } = await serve(t, { recheckMs: 20 }, { authorize });
      const old = connect();
      const session = await follows(old);
      isHeld = true;
      await old.until(() => held.length > 0);
      isHeld = false;
      const again = connect({ autoCredit: true });
      const { resumed } = await again.subscribe({ resume: { instance: feed.instance, session, seq: 0 } });
      assert.equal(resumed, true);
      const seen: unknown[] = [];
      const [follower] = feed.followers;
      assert.ok(follower);
      let allowed = follower.allowed;
      Object.defineProperty(follower, 'allowed', {
        get: () => allowed,
        set: (value) => {
          allowed = value;
          seen.push(value);
        },
      });
      for (const answer of held) answer();
      await new Promise(setImmediate);
      await again.subscribe();
      assert.deepEqual(seen, [WIDER.allowed]);
      assert.equal(again.closed, undefined);
      assert.doesNotMatch(await metricsOf(socketPath), /KTRACE_E_NOT_AUTHORIZED/);
    }
  });

  it('is told nothing more of what its old connection had asked', async (t) => {
    let letIn: (() => void) | undefined;
    let isHeld = false;
    const authorize: Authorize = async () => {
      if (isHeld) await new Promise<void>((resolve) => (letIn = resolve));
      return ALICE;
    };
    const { connect, feed } = await serve(t, { subscribes: 1, subscribeMs: 20 }, { authorize });
    const old = connect();
    const session = await follows(old);
    isHeld = true;
    for (let i = 0; i < 3; i += 1) old.say({ type: 'subscribe', targets: [{ kind: 'all' }] });
    await old.until(() => letIn !== undefined);
    isHeld = false;
    const again = connect();
    await again.subscribe({ resume: { instance: feed.instance, session, seq: 0 } });
    letIn?.();
    await again.subscribe();
    assert.equal(again.all('subscribed').length, 2);
  });

  it('keeps one token of each owner, the newest, and of a bounded number of owners', async (t) => {
    const seen: string[][] = [];
    const authorize: Authorize = async (tokens) => {
      seen.push([...tokens]);
      return ALICE;
    };
    const { connect } = await serve(t, {}, { authorize });
    const client = connect();
    await client.hello();
    for (const one of [token('x', 1), token('y', 1), token('x', 2)]) client.say({ type: 'auth', token: one });
    await client.subscribe();
    assert.deepEqual(seen[0], [token('x', 2), token('y', 1)]);
    for (let i = 0; i < 31; i += 1) client.say({ type: 'auth', token: token(`z${i}`, 1) });
    assert.equal(await errorOf(client), 'KTRACE_E_PROTOCOL');
  });

  it('keeps a good token until the API server says that a newer one of the same owner is good, too', async (t) => {
    const good = new Set([token('x', 1), token('y', 1)]);
    let silentOf: string | undefined;
    let seen: readonly string[] = [];
    const vouch: Vouch = async (one) => {
      if (one === silentOf) throw TOO_OFTEN;
      return good.has(one);
    };
    const authorize: Authorize = async (tokens) => {
      seen = tokens;
      if (!tokens.some((one) => good.has(one))) throw DENIED;
      return ALICE;
    };
    const { connect } = await serve(t, { recheckMs: 10 }, { authorize, vouch });
    const client = connect();
    await client.hello();
    for (const one of good) client.say({ type: 'auth', token: one });
    await client.subscribe();
    // One of nobody, one that cannot be asked for, and at last a good one.
    client.say({ type: 'auth', token: token('x', 2) });
    silentOf = token('y', 2);
    client.say({ type: 'auth', token: token('y', 2) });
    await client.subscribe();
    assert.deepEqual(seen, [token('x', 1), token('y', 1)]);
    good.add(token('y', 2));
    silentOf = undefined;
    await client.until(() => seen.includes(token('y', 2)));
    assert.deepEqual(seen, [token('x', 1), token('y', 2)]);
    good.clear();
    assert.equal(await errorOf(client), 'KTRACE_E_NOT_AUTHORIZED');
  });

  it('tells of no pod of another namespace that its targets would stand for', async (t) => {
    const fixture = await serve(t, {}, saying(ALICE));
    const client = fixture.connect();
    await client.subscribe();
    const [follower] = fixture.feed.followers;
    const pod = (namespace: string, name: string) => ({ namespace, name, uid: name, node: 'host1', ips: [] });
    follower?.sink.resolved({ pods: [pod('a', 'mine'), pod('b', 'SECRET')], addresses: [] });
    await client.until(() => client.all('resolved').length === 1);
    assert.deepEqual(
      client.all('resolved')[0]?.resolved.pods.map(({ name }) => name),
      ['mine'],
    );
  });
});

async function metricsOf(socketPath: string): Promise<string> {
  const { request } = await import('node:http');
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: '/metrics', agent: false }, async (response) => {
      let text = '';
      for await (const chunk of response) text += chunk;
      resolve(text);
    });
    asked.on('error', reject).end();
  });
}
