import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sighting } from '../../src/event/sighting.ts';
import { Assembler } from '../../src/flow/assemble.ts';
import {
  assembling,
  BRIDGE,
  conntrack,
  echo,
  hops,
  OTHER_POD,
  POD,
  sighting,
  TCP_V4_RCV,
  tuple,
  UPLINK,
  view,
  WAY_OUT,
} from './sightings.ts';

const NETFILTER_DROP = 6;

function pass(way: Partial<Sighting>[], fields: Partial<Sighting> = {}): Sighting[] {
  return way.map((hop, n) => sighting({ timeNs: BigInt(1000 + n * 10), ...hop, ...fields }));
}

test('a packet that has ended is told with the reading that has read all that it may have met since', () => {
  const { assembler, told } = assembling();
  const ends = sighting().tuple;
  const known = conntrack(ends, tuple(ends.dst, ends.dport, ends.src, ends.sport));
  for (const seen of pass(WAY_OUT, { conntrack: known })) assembler.add(seen, 0);
  const [, , , { timeNs: lastNs }] = pass(WAY_OUT) as [Sighting, Sighting, Sighting, Sighting];
  assembler.tick(0, lastNs);
  assert.equal(told.length, 0, 'what it met after its last hop may be in the ring still');
  assembler.tick(0, lastNs + 1n);
  assert.equal(told.length, 1);
  assembler.add(sighting({ proto: 17, entry: true, skb: 7 }), 0);
  assembler.tick(0, 10n * lastNs);
  assert.equal(told.length, 1, 'one that goes on waits');
});

test('a packet’s hops are told once, in order, with their tunnel and time', () => {
  const { assembler, told } = assembling();
  const ends = sighting().tuple;
  const known = conntrack(ends, tuple(ends.dst, ends.dport, ends.src, ends.sport));
  for (const seen of pass(WAY_OUT, { conntrack: known })) assembler.add(seen, 0);
  assembler.tick(0);
  assert.equal(told.length, 0, 'it may still go on');
  assembler.tick(1);
  assert.equal(told.length, 1, 'it has left by the uplink');
  const packet = told[0]!;
  assert.deepEqual(hops(packet), ['veth1 in', 'cni0 in', 'flannel.1 out', 'eth0 out']);
  assert.deepEqual(
    packet.event.hops.map(({ atNs }) => atNs),
    [0, 10, 20, 30],
  );
  assert.deepEqual(packet.event.hops[3]?.tunnel, { kind: 'vxlan', vni: 1, src: '192.168.0.1', dst: '192.168.0.2' });
  assert.equal(packet.event.verdict, 'forwarded');
  assert.deepEqual(packet.hopIfindexes, [1, 2, 3, 4]);
  assert.equal(packet.event.time, '2023-11-14T22:13:20.000001000Z');
});

test('an interface that leads to a pod is told with it, where the packet was seen and where it was dropped', () => {
  const asked: number[] = [];
  const podBehind = (ifindex: number, timeMs: number) => {
    asked.push(timeMs);
    return ifindex === POD ? 'default/a' : ifindex === OTHER_POD ? '' : undefined;
  };
  const { assembler, told } = assembling({ view: { ...view, podBehind } });
  for (const seen of pass(WAY_OUT.slice(0, 2))) assembler.add(seen, 0);
  const drop = { reason: NETFILTER_DROP, location: 12n };
  assembler.add(sighting({ hook: 'drop', timeNs: 2000n, ifindex: OTHER_POD, drop }), 0);
  assembler.flush();
  const { event } = told[0]!;
  assert.deepEqual(
    event.hops.map(({ if: name, pod }) => [name, pod]),
    [
      ['veth1', 'default/a'],
      ['cni0', undefined],
    ],
  );
  assert.equal(event.drop?.pod, '');
  assert.deepEqual([...new Set(asked)], [1_700_000_000_000], 'as it was at the packet’s time');
});

