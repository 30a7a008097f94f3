import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { patched, unpatched } from '../../../src/agent/access/headers.ts';
import type { KtraceEvent, PacketEvent } from '../../../src/event/types.ts';
import { fc } from '../../support/fast-check.ts';
import { aboutSecret, packet } from '../serve/fake-feed.ts';
import { serve } from '../serve/server-fixture.ts';

const headersOf = (events: readonly KtraceEvent[]) => events.map((event) => (event as PacketEvent).headers);
const [FIRST, SECOND, THIRD] = [1, 2, 3].map((byte) => Uint8Array.from([0x45, 0, 0, byte]));

describe('headers of a recording', () => {
  const of = (...headers: Buffer[]): PacketEvent => ({ ...packet(1), headers: headers.map((bytes) => bytes.toString('base64')) });
  const sizes = { minLength: 20, maxLength: 60 };

  it('are what they were, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array(sizes), fc.uint8Array(sizes), (one, other) => {
        const event = of(Buffer.from(one), Buffer.from(other));
        assert.deepEqual(unpatched(patched(event)), event);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array(sizes), fc.array(fc.tuple(fc.nat(59), fc.nat(255)), { maxLength: 6 }), (bytes, changes) => {
        const other = Buffer.from(bytes);
        for (const [at, value] of changes) if (at < other.length) other[at] = value;
        const event = of(Buffer.from(bytes), other);
        assert.deepEqual(unpatched(patched(event)), event);
      }),
    );
    for (const event of [packet(1), of(Buffer.from([0x45]))]) assert.equal(unpatched(patched(event)), event);
  });

  it('are shorter where a packet went through the node with no more than its TTL changed', () => {
    const one = Buffer.from('4500005401434000400111f7b0af401020af40302', 'hex');
    const other = Buffer.from(one);
    other[8] = 0x3f;
    other[10] = 0x20;
    assert.deepEqual(patched(of(one, other)).headers?.[1], '8:Pw==,10:IA==');
  });
});

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
