import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { KtraceEvent, PacketEvent } from '../../../src/event/types.ts';
import { aboutSecret, packet } from '../serve/fake-feed.ts';
import { serve } from '../serve/server-fixture.ts';

const filter = (text: string, revision = 1) => ({ filter: { text, revision } });
const judged = (events: readonly KtraceEvent[]) => events.map((event) => (event as PacketEvent).judged);

describe('a follower with a filter', () => {
  it('gets what the filter may match, with what this node says to it, beside others with other filters', async (t) => {
    const { connect, feed } = await serve(t);
    const [tcp, icmp, all] = [connect({ autoCredit: true }), connect({ autoCredit: true }), connect({ autoCredit: true })];
    await tcp.subscribe(filter('tcp and host 10.244.3.2 and dropped', 7));
    await icmp.subscribe(filter('icmp'));
    await all.subscribe();
    for (const client of [tcp, icmp, all]) client.say({ type: 'credit', events: 100 });
    feed.publish(packet(1));
    feed.publish({ v: 1, kind: 'lost', node: 'host1', stage: 'kernel-ring', count: 3, from: '', to: '' });
    for (const client of [tcp, icmp, all]) await client.until(() => client.events.some(({ kind }) => kind === 'lost'));
    assert.deepEqual(judged(tcp.events), ['7:110', undefined]);
    assert.deepEqual(
      icmp.events.map(({ kind }) => kind),
      ['lost'],
    );
    assert.deepEqual(judged(all.events), [undefined, undefined]);
  });

  it('may change it: what is told from then on is judged by the new one, and nothing in between is lost', async (t) => {
    const { connect, feed } = await serve(t);
    const client = connect({ autoCredit: true });
    await client.subscribe(filter('udp'));
    client.say({ type: 'credit', events: 100 });
    feed.publish({ ...packet(1), proto: 'udp' });
    await client.subscribe(filter('tcp', 2));
    feed.publish(packet(2));
    feed.publish({ ...packet(3), proto: 'udp' });
    await client.subscribe();
    feed.publish(packet(4));
    await client.until(() => client.events.some((event) => 'id' in event && event.id === 'default-4'));
    assert.deepEqual(
      client.events.map((event) => [(event as PacketEvent).id, (event as PacketEvent).judged]),
      [
        ['default-1', '1:1'],
        ['default-2', '2:1'],
        ['default-4', undefined],
      ],
    );
  });

  it('is refused where the filter is none, before anything is followed', async (t) => {
    const { connect, feed } = await serve(t);
    for (const [text, message] of [
      ['tcp port', /Expected a port, got the end of the filter\n {2}tcp port\n {10}\^/],
      ['host web', /Expected an address, got the name web/],
      ['ether host 1:2:3:4:5:6', /frames are not what/],
    ] as const) {
      const client = connect();
      await client.until(() => client.all('hello').length === 1);
      client.say({ type: 'subscribe', targets: [{ kind: 'all' }], ...filter(text) });
      await client.until(() => client.closed !== undefined);
      const [error] = client.all('error');
      assert.equal(error?.code, 'KTRACE_E_FILTER');
      assert.match(error?.message ?? '', message);
    }
    const client = connect();
    await client.until(() => client.all('hello').length === 1);
    client.say({ type: 'subscribe', targets: [{ kind: 'all' }], filter: { text: 'x'.repeat(8193), revision: 1 } });
    await client.until(() => client.closed !== undefined);
    assert.equal(client.all('error')[0]?.code, 'KTRACE_E_PROTOCOL');
    assert.equal(feed.followers.size, 0);
  });

  it('learns nothing by it of what is withheld: neither names nor the bytes of a quoted flow', async (t) => {
    const allowed = { accounts: ['alice'], allowed: new Set(['a']) };
    const { connect, feed } = await serve(t, {}, { authorize: () => Promise.resolve(allowed) });
    const client = connect({ autoCredit: true });
    await client.subscribe(filter('pod secret or label secret=x or ns b or tcp'));
    client.say({ type: 'credit', events: 100 });
    const one = packet(1, 'a');
    one.src = { ip: '10.244.1.2', pod: { namespace: 'a', name: 'mine', uid: 'u1', labels: {} } };
    one.dst = { ip: '10.244.3.2', pod: { namespace: 'b', name: 'secret', uid: 'u2', labels: { secret: 'x' } } };
    feed.publish(one);
    await client.until(() => client.events.length === 1);
    assert.deepEqual(judged(client.events), ['1:0001']);
    await client.subscribe(filter('icmp[28:2] = 0x0001 or icmp[0] = 3', 2));
    const { event, bytes } = aboutSecret();
    feed.publish(event, [bytes]);
    await client.subscribe(filter('icmp[0] = 3', 3));
    feed.publish(event, [bytes]);
    await client.until(() => client.events.some((told) => (told as PacketEvent).judged?.startsWith('3:') === true));
    assert.deepEqual(judged(client.events.filter(({ kind }) => kind === 'packet')), ['1:0001', '2:x1', '3:1']);
  });

  it('is told of packets that were captured shorter than it reads, at the first and seldom after it, and exactly how many', async (t) => {
    const { connect, feed } = await serve(t);
    const client = connect({ autoCredit: true });
    await client.subscribe(filter('tcp[30] = 1'));
    client.say({ type: 'credit', events: 100 });
    const bytes = Uint8Array.from([0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 10, 244, 1, 2, 10, 244, 3, 2, 0, 1, 0, 2]);
    const publish = (count: number, len: number): void => {
      const { src, ...rest } = packet(count);
      const here = { ...src, pod: { namespace: 'default', name: 'a', uid: 'u', node: 'host1' } };
      feed.publish({ ...rest, len, src: here, verdict: 'delivered' }, [bytes]);
    };
    for (let count = 1; count <= 12; count++) publish(count, 60);
    // These end before that byte: no match, and nobody's loss.
    for (let count = 13; count <= 15; count++) publish(count, 50);
    await client.until(() => client.all('undecided').some(({ packets }) => packets === 12));
    assert.equal(client.all('undecided')[0]?.packets, 1, 'the first is told at once');
    assert.deepEqual(client.all('undecided').at(-1), { type: 'undecided', packets: 12, wantsBytes: 51 });
    const texts = client.events.map((event) => (event.kind === 'notice' ? `${event.code} ${event.text}` : event.kind));
    assert.equal(texts.length, 2);
    assert.match(texts[0] ?? '', /^KTRACE_N_FILTER_BYTES 1 packet was captured shorter than the filter reads \(up to byte 51 /);
    assert.match(texts[1] ?? '', /^KTRACE_N_FILTER_BYTES 10 packets were captured shorter/);
  });

  it('tells with a record how far it reads, where another node may have more to say', async (t) => {
    const { connect, feed } = await serve(t);
    const client = connect({ autoCredit: true });
    await client.subscribe(filter('udp[20:2] = 1'));
    client.say({ type: 'credit', events: 100 });
    const head = [0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0, 10, 244, 1, 2, 10, 244, 3, 2, 0, 1, 0, 2, 0, 40, 0, 0];
    feed.publish({ ...packet(1), proto: 'udp' }, [Uint8Array.from(head)]);
    await client.until(() => client.events.length === 1);
    const [event] = client.events as PacketEvent[];
    assert.deepEqual([event?.judged, event?.wantsBytes], ['1:x', 42]);
  });
});