test('sightings that two CPUs swapped are put in order of time', () => {
  const { assembler, told } = assembling();
  const [first, second, third, fourth] = pass(WAY_OUT) as [Sighting, Sighting, Sighting, Sighting];
  for (const seen of [first, third, second, fourth]) assembler.add(seen, 0);
  assembler.flush();
  assert.deepEqual(hops(told[0]!), ['veth1 in', 'cni0 in', 'flannel.1 out', 'eth0 out']);
});

test('a packet that stays open is told when it has been quiet', () => {
  const { assembler, told } = assembling({ quietMs: 20 });
  assembler.add(sighting({ entry: true }), 100);
  assembler.tick(119);
  assert.equal(told.length, 0);
  assembler.tick(120);
  assert.equal(told.length, 1);
  assert.equal(told[0]?.event.verdict, 'unknown');
});

test('what has left the node is told soon, but without conntrack no answer before the request that a process took', () => {
  const [asked, answered] = [tuple('192.168.0.2', 40_000, '192.168.0.1', 53), tuple('192.168.0.1', 53, '192.168.0.2', 40_000)];
  for (const [known, order] of [
    [undefined, [53, 40_000]],
    [conntrack(asked, answered, { isReply: true }), [40_000, 53]],
  ] as const) {
    const { assembler, told } = assembling({ quietMs: 20 });
    assembler.add(sighting({ proto: 17, ifindex: UPLINK, entry: true, skb: 1, tuple: asked }), 100);
    assembler.add(
      sighting({ proto: 17, ifindex: UPLINK, hook: 'tc-out', skb: 2, ipId: 2, tuple: answered, conntrack: known }),
      105,
    );
    for (const nowMs of [110, 115, 120, 125]) assembler.tick(nowMs);
    assert.deepEqual(
      told.map(({ event }) => event.dst.port),
      order,
    );
  }
});

test('an entry hook begins a new packet, whatever the pointer', () => {
  const { assembler, told } = assembling();
  assembler.add(sighting({ entry: true }), 0);
  assembler.add(sighting({ entry: true, timeNs: 2000n }), 0);
  assembler.flush();
  assert.equal(told.length, 2);
});

test('the same hook twice is two packets: a retransmission in a reused sk_buff', () => {
  const { assembler, told } = assembling();
  for (const timeNs of [1000n, 2000n]) {
    assembler.add(sighting({ ifindex: UPLINK, hook: 'tc-out', timeNs }), 0);
  }
  assembler.flush();
  assert.equal(told.length, 2);
  assert.notEqual(told[0]?.event.id, told[1]?.event.id);
});

test('a reused sk_buff with other content is another packet', () => {
  const { assembler, told } = assembling();
  assembler.add(sighting({ ifindex: BRIDGE }), 0);
  assembler.add(sighting({ ifindex: UPLINK, hook: 'tc-out', tcp: { flags: 0x10, seq: 999, ack: 1 } }), 0);
  assembler.flush();
  assert.deepEqual(told.map(hops), [['cni0 in'], ['eth0 out']]);
});

test('a changed pointer is bridged by the content, and followed from there on', () => {
  const { assembler, told } = assembling();
  assembler.add(sighting({ entry: true, skb: 1 }), 0);
  assembler.add(sighting({ ifindex: BRIDGE, skb: 2 }), 0);
  assembler.add(sighting({ ifindex: UPLINK, hook: 'tc-out', skb: 2, tuple: tuple('9.9.9.9', 1, '8.8.8.8', 2) }), 0);
  assembler.flush();
  assert.deepEqual(told.map(hops), [['veth1 in', 'cni0 in', 'eth0 out']]);
});

test('the same content between other ends is not joined by content alone', () => {
  const { assembler, told } = assembling();
  assembler.add(sighting({ entry: true, skb: 1 }), 0);
  assembler.add(sighting({ ifindex: BRIDGE, skb: 2, tuple: tuple('10.244.7.7', 1, '10.244.8.8', 2) }), 0);
  assembler.flush();
  assert.equal(told.length, 2);
});

