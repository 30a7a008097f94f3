import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sighting } from '../../src/event/sighting.ts';
import { EchoTracker } from '../../src/flow/echo.ts';
import type { AssembledPacket } from '../../src/flow/packet-event.ts';
import { assembling, conntrack, echo, sighting, tuple } from './sightings.ts';

function assembled(...seen: Sighting[]): AssembledPacket {
  const { assembler, told } = assembling();
  for (const sighting of seen) assembler.add(sighting, 0);
  assembler.flush();
  assert.equal(told.length, 1);
  return told[0]!;
}

function tracking(limit?: number): { echoes: EchoTracker; unanswered: AssembledPacket[] } {
  const unanswered: AssembledPacket[] = [];
  const options = { onUnanswered: (packet: AssembledPacket) => unanswered.push(packet) };
  return { echoes: new EchoTracker(limit === undefined ? options : { ...options, limit }), unanswered };
}

test('a reply gets the time since its request, from its first hop to the reply’s last', () => {
  const { echoes, unanswered } = tracking();
  echoes.note(assembled(echo(8, 1, { timeNs: 1_000_000n })), 0);
  const reply = assembled(echo(0, 1, { timeNs: 2_000_000n }), echo(0, 1, { ifindex: 2, timeNs: 2_500_000n }));
  echoes.note(reply, 5);
  assert.equal(reply.event.icmp?.rttUs, 1500);
  echoes.tick(5000);
  assert.equal(unanswered.length, 0);
});

test('a reply is matched by what its requester asked, through a translation', () => {
  const { echoes } = tracking();
  const ends = [tuple('10.244.1.2', 77, '10.96.0.10', 0), tuple('10.244.2.10', 77, '10.244.1.2', 0)] as const;
  echoes.note(assembled(echo(8, 1, { timeNs: 0n, tuple: ends[0], conntrack: conntrack(...ends) })), 0);
  const reply = assembled(echo(0, 1, { timeNs: 7000n, conntrack: conntrack(...ends, { isReply: true }) }));
  echoes.note(reply, 1);
  assert.equal(reply.event.icmp?.rttUs, 7);
});

test('a reply to a masqueraded request has the requester’s id, whatever it carries: two with the same one get their own', () => {
  for (const v6 of [false, true]) {
    const { echoes } = tracking();
    const [one, other, node, target] = v6
      ? ['fd00::1', 'fd00::2', 'fd99::1', 'fd99::9']
      : ['10.9.1.2', '10.9.1.3', '192.168.0.1', '8.8.8.8'];
    const of = (pod: string, wireId: number, isReply: boolean, timeNs: bigint) => {
      const [asked, answered] = [tuple(pod, 77, target!, 0), tuple(target!, wireId, node!, 0)];
      const type = v6 ? (isReply ? 129 : 128) : isReply ? 0 : 8;
      const packet = assembled(
        sighting({
          ...(v6 ? { ipVersion: 6, proto: 58 } : { proto: 1 }),
          tuple: isReply ? answered : asked,
          icmp: { type, code: 0, id: isReply ? wireId : 77, seq: 1, mtu: 0 },
          conntrack: conntrack(asked, answered, { isReply }),
          timeNs,
        }),
      );
      echoes.note(packet, 0);
      return packet.event.icmp;
    };
    of(one!, 40_001, false, 1000n);
    of(other!, 40_002, false, 2000n);
    const replies = [of(other!, 40_002, true, 6000n), of(one!, 40_001, true, 8000n)];
    assert.deepEqual(
      replies.map((icmp) => [icmp?.id, icmp?.seq, icmp?.rttUs]),
      [
        [77, 1, 4],
        [77, 1, 7],
      ],
    );
  }
});

test('without a reply the request is told again after a second, once, and as an amendment', () => {
  const { echoes, unanswered } = tracking();
  const request = assembled(echo(8, 1));
  echoes.note(request, 100);
  echoes.tick(1099);
  assert.equal(unanswered.length, 0);
  echoes.tick(1100);
  echoes.tick(9000);
  assert.equal(unanswered.length, 1);
  assert.equal(unanswered[0]?.event.icmp?.unansweredMs, 1000);
  assert.equal(unanswered[0]?.event.amends, true);
  assert.equal(unanswered[0]?.event.id, request.event.id);
  assert.equal(request.event.amends, undefined, 'what was told already is left as it was');
});

test('an amended request waits from its first telling, and tells its newest state', () => {
  const { echoes, unanswered } = tracking();
  const request = assembled(echo(8, 1));
  echoes.note(request, 0);
  echoes.note({ ...request, event: { ...request.event, amends: true, verdict: 'forwarded' } }, 500);
  echoes.tick(1000);
  assert.equal(unanswered[0]?.event.verdict, 'forwarded');
  echoes.note({ ...request, event: { ...request.event, amends: true } }, 2000);
  echoes.tick(9000);
  assert.equal(unanswered.length, 1, 'an amendment after the end begins nothing');
});

