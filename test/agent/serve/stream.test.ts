import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LostEvent } from '../../../src/event/types.ts';
import { fc } from '../../support/fast-check.ts';
import { until } from '../../support/until.ts';
import { packet } from './fake-feed.ts';
import { serve } from './server-fixture.ts';
import { published, type StreamClient } from './stream-client.ts';

const ids = (client: StreamClient): string[] => client.events.flatMap((event) => (event.kind === 'packet' ? [event.id] : []));
const numbered = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, i) => `default-${from + i}`);

describe('a stream', () => {
  it('sends nothing without credit, and no more events than credits', async (t) => {
    const { feed, connect } = await serve(t);
    const client = connect();
    const { session, resumed, missed } = await client.subscribe();
    assert.equal(resumed, false);
    assert.equal(missed, 0);
    assert.match(session, /^[0-9a-f-]{36}$/);
    for (let i = 0; i < 10; i += 1) feed.publish(packet(i));
    client.say({ type: 'credit', events: 3 });
    await client.until(() => client.events.length === 3);
    client.say({ type: 'credit', events: 2 });
    await client.until(() => client.events.length >= 5);
    // Whatever the agent sent before its answer to this has arrived with it.
    await client.subscribe();
    assert.deepEqual(ids(client), numbered(0, 5));
    assert.equal(client.all('events')[0]?.seq, 1);
  });

  it('carries the events of one turn of the loop in one batch', async (t) => {
    const { feed, connect } = await serve(t);
    const client = connect();
    await client.subscribe();
    client.say({ type: 'credit', events: 1000 });
    // Whatever the client said before this has been taken when the answer comes.
    await client.subscribe();
    for (let i = 0; i < 100; i += 1) feed.publish(packet(i));
    await client.until(() => client.events.length === 100);
    assert.equal(client.all('events').length, 1);
  });

  it('gives every client what it follows', async (t) => {
    const { feed, connect } = await serve(t);
    const namespaces = ['a', 'b', 'c'];
    const clients = namespaces.map(() => connect({ autoCredit: true }));
    for (const [index, client] of clients.entries()) {
      await client.subscribe({ targets: [{ kind: 'namespace', name: namespaces[index] as string }] });
      client.say({ type: 'credit', events: 100 });
    }
    const everything = connect({ autoCredit: true });
    await everything.subscribe();
    everything.say({ type: 'credit', events: 100 });
    for (let i = 0; i < 3000; i += 1) feed.publish(packet(i, namespaces[i % 3] as string));
    for (const [index, client] of clients.entries()) {
      await client.until(() => client.events.length === 1000);
      assert.ok(ids(client).every((id) => id.startsWith(`${namespaces[index]}-`)));
    }
    await everything.until(() => everything.events.length === 3000);
  });

  it('is changed while it runs, without a gap in its batches', async (t) => {
    const { feed, connect } = await serve(t);
    const client = connect({ autoCredit: true });
    const first = await client.subscribe({ targets: [{ kind: 'namespace', name: 'a' }] });
    client.say({ type: 'credit', events: 100 });
    feed.publish(packet(1, 'a'));
    feed.publish(packet(2, 'b'));
    const second = await client.subscribe({
      targets: [
        { kind: 'namespace', name: 'a' },
        { kind: 'namespace', name: 'b' },
      ],
    });
    feed.publish(packet(3, 'a'));
    feed.publish(packet(4, 'b'));
    await client.until(() => client.events.length === 3);
    assert.deepEqual(ids(client), ['a-1', 'a-3', 'b-4']);
    assert.equal(second.session, first.session);
    assert.equal(second.resumed, true);
    assert.equal(second.resolved.addresses.length, 2);
    assert.equal(feed.followers.size, 1);
  });

  it('tells of what its targets come to stand for', async (t) => {
    const { feed, connect } = await serve(t);
    const client = connect();
    await client.subscribe();
    for (const { sink } of feed.followers) sink.resolved({ pods: [], addresses: ['10.244.1.9'] });
    await client.until(() => client.all('resolved').length === 1);
    assert.deepEqual(client.all('resolved')[0]?.resolved.addresses, ['10.244.1.9']);
  });
});