test('a packet matched by a Service’s address only is discarded, or told once its translation is seen', () => {
  const { assembler, told } = assembling();
  const toService = { entry: true, provisional: true, tuple: tuple('10.244.1.2', 40_000, '10.96.0.10', 80) };
  assembler.add(sighting(toService), 0);
  assembler.flush();
  assert.equal(told.length, 0);
  assert.equal(assembler.counts.discarded, 1);
  assert.equal(assembler.held, 0, 'nothing of it is kept');

  assembler.add(sighting(toService), 0);
  assembler.add(
    sighting({
      ifindex: BRIDGE,
      conntrack: conntrack(tuple('10.244.1.2', 40_000, '10.96.0.10', 80), tuple('10.244.2.10', 8080, '10.244.1.2', 40_000)),
      tuple: tuple('10.244.1.2', 40_000, '10.244.2.10', 8080),
    }),
    0,
  );
  assembler.flush();
  assert.deepEqual(told.map(hops), [['veth1 in', 'cni0 in']]);
  assert.equal(told[0]?.event.nat?.[0]?.after.ip, '10.244.2.10');
});

test('a late drop amends the packet that was told', () => {
  const { assembler, told } = assembling({ amendMs: 5000 });
  assembler.add(sighting({ entry: true }), 0);
  assembler.tick(30);
  assembler.add(
    sighting({ hook: 'drop', timeNs: 3_000_000_000n, ifindex: BRIDGE, drop: { reason: NETFILTER_DROP, location: 12n } }),
    3000,
  );
  assembler.tick(3020);
  assert.equal(told.length, 2);
  assert.equal(told[1]?.event.id, told[0]?.event.id);
  assert.equal(told[1]?.event.amends, true);
  assert.equal(told[1]?.event.verdict, 'dropped');
  assert.deepEqual(told[1]?.event.drop, { reason: 'NETFILTER_DROP', at: 'at_12', if: 'cni0' });
  assert.deepEqual([assembler.counts.told, assembler.counts.amended], [1, 1]);
});

test('a drop is not that of an earlier packet alike which has ended, whatever its sk_buff', () => {
  const icmp = { type: 128, code: 0, id: 77, seq: 1, mtu: 0 };
  const ping = { proto: 58, ipVersion: 6, icmp, ipId: 0, tuple: tuple('fd00::2', 77, 'fd00::3', 0) };
  const toNode = { ...ping, tuple: tuple('fd00::2', 77, '192.168.0.1', 0) };
  const ends: [string, Partial<Sighting>[]][] = [
    ['delivered', [{ ...ping, ifindex: OTHER_POD, hook: 'tc-out' }]],
    ['forwarded', [{ ...ping, ifindex: UPLINK, hook: 'tc-out' }]],
    [
      'answered',
      [
        { ...ping, ifindex: BRIDGE },
        { ...ping, hook: 'echo-answered' },
      ],
    ],
    ['delivered', [{ ...toNode, ifindex: BRIDGE }]],
    ['dropped', [{ ...ping, hook: 'drop', drop: { reason: NETFILTER_DROP, location: 1n } }]],
  ];
  for (const [verdict, way] of ends) {
    for (const skb of [0x1000, 0x2000]) {
      const { assembler, told } = assembling();
      for (const seen of [{ ...ping, ...(way[0]?.tuple && { tuple: way[0].tuple }), entry: true }, ...way])
        assembler.add(sighting(seen), 0);
      assembler.tick(30);
      const lost = { ...ping, tuple: way[0]?.tuple ?? ping.tuple, skb, timeNs: 1_000_000_000n };
      assembler.add(sighting({ ...lost, hook: 'drop', netns: 101, drop: { reason: NETFILTER_DROP, location: 1n } }), 1000);
      assembler.flush();
      assert.deepEqual(
        told.map(({ event }) => [event.verdict, event.amends]),
        [
          [verdict, undefined],
          ['dropped', undefined],
        ],
      );
    }
  }
});

