import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type Authorize, claimedSubject, type Vouch } from '../../../src/agent/access/authorizer.ts';
import type { Limits } from '../../../src/agent/access/limits.ts';
import { KtraceError } from '../../../src/util/errors.ts';
import { until } from '../../support/until.ts';
import { type Fixture, serve } from '../serve/server-fixture.ts';
import type { StreamClient } from '../serve/stream-client.ts';

const MIB = 1024 * 1024;
const ADDRESSES = Array.from({ length: 65_536 }, (_, i) => `10.1.${i >> 8}.${i & 255}`);

/** A token of each of several accounts: one that says no name takes the place of the one before. */
const tokenOf = (sub: string): string => `h.${Buffer.from(JSON.stringify({ sub })).toString('base64url')}.s`;

/** An agent that takes a token for the name of its owner, and knows nobody whose name begins with `x`. */
function serveKnown(t: TestContext, limits: Partial<Limits> = {}): Promise<Fixture> {
  const isGood = (token: string): boolean => !token.startsWith('x');
  const vouch: Vouch = async (token) => {
    await new Promise(setImmediate);
    return isGood(token);
  };
  const authorize: Authorize = async (tokens) => {
    const good = tokens.map((token) => claimedSubject(token) || token).filter(isGood);
    if (good.length === 0 || good.includes('nosy')) throw new KtraceError('KTRACE_E_NOT_AUTHORIZED', 'Not authorized');
    return { accounts: good, allowed: 'all' };
  };
  return serve(t, limits, { authorize, vouch });
}

async function follow(client: StreamClient, token: string): Promise<void> {
  await client.hello();
  client.say({ type: 'auth', token });
  await client.subscribe();
}

async function errorOf(client: StreamClient): Promise<string | undefined> {
  await client.until(() => client.all('error').length > 0);
  return client.all('error')[0]?.code;
}

describe('who has no good token', () => {
  it('is told the node, the version and the time once, and nothing of how the node is', async (t) => {
    const { connect, feed } = await serveKnown(t, { clockMs: 10, handshakeMs: 200 });
    const [silent, bad, good] = [connect(), connect(), connect()];
    for (const client of [silent, bad, good]) await client.hello();
    bad.say({ type: 'auth', token: 'x' });
    good.say({ type: 'auth', token: 'alice' });
    for (const client of [silent, bad]) {
      await client.until(() => client.closed !== undefined);
      const [hello, ...rest] = client.messages;
      assert.deepEqual(Object.keys(hello ?? {}).sort(), ['clock', 'instance', 'node', 'type', 'version']);
      assert.deepEqual(
        rest.map((message) => ('code' in message ? message.code : message.type)),
        ['KTRACE_E_HANDSHAKE'],
      );
      const told = JSON.stringify(client.messages);
      for (const fact of [...feed.hooks(), ...feed.report().interfaces]) assert.ok(!told.includes(`"${fact.name}"`), fact.name);
    }
    assert.ok(good.all('clock').length > 0);
  });

  it('has no long message read', async (t) => {
    const { connect } = await serveKnown(t);
    for (const token of [undefined, 'x']) {
      const client = connect();
      await client.hello();
      if (token !== undefined) client.say({ type: 'auth', token });
      for (let i = 0; i < 4; i += 1) client.socket.send('{'.repeat(4 * MIB));
      assert.equal(await errorOf(client), 'KTRACE_E_NOT_AUTHORIZED');
      assert.ok(client.socket.bufferedAmount > 8 * MIB, `${client.socket.bufferedAmount} bytes are not read`);
    }
    const whole = connect();
    await whole.hello();
    // In one piece with what is bad before it.
    whole.say({ type: 'auth', token: 'x' });
    whole.socket.send('{'.repeat(33 * 1024));
    assert.equal(await errorOf(whole), 'KTRACE_E_NOT_AUTHORIZED');
  });

  it('is told by a short question that it is not authorized', async (t) => {
    const { connect } = await serveKnown(t);
    for (const token of ['x', 'nosy']) {
      const client = connect();
      await client.hello();
      client.say({ type: 'auth', token });
      client.say({ type: 'subscribe', targets: [{ kind: 'all' }] });
      assert.equal(await errorOf(client), 'KTRACE_E_NOT_AUTHORIZED');
    }
  });

  it('leaves when more like it come, the oldest first, so that who has one gets in', async (t) => {
    const { connect } = await serveKnown(t, { strangers: 3, clients: 4 });
    const first = connect({ autoCredit: true });
    await follow(first, 'alice');
    const silent = [connect(), connect(), connect()];
    for (const client of silent) await client.hello();
    const second = connect();
    await follow(second, 'bob');
    assert.equal(await errorOf(silent[0] as StreamClient), 'KTRACE_E_BUSY');
    assert.equal(silent[1]?.closed, undefined);
    // A right to nothing is as good as none.
    const nosy = [connect(), connect(), connect()];
    for (const client of nosy) {
      await client.hello();
      client.say({ type: 'auth', token: 'nosy' });
    }
    for (const client of silent) assert.equal(await errorOf(client), 'KTRACE_E_BUSY');
    await follow(connect(), 'carol');
    for (const client of [first, second]) assert.equal(client.closed, undefined);
  });

  it('is cut when it is told to leave and does not', async (t) => {
    const { connect, server } = await serveKnown(t, { strangers: 2, closingMs: 3_600_000 });
    const clients: StreamClient[] = [];
    for (let i = 0; i < 30; i += 1) {
      const client = connect();
      clients.push(client);
      await client.hello();
      client.socket.pause();
      assert.ok(server.clients <= 4, `${server.clients} clients`);
    }
    for (const client of clients) client.socket.resume();
    await until('all but the newest are gone', () => server.clients === 2);
  });
});