test('a request that is dropped, at once or later, waits for no answer', () => {
  const { echoes, unanswered } = tracking();
  const drop = { hook: 'drop', ifindex: 2, drop: { reason: 6, location: 1n } } as const;
  echoes.note(assembled(echo(8, 1), echo(8, 1, drop)), 0);
  const request = assembled(echo(8, 2));
  echoes.note(request, 0);
  const { event } = assembled(echo(8, 2), echo(8, 2, drop));
  echoes.note({ ...request, event: { ...event, amends: true } }, 500);
  echoes.tick(5000);
  assert.deepEqual(unanswered, []);
});

const refused = (fields: Partial<Sighting> = {}) =>
  sighting({
    proto: 1,
    tuple: tuple('192.168.0.3', 0, '10.244.1.2', 0),
    icmp: { type: 3, code: 1, id: 0, seq: 0, mtu: 0 },
    quoted: { proto: 1, tuple: tuple('10.244.1.2', 77, '10.244.2.10', 0), seq: 1 },
    ...fields,
  });

test('an error about a request ends its waiting, and no other’s; a redirect ends none', () => {
  const { echoes, unanswered } = tracking();
  for (const seq of [1, 2, 3]) echoes.note(assembled(echo(8, seq)), 0);
  const error = assembled(refused());
  assert.deepEqual([error.event.icmp?.about?.id, error.event.icmp?.about?.seq], [77, 1]);
  echoes.note(error, 1);
  const quoted = { proto: 1, tuple: tuple('10.244.1.2', 77, '10.244.2.10', 0), seq: 2 };
  echoes.note(assembled(refused({ quoted, icmp: { type: 5, code: 1, id: 0, seq: 0, mtu: 0 } })), 1);
  echoes.tick(5000);
  assert.deepEqual(
    unanswered.map(({ event }) => event.icmp?.seq),
    [2, 3],
  );
});

test('an error about a masqueraded request ends the waiting of whoever sent it', () => {
  const { echoes, unanswered } = tracking();
  const [asked, wire] = [tuple('10.244.1.2', 77, '8.8.8.8', 0), tuple('8.8.8.8', 40_001, '192.168.0.1', 0)];
  echoes.note(assembled(echo(8, 1, { tuple: asked, conntrack: conntrack(asked, wire) })), 0);
  const quoted = { proto: 1, tuple: tuple('192.168.0.1', 40_001, '8.8.8.8', 0), seq: 1 };
  echoes.note(assembled(refused({ quoted, conntrack: conntrack(asked, wire, { isReply: true }) })), 1);
  echoes.tick(5000);
  assert.deepEqual(unanswered, []);
});

test('what is answered or refused before it is told itself waits for nothing', () => {
  const { echoes, unanswered } = tracking();
  echoes.note(assembled(refused()), 0);
  echoes.note(assembled(echo(0, 2)), 0);
  for (const seq of [1, 2, 3]) echoes.note(assembled(echo(8, seq)), 20);
  echoes.tick(1020);
  assert.deepEqual(
    unanswered.map(({ event }) => event.icmp?.seq),
    [3],
  );
});

test('another id, seq or end is another echo', () => {
  const { echoes } = tracking();
  echoes.note(assembled(echo(8, 1)), 0);
  const others = [
    echo(0, 2),
    echo(0, 1, { icmp: { type: 0, code: 0, id: 78, seq: 1, mtu: 0 } }),
    echo(0, 1, { tuple: tuple('10.244.2.11', 77, '10.244.1.2', 0) }),
  ];
  for (const other of others) {
    const packet = assembled(other);
    echoes.note(packet, 1);
    assert.equal(packet.event.icmp?.rttUs, undefined);
  }
});

test('how many wait is bounded, and what is forgotten is counted', () => {
  const { echoes, unanswered } = tracking(5);
  for (let seq = 1; seq <= 20; seq++) echoes.note(assembled(echo(8, seq)), 0);
  assert.equal(echoes.evicted, 15);
  echoes.tick(2000);
  assert.deepEqual(
    unanswered.map(({ event }) => event.icmp?.seq),
    [16, 17, 18, 19, 20],
  );
});

test('what is cleared is never told as unanswered', () => {
  const { echoes, unanswered } = tracking();
  echoes.note(assembled(echo(8, 1)), 0);
  echoes.clear();
  echoes.tick(5000);
  assert.equal(unanswered.length, 0);
});