test('a drop at once is that of the packet, also where it had left', () => {
  const { assembler, told } = assembling();
  assembler.add(sighting({ entry: true }), 0);
  assembler.add(sighting({ ifindex: UPLINK, hook: 'tc-out', timeNs: 2000n }), 0);
  assembler.tick(30);
  assembler.add(
    sighting({ hook: 'drop', ifindex: UPLINK, timeNs: 90_000_000n, drop: { reason: NETFILTER_DROP, location: 1n } }),
    90,
  );
  assembler.flush();
  assert.deepEqual(
    told.map(({ event }) => [event.verdict, event.amends]),
    [
      ['forwarded', undefined],
      ['dropped', true],
    ],
  );
});

test('a told packet is forgotten when its time is over', () => {
  const { assembler, told } = assembling({ amendMs: 5000 });
  assembler.add(sighting({ entry: true }), 0);
  assembler.tick(30);
  assembler.tick(5000);
  assert.equal(assembler.held, 0);
  assembler.add(sighting({ hook: 'drop', drop: { reason: NETFILTER_DROP, location: 1n } }), 5001);
  assembler.flush();
  assert.equal(told[1]?.event.amends, undefined);
});

test('frees that are no packet’s fate are counted, and told to nobody', () => {
  const { assembler, told } = assembling();
  assembler.add(sighting({ hook: 'drop', drop: { reason: 8, location: 1n } }), 0);
  assembler.add(echo(0, 1, { hook: 'drop', drop: { reason: 7, location: 1n } }), 0);
  assembler.add(echo(0, 1, { hook: 'drop', drop: { reason: 3, location: 1n } }), 0);
  assembler.flush();
  assert.equal(told.length, 0);
  assembler.add(sighting({ hook: 'drop', drop: { reason: 2, location: TCP_V4_RCV } }), 0);
  assert.equal(assembler.counts.noise, 4);
  assembler.flush();
  assert.equal(told.length, 0, 'a segment that came to a connection which waits for its last ones was not dropped');
  assembler.add(sighting({ hook: 'drop', drop: { reason: 3, location: 1n } }), 0);
  assembler.add(echo(8, 1, { hook: 'drop', drop: { reason: 3, location: 1n } }), 0);
  assembler.flush();
  assert.equal(told.length, 2, 'a segment without a socket is dropped, and so is a request');
  assembler.add(sighting({ hook: 'drop', ipId: 7, drop: { reason: 2, location: 5n } }), 0);
  assembler.flush();
  assert.equal(told.length, 3, 'what is freed elsewhere without a reason may be a packet that somebody misses');
});

test('a late drop amends its packet also after thousands of others were told, and those that are forgotten are counted', () => {
  const { assembler, told } = assembling({ toldLimit: 8010 });
  const numbered = (n: number) => ({ skb: n, ipId: n, tuple: tuple('10.244.1.2', 40_000, '10.244.1.9', 80) });
  const dropped = (n: number) =>
    assembler.add(
      sighting({ ...numbered(n), hook: 'drop', timeNs: 3_000_000_000n, drop: { reason: NETFILTER_DROP, location: 1n } }),
      3000,
    );
  for (let n = 0; n < 5000; n++) assembler.add(sighting({ ...numbered(n), entry: true }), 0);
  // What has ended needs no place among those that wait.
  for (let n = 5000; n < 9000; n++) {
    assembler.add(sighting({ ...numbered(n), entry: true }), 0);
    assembler.add(sighting({ ...numbered(n), ifindex: OTHER_POD, hook: 'tc-out' }), 0);
  }
  assembler.tick(30);
  assert.equal(assembler.counts.forgotten, 0);
  dropped(0);
  assembler.flush();
  assert.deepEqual(
    [told.at(-1)?.event.id, told.at(-1)?.event.amends, hops(told.at(-1)!)],
    [told[0]?.event.id, true, ['veth1 in']],
  );
  for (let n = 9000; n < 14_000; n++) assembler.add(sighting({ ...numbered(n), entry: true, timeNs: 3_000_000_000n }), 3000);
  assembler.flush();
  assert.equal(assembler.counts.forgotten, 1989);
});