describe('who has a good token', () => {
  it('may send the longest subscription right behind it, and behind one that is not good', async (t) => {
    const { connect, feed } = await serveKnown(t);
    const client = connect();
    await client.hello();
    for (const token of ['x', 'alice']) client.say({ type: 'auth', token });
    await client.subscribe({ addresses: ADDRESSES });
    assert.equal([...feed.followers][0]?.subscription.addresses.length, ADDRESSES.length);
  });

  it('has half of the places, and others the rest', async (t) => {
    const { connect } = await serveKnown(t, { clients: 4 });
    const [first, second] = [connect(), connect()];
    await follow(first, 'alice');
    await second.hello();
    second.say({ type: 'auth', token: 'alice' });
    second.say({ type: 'doctor' });
    await second.until(() => second.all('doctor').length === 1);
    const third = connect();
    await third.hello();
    third.say({ type: 'auth', token: 'alice' });
    third.say({ type: 'doctor' });
    assert.equal(await errorOf(third), 'KTRACE_E_BUSY');
    await follow(connect(), 'bob');
    await first.leave();
    await follow(connect(), 'alice');
  });

  it('is counted to each account whose right it is, in places and in streams', async (t) => {
    const doctors = await serveKnown(t, { clients: 4 });
    const streams = await serveKnown(t, { clients: 8 });
    for (const { connect, ask } of [
      { connect: doctors.connect, ask: { type: 'doctor' } },
      { connect: streams.connect, ask: { type: 'subscribe', targets: [{ kind: 'all' }] } },
    ]) {
      const answers: (string | undefined)[] = [];
      for (const accounts of [['alice', 'bob'], ['alice', 'carol'], ['alice', 'dave'], ['alice'], ['bob', 'dave']]) {
        const client = connect();
        await client.hello();
        for (const account of accounts) client.say({ type: 'auth', token: tokenOf(account) });
        client.say(ask);
        await client.until(() => ['error', 'doctor', 'subscribed'].some((type) => client.all(type as 'error').length > 0));
        answers.push(client.all('error')[0]?.code);
      }
      assert.deepEqual(answers, [undefined, undefined, 'KTRACE_E_BUSY', 'KTRACE_E_BUSY', undefined]);
    }
  });

  it('takes no other account’s places and streams by turning to it later', async (t) => {
    for (const limits of [{ clients: 8 }, { clients: 8, recheckMs: 10 }]) {
      const { connect, feed } = await serveKnown(t, limits);
      for (let i = 0; i < 2; i += 1) await follow(connect(), tokenOf('alice'));
      const turning = connect();
      await follow(turning, tokenOf('bob'));
      turning.say({ type: 'auth', token: tokenOf('alice') });
      if (limits.recheckMs === undefined) turning.say({ type: 'subscribe', targets: [{ kind: 'all' }] });
      assert.equal(await errorOf(turning), 'KTRACE_E_BUSY');
      await until('its stream is gone', () => feed.followers.size === 2);
    }
  });

  it('has a quarter of the streams, where those without a client make room, and nobody else has to', async (t) => {
    const { connect, feed, server } = await serveKnown(t, { clients: 8 });
    const waits = connect();
    const { instance } = await waits.hello();
    waits.say({ type: 'auth', token: 'bob' });
    const { session } = await waits.subscribe();
    await waits.break();
    const own = [connect(), connect()];
    for (const client of own) await follow(client, 'alice');
    const third = connect();
    await third.hello();
    third.say({ type: 'auth', token: 'alice' });
    third.say({ type: 'subscribe', targets: [{ kind: 'all' }] });
    assert.equal(await errorOf(third), 'KTRACE_E_BUSY');
    for (let i = 0; i < 10; i += 1) {
      await own[0]?.break();
      await until('the agent has noticed', () => server.clients === 1);
      own[0] = connect();
      await follow(own[0], 'alice');
    }
    assert.equal(feed.followers.size, 3);
    const again = connect();
    await again.hello();
    again.say({ type: 'auth', token: 'bob' });
    assert.equal((await again.subscribe({ resume: { instance, session, seq: 0 } })).resumed, true);
  });
});
