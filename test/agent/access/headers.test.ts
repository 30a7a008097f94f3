import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { KtraceEvent, PacketEvent } from '../../../src/event/types.ts';
import { aboutSecret, packet } from '../serve/fake-feed.ts';
import { serve } from '../serve/server-fixture.ts';

const headersOf = (events: readonly KtraceEvent[]) => events.map((event) => (event as PacketEvent).headers);
const [FIRST, SECOND, THIRD] = [1, 2, 3].map((byte) => Uint8Array.from([0x45, 0, 0, byte]));

describe('a follower that asks for headers', () => {
  it('gets the bytes before and after translation with each packet, beside one that does not ask, and until it asks no more', async (t) => {
    const { connect, feed } = await serve(t);
    const [capture, plain] = [connect({ autoCredit: true }), connect({ autoCredit: true })];
    await capture.subscribe({ headers: true });
    await plain.subscribe();
    for (const client of [capture, plain]) client.say({ type: 'credit', events: 100 });
    feed.publish(packet(1), [FIRST, SECOND, THIRD] as Uint8Array[]);
    feed.publish(packet(2));
    await capture.until(() => capture.events.length === 2);
    await capture.subscribe();
    feed.publish(packet(3), [FIRST] as Uint8Array[]);
    for (const client of [capture, plain]) await client.until(() => client.events.length === 3);
    assert.deepEqual(headersOf(capture.events), [['RQAAAQ==', 'RQAAAg=='], undefined, undefined]);
    assert.deepEqual(headersOf(plain.events), [undefined, undefined, undefined]);
  });

  it('gets no bytes that quote a flow which is withheld, filter or not', async (t) => {
    const allowed = { accounts: ['alice'], allowed: new Set(['a']) };
    const { connect, feed } = await serve(t, {}, { authorize: () => Promise.resolve(allowed) });
    const client = connect({ autoCredit: true });
    await client.subscribe({ headers: true });
    client.say({ type: 'credit', events: 100 });
    const { event, bytes } = aboutSecret();
    feed.publish(event, [bytes]);
    await client.subscribe({ headers: true, filter: { text: 'icmp', revision: 1 } });
    feed.publish(event, [bytes]);
    const mine = { ...packet(2, 'a'), proto: 'icmp', src: event.dst };
    feed.publish(mine, [bytes.subarray(0, 28)]);
    await client.until(() => client.events.length === 3);
    assert.deepEqual(headersOf(client.events), [undefined, undefined, [Buffer.from(bytes.subarray(0, 28)).toString('base64')]]);
    assert.ok(client.events.every((told) => !JSON.stringify(told).includes('10.244.9.9')));
  });
});