test('what is held of told packets is bounded by their sightings, not by their number', () => {
  const { assembler } = assembling({ toldLimit: 100 });
  const long = (n: number) => {
    for (const [hook, ifindex] of [
      ['tc-in', POD],
      ['tc-out', BRIDGE],
      ['tc-in', BRIDGE],
      ['tc-in', UPLINK],
    ] as const)
      assembler.add(sighting({ skb: n, ipId: n, hook, ifindex, entry: hook === 'tc-in' && ifindex === POD }), 0);
  };
  for (let n = 0; n < 100; n += 1) long(n);
  assembler.flush();
  assert.deepEqual([assembler.counts.told, assembler.held, assembler.counts.forgotten], [100, 25, 75]);
  // A late sighting that joins one of them counts, too.
  assembler.add(sighting({ skb: 99, ipId: 99, hook: 'tc-out', ifindex: UPLINK, timeNs: 2000n }), 0);
  assembler.flush();
  assert.deepEqual([assembler.counts.amended, assembler.held], [1, 25]);
});

test('copies of one packet without end are no packet without end', () => {
  const { assembler, told } = assembling({ packetLimit: 16 });
  for (let n = 0; n < 100; n += 1) assembler.add(sighting({ hook: 'drop', drop: { reason: NETFILTER_DROP, location: 1n } }), n);
  assembler.flush();
  assert.equal(told.length, 7);
});

test('how many are held is bounded: the oldest is told early, and counted', () => {
  const { assembler, told } = assembling({ limit: 10, toldLimit: 10 });
  for (let n = 0; n < 100; n++) assembler.add(sighting({ entry: true, skb: n, ipId: n }), 0);
  assert.equal(assembler.counts.evicted, 90);
  assert.equal(told.length, 90);
  assert.ok(assembler.held <= 20);
  assembler.flush();
  assert.ok(assembler.held <= 20);
  const { counts } = assembler;
  assert.equal(counts.told + counts.discarded, counts.begun);
});

test('direction and verdict are told by conntrack, flags and interface', () => {
  const { assembler, told } = assembling();
  const add = (fields: Partial<Sighting>) => assembler.add(sighting({ entry: true, skb: 0, ...fields }), 0);
  add({ tcp: { flags: 0x12, seq: 1, ack: 1 } });
  add({ tcp: { flags: 0x02, seq: 1, ack: 0 } });
  add({ conntrack: conntrack(tuple('1.1.1.1', 1, '2.2.2.2', 2), tuple('2.2.2.2', 2, '1.1.1.1', 1), { isReply: true }) });
  assembler.add(echo(0, 3), 0);
  assembler.add(sighting({ ifindex: OTHER_POD, hook: 'tc-out', skb: 55, ipId: 55 }), 0);
  assembler.add(sighting({ ifindex: UPLINK, skb: 56, ipId: 56, tuple: tuple('8.8.8.8', 1, '192.168.0.1', 2) }), 0);
  assembler.flush();
  assert.deepEqual(
    told.map(({ event }) => `${event.dir} ${event.verdict}`),
    ['reply unknown', 'request unknown', 'reply unknown', 'reply unknown', 'request delivered', 'request delivered'],
  );
});

test('an ICMP error tells the flow it is about, and no translation as its own', () => {
  const { assembler, told } = assembling();
  assembler.add(
    sighting({
      proto: 1,
      icmp: { type: 3, code: 4, id: 0, seq: 0, mtu: 1400 },
      quoted: { proto: 17, tuple: tuple('10.244.1.2', 53, '10.244.2.10', 5353) },
      conntrack: conntrack(tuple('10.244.1.2', 53, '10.244.2.10', 5353), tuple('10.244.2.10', 5353, '10.244.1.2', 53), {
        isReply: true,
      }),
      tuple: tuple('192.168.0.2', 0, '10.244.1.2', 0),
      ifindex: UPLINK,
    }),
    0,
  );
  assembler.flush();
  const { event } = told[0]!;
  assert.deepEqual(event.icmp, {
    type: 3,
    code: 4,
    name: 'fragmentation-needed',
    mtu: 1400,
    about: { proto: 'udp', src: { ip: '10.244.1.2', port: 53 }, dst: { ip: '10.244.2.10', port: 5353 }, dir: 'request' },
  });
  assert.equal(event.nat, undefined);
  assert.equal(event.src.port, undefined);
});

