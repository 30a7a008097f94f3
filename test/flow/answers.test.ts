import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sighting, Tuple } from '../../src/event/sighting.ts';
import type { PacketEvent } from '../../src/event/types.ts';
import { AnswerTracker, type AnswerTrackerOptions } from '../../src/flow/answers.ts';
import type { AssembledPacket } from '../../src/flow/open-packet.ts';
import { assembling, conntrack, echo, sighting, tuple } from './sightings.ts';

function assembled(...seen: Sighting[]): AssembledPacket {
  const { assembler, told } = assembling();
  for (const sighting of seen) assembler.add(sighting, 0);
  assembler.flush();
  assert.equal(told.length, 1);
  return told[0]!;
}

function tracking(limit?: number): { echoes: AnswerTracker; unanswered: AssembledPacket[] } {
  const unanswered: AssembledPacket[] = [];
  const options = { onUnanswered: (packet: AssembledPacket) => unanswered.push(packet) };
  return { echoes: new AnswerTracker(limit === undefined ? options : { ...options, limit }), unanswered };
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
  assert.deepEqual(unanswered[0]?.event.unanswered, { ms: 1000 });
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

const SYN = 0x02;
const SYN_ACK = 0x12;
const ACK = 0x10;
const RST_ACK = 0x14;
const ENDS = {
  4: ['10.244.1.2', '10.244.2.10', '10.96.0.10', '192.168.0.1'],
  6: ['fd00::2', 'fd01::2', 'fd96::a', 'fd99::1'],
} as const;

function ofVersion(version: 4 | 6) {
  const [client, server, service, node] = ENDS[version];
  const segment = (flags: number, ends: Tuple, seq: number, ack: number, fields: Partial<Sighting> = {}) =>
    sighting({ ipVersion: version, proto: 6, tuple: ends, tcp: { flags, seq, ack }, ...fields });
  const datagram = (ends: Tuple, fields: Partial<Sighting> = {}) =>
    sighting({ ipVersion: version, proto: 17, tuple: ends, ...fields });
  const out = tuple(client, 40_000, server, 80);
  const back = tuple(server, 80, client, 40_000);
  return { client, server, service, node, segment, datagram, out, back };
}

function expecting(options: Partial<AnswerTrackerOptions> = {}) {
  const unanswered: PacketEvent[] = [];
  const answers = new AnswerTracker({ onUnanswered: ({ event }) => unanswered.push(event), ...options });
  let serial = 0;
  /** Each sighting is a packet of its own. */
  const note = (nowMs: number, seen: Sighting, fields: Partial<PacketEvent> = {}): AssembledPacket => {
    const packet = assembled(seen);
    serial += 1;
    Object.assign(packet.event, { id: `p${serial}`, ...fields });
    answers.note(packet, nowMs);
    return packet;
  };
  return { answers, unanswered, note };
}

for (const version of [4, 6] as const) {
  const { client, server, service, node, segment, datagram, out, back } = ofVersion(version);

  test(`a SYN of IPv${version} without an answer is told again once, with its retransmissions`, () => {
    const { answers, unanswered, note } = expecting();
    const { event } = note(0, segment(SYN, out, 100, 0));
    note(900, segment(SYN, out, 100, 0));
    answers.count(999);
    assert.deepEqual(unanswered, []);
    answers.count(1000);
    note(3000, segment(SYN, out, 100, 0));
    answers.count(9000);
    assert.deepEqual(unanswered, [{ ...event, amends: true, unanswered: { ms: 1000, retransmissions: 1 } }]);
    note(10_000, segment(SYN, out, 555, 0));
    answers.count(11_000);
    assert.equal(unanswered.length, 2, 'another connection of the same ports is another question');
  });

  test(`whatever comes back ends a SYN’s waiting over IPv${version}, also before the SYN is told`, () => {
    for (const [flags, ack] of [
      [SYN_ACK, 101],
      [RST_ACK, 101],
    ] as const) {
      for (const isFirst of [false, true]) {
        const { answers, unanswered, note } = expecting();
        if (!isFirst) note(0, segment(SYN, out, 100, 0));
        note(1, segment(flags, back, 7, ack), { dir: 'reply' });
        if (isFirst) note(2, segment(SYN, out, 100, 0));
        answers.count(9000);
        assert.deepEqual(unanswered, []);
      }
    }
    const { answers, unanswered, note } = expecting();
    note(0, segment(SYN, out, 100, 0));
    note(1, segment(SYN, tuple(client, 40_001, server, 80), 100, 0));
    note(2, segment(ACK, back, 7, 3), { dir: 'reply' });
    answers.count(9000);
    assert.deepEqual(
      unanswered.map(({ src }) => src.port),
      [40_001],
      'a challenge ACK answers, and answers nobody else',
    );
  });

  test(`an answer over IPv${version} is paired through a Service’s translation and a masquerade`, () => {
    const { answers, unanswered, note } = expecting();
    const [asked, wire] = [tuple(client, 40_000, service, 80), tuple(server, 8080, node, 61_000)];
    note(0, segment(SYN, asked, 100, 0, { conntrack: conntrack(asked, wire) }));
    note(5, segment(SYN_ACK, wire, 7, 101, { conntrack: conntrack(asked, wire, { isReply: true }) }));
    answers.count(9000);
    assert.deepEqual(unanswered, []);
  });

  test(`a DNS query of IPv${version} waits five seconds for what the kernel counts; nothing else does that is no Service’s`, () => {
    let replies: number | undefined = 0;
    const { answers, unanswered, note } = expecting({ repliesTo: () => replies });
    const ask = (port: number, fields: Partial<PacketEvent> = {}) =>
      note(0, datagram(tuple(client, port, server, 53)), fields).event;
    const query = ask(1000);
    note(0, datagram(tuple(client, 1001, server, 514)));
    note(0, datagram(tuple(client, 1002, version === 6 ? 'ff02::fb' : '224.0.0.251', 53)));
    const served = note(0, datagram(tuple(client, 1003, server, 514)), {
      dst: { ip: service, port: 514, service: { namespace: 'default', name: 'log', port: '' } },
    }).event;
    note(10, datagram(tuple(client, 1000, server, 53)));
    answers.count(4999);
    assert.deepEqual(unanswered, []);
    answers.count(5000);
    assert.deepEqual(
      unanswered,
      [query, served].map((event) => ({ ...event, amends: true, unanswered: { ms: 5000 } })),
    );
    for (replies of [1, undefined]) {
      ask(2000);
      answers.count(20_000);
    }
    assert.equal(unanswered.length, 2, 'answered, or not counted');
  });

  test(`a SYN of IPv${version} whose answer is counted and not told, as a filter leaves it out, was answered`, () => {
    let replies = 4;
    const { answers, unanswered, note } = expecting({ repliesTo: () => replies });
    note(0, segment(SYN, out, 100, 0));
    replies = 5;
    answers.count(9000);
    assert.deepEqual(unanswered, []);
    note(9000, segment(SYN, out, 200, 0));
    answers.count(18_000);
    assert.equal(unanswered.length, 1, 'what the ports’ last connection got is no answer');
  });

  test(`an error about it, a reply to it and a drop of it end the waiting over IPv${version}`, () => {
    const { answers, unanswered, note } = expecting({ repliesTo: () => 0 });
    const query = tuple(client, 1000, server, 53);
    const error = (proto: number, ends: Tuple) =>
      sighting({
        ...(version === 6 ? { ipVersion: 6, proto: 58 } : { proto: 1 }),
        tuple: tuple(node, 0, client, 0),
        icmp: { type: version === 6 ? 1 : 3, code: 1, id: 0, seq: 0, mtu: 0 },
        quoted: { proto, tuple: ends },
      });
    const drop = { reason: 'NETFILTER_DROP', at: 'nft_do_chain' };
    for (const end of ['error', 'reply', 'drop'] as const) {
      const { event } = note(0, segment(SYN, out, 100, 0));
      const asked = note(0, datagram(query));
      if (end === 'error') {
        note(1, error(6, out));
        note(1, error(17, query));
      } else if (end === 'reply') {
        note(1, segment(SYN_ACK, back, 1, 101), { dir: 'reply' });
        note(1, datagram(tuple(server, 53, client, 1000)), { dir: 'reply' });
      } else {
        note(1, segment(SYN, out, 100, 0), { id: event.id, amends: true, drop });
        note(1, datagram(query), { id: asked.event.id, amends: true, drop });
      }
    }
    answers.count(60_000);
    assert.deepEqual(unanswered, []);
  });
}

test('how many SYNs wait is bounded, and what is forgotten is counted', () => {
  const { segment, client, server } = ofVersion(4);
  const { answers, unanswered, note } = expecting({ limit: 5 });
  for (let port = 1; port <= 20; port++) note(0, segment(SYN, tuple(client, port, server, 80), 100, 0));
  assert.equal(answers.evicted, 15);
  answers.count(2000);
  assert.deepEqual(
    unanswered.map(({ src }) => src.port),
    [16, 17, 18, 19, 20],
  );
});