describe('a client that does not read', () => {
  it('is bounded, is told exactly how much it lost and where, and slows nobody', async (t) => {
    const { feed, connect, server } = await serve(t, { queueEvents: 100 });
    const stalled = connect();
    await stalled.subscribe();
    const reader = connect({ autoCredit: true });
    await reader.subscribe();
    reader.say({ type: 'credit', events: 10_000 });
    for (let i = 0; i < 5000; i += 1) {
      feed.publish(packet(i));
      if (i % 50 === 0) await new Promise(setImmediate);
    }
    await reader.until(() => reader.events.length === 5000);
    assert.deepEqual(ids(reader), numbered(0, 5000));
    assert.ok(server.held().events <= 101, `${server.held().events} events are held`);

    stalled.say({ type: 'credit', events: 10_000 });
    await stalled.until(() => published(stalled.events) >= 5000);
    feed.publish(packet(5000));
    await stalled.until(() => ids(stalled).includes('default-5000'));
    assert.deepEqual(ids(stalled), [...numbered(0, 100), 'default-5000']);
    const lost = stalled.events.filter((event): event is LostEvent => event.kind === 'lost');
    assert.deepEqual(lost, [
      {
        v: 1,
        kind: 'lost',
        node: 'host1',
        stage: 'client-socket',
        count: 4900,
        from: packet(100).time,
        to: packet(4999).time,
      },
    ]);
    assert.equal(stalled.events[100]?.kind, 'lost');
  });

  it('is bounded in bytes though it gives credit and never reads its socket', async (t) => {
    const { feed, connect, server } = await serve(t, {
      queueBytes: 300_000,
      sentBytes: 100_000,
      socketBytes: 100_000,
      batchBytes: 20_000,
    });
    const client = connect({ autoCredit: true });
    await client.subscribe();
    client.say({ type: 'credit', events: 100_000 });
    await client.subscribe();
    client.socket.pause();
    for (let i = 0; i < 20_000; i += 1) {
      feed.publish(packet(i));
      if (i % 100 === 0) {
        await new Promise(setImmediate);
        assert.ok(server.held().bytes <= 421_000, `${server.held().bytes} bytes are held`);
      }
    }
    client.socket.resume();
    await client.until(() => published(client.events) === 20_000);
    assert.equal(new Set(ids(client)).size, ids(client).length);
    assert.ok(client.events.some((event) => event.kind === 'lost'));
  });

  it('is told bye when it has taken nothing for too long, and its follower is closed', async (t) => {
    const { feed, connect } = await serve(t, { stallMs: 30 });
    const client = connect();
    await client.subscribe();
    feed.publish(packet(1));
    await client.until(() => client.closed !== undefined);
    assert.match(client.all('bye')[0]?.reason ?? '', /took no events/);
    assert.equal(client.closed?.code, 1001);
    assert.equal(feed.followers.size, 0);
  });

  it('keeps the losses of earlier stages apart, and loses none of them', async (t) => {
    const { feed, connect } = await serve(t, { queueEvents: 4 });
    const client = connect();
    await client.subscribe();
    const kernelLost = (count: number): LostEvent => ({
      v: 1,
      kind: 'lost',
      node: 'host1',
      stage: 'kernel-ring',
      count,
      from: packet(count).time,
      to: packet(count).time,
    });
    for (let i = 0; i < 10; i += 1) feed.publish(packet(i));
    feed.publish(kernelLost(5));
    feed.publish(kernelLost(7));
    client.say({ type: 'credit', events: 100 });
    await client.until(() => client.events.length === 6);
    const lost = client.events.filter((event): event is LostEvent => event.kind === 'lost');
    assert.deepEqual(
      lost.map(({ stage, count }) => [stage, count]),
      [
        ['client-socket', 6],
        ['kernel-ring', 12],
      ],
    );
  });
});