test('fragments, merged segments and packets with nothing new say so', () => {
  const { assembler, told } = assembling();
  assembler.add(sighting({ fragment: { offset: 1480, more: false }, gsoSegs: 4, nothingNew: true, ifindex: POD }), 0);
  assembler.add(sighting({ skb: 2, ipId: 9, nothingNew: true }), 0);
  assembler.add(sighting({ skb: 2, ipId: 9, ifindex: BRIDGE }), 0);
  assembler.flush();
  assert.deepEqual(told[0]?.event.fragment, { id: 1, offset: 1480, more: false });
  assert.equal(told[0]?.event.segments, 4);
  assert.deepEqual(
    told.map(({ nothingNew }) => nothingNew),
    [true, false],
  );
  assert.equal(told[0]?.event.nodes[0], view.node);
});

test('a packet’s tag is that of its frame, not that of a tunnel’s frame around it', () => {
  const { assembler, told } = assembling();
  const vlan = { id: 100 };
  const tunnel = { kind: 'vxlan', vni: 1, src: '192.168.0.1', dst: '192.168.0.2' } as const;
  assembler.add(sighting({ entry: true, tuple: tuple('10.244.1.2', 1, '10.244.2.10', 80), vlan, skb: 1 }), 0);
  assembler.add(sighting({ entry: true, tuple: tuple('10.244.1.2', 2, '10.244.2.10', 80), vlan, tunnel, skb: 2 }), 0);
  assembler.flush();
  assert.deepEqual(
    told.map(({ event }) => event.vlan),
    [vlan, undefined],
  );
});

test('packets of one content between two pairs of ends that have the same key are two', () => {
  const { assembler, told } = assembling();
  // An address that sends to itself has nothing of itself in the key.
  for (const [n, ip] of ['10.244.1.2', '10.244.1.9'].entries())
    assembler.add(sighting({ entry: true, skb: 1 + n, tuple: tuple(ip, 1, ip, 2) }), 0);
  assembler.add(sighting({ ifindex: BRIDGE, skb: 7, tuple: tuple('10.244.1.9', 1, '10.244.1.9', 2) }), 0);
  assembler.add(sighting({ ifindex: BRIDGE, skb: 8, tuple: tuple('10.244.1.2', 1, '10.244.1.2', 2) }), 0);
  assembler.flush();
  assert.deepEqual(
    told.map((packet) => [packet.event.src.ip, hops(packet).length]),
    [
      ['10.244.1.2', 1],
      ['10.244.1.9', 2],
      ['10.244.1.2', 1],
    ],
  );
});

test('whoever is told may have all others told, each once', () => {
  const told: string[] = [];
  const assembler = new Assembler({
    view,
    idPrefix: 'x-',
    onPacket: ({ event }) => {
      told.push(event.id);
      assembler.flush();
    },
  });
  for (let n = 0; n < 3; n++) assembler.add(sighting({ entry: true, skb: n, ipId: n }), 0);
  assembler.tick(1000);
  assert.deepEqual(told, ['x-1', 'x-2', 'x-3']);
});

test('a packet that nothing can be made of is forgotten, and the others are told', () => {
  const told: string[] = [];
  const options = { view: { ...view, interfaceName: (ifindex: number) => (ifindex === BRIDGE ? assert.fail('gone') : 'if') } };
  const assembler = new Assembler({ ...options, idPrefix: 'x-', onPacket: ({ event }) => void told.push(event.id) });
  for (const [n, ifindex] of [POD, BRIDGE, POD].entries()) assembler.add(sighting({ entry: true, skb: n, ipId: n, ifindex }), 0);
  assert.throws(() => assembler.tick(1000), { message: 'gone' });
  assembler.tick(1000);
  assert.deepEqual([told, assembler.held], [['x-1', 'x-3'], 2]);
});