describe('a broken connection', () => {
  it('is gone on from exactly where it broke, wherever that was', async (t) => {
    const { feed, connect } = await serve(t);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ publish: fc.nat(400), credit: fc.nat(300), ackLag: fc.nat(2), waitFor: fc.nat(100) }), {
          minLength: 1,
          maxLength: 6,
        }),
        async (rounds) => {
          let total = 0;
          const got: string[] = [];
          let client = connect();
          const { instance } = await client.hello();
          let { session } = await client.subscribe();
          const followersBefore = feed.followers.size;
          const publish = (count: number): void => {
            for (let i = 0; i < count; i += 1) feed.publish(packet(total + i));
            total += count;
          };
          for (const { publish: count, credit, ackLag, waitFor } of rounds) {
            client.say({ type: 'credit', events: credit, ack: Math.max(0, client.lastSeq - ackLag) });
            publish(count);
            const enough = Math.min(waitFor, credit, total - got.length);
            await client.until(() => client.events.length >= enough);
            await client.break();
            publish(Math.floor(count / 2));
            got.push(...ids(client));
            const seq = client.lastSeq;
            client = connect();
            client.lastSeq = seq;
            const answer = await client.subscribe({ resume: { instance, session, seq } });
            assert.equal(answer.resumed, true);
            assert.equal(answer.missed, 0);
            session = answer.session;
          }
          client.say({ type: 'credit', events: 100_000, ack: client.lastSeq });
          await client.until(() => got.length + client.events.length >= total);
          got.push(...ids(client));
          assert.deepEqual(got, numbered(0, total));
          assert.equal(feed.followers.size, followersBefore);
          await client.leave();
          await until('one follower less', () => feed.followers.size === followersBefore - 1);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('is counted in full where what was sent is no longer kept', async (t) => {
    const { feed, connect } = await serve(t, { sentBytes: 5_000, batchEvents: 5, queueEvents: 50 });
    const client = connect();
    const { instance } = await client.hello();
    const { session } = await client.subscribe();
    client.say({ type: 'credit', events: 40 });
    for (let i = 0; i < 120; i += 1) feed.publish(packet(i));
    await client.until(() => client.events.length === 40);
    await client.break();
    const again = connect({ autoCredit: true });
    again.lastSeq = 2;
    const { resumed, missed } = await again.subscribe({ resume: { instance, session, seq: 2 } });
    assert.equal(resumed, true);
    assert.ok(missed > 0 && missed % 5 === 0, `${missed} are missed`);
    again.say({ type: 'credit', events: 1000 });
    await again.until(() => 10 + missed + published(again.events) === 120);
    assert.equal(ids(again)[0], `default-${10 + missed}`);
  });

  it('is taken over by the next one, though the agent has not noticed the break', async (t) => {
    const { feed, connect } = await serve(t);
    const first = connect();
    const { instance } = await first.hello();
    const { session } = await first.subscribe();
    feed.publish(packet(1));
    const second = connect();
    const { resumed } = await second.subscribe({ resume: { instance, session, seq: 0 } });
    assert.equal(resumed, true);
    await first.until(() => first.closed !== undefined);
    assert.equal(first.all('bye').length, 1);
    second.say({ type: 'credit', events: 5 });
    await second.until(() => second.events.length === 1);
    assert.equal(feed.followers.size, 1);
  });

  it('lets its targets go when nobody comes back in time', async (t) => {
    const { feed, connect } = await serve(t, { lingerMs: 30 });
    const client = connect();
    const { instance } = await client.hello();
    const { session } = await client.subscribe();
    await client.break();
    await until('nobody follows', () => feed.followers.size === 0);
    const late = connect();
    const answer = await late.subscribe({ resume: { instance, session, seq: 0 } });
    assert.equal(answer.resumed, false);
    assert.notEqual(answer.session, session);
  });

  it('begins anew at an agent that was restarted', async (t) => {
    const { connect } = await serve(t);
    const client = connect();
    const answer = await client.subscribe({ resume: { instance: 'another', session: 'gone', seq: 12 } });
    assert.equal(answer.resumed, false);
  });

  it('begins anew for a client that names a batch which was never sent, and leaves nothing of the old session', async (t) => {
    const { feed, connect } = await serve(t);
    const client = connect();
    const { instance } = await client.hello();
    const { session } = await client.subscribe();
    await client.break();
    const again = connect();
    const answer = await again.subscribe({ resume: { instance, session, seq: 99 } });
    assert.equal(answer.resumed, false);
    assert.equal(feed.followers.size, 1);
  });

  it('keeps no more sessions than there may be clients', async (t) => {
    const { feed, connect } = await serve(t, { clients: 3 });
    for (let i = 0; i < 10; i += 1) {
      const client = connect();
      await client.subscribe();
      await client.break();
    }
    assert.ok(feed.followers.size <= 3, `${feed.followers.size} followers`);
  });
});
