import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { Sighting } from '../../../../src/event/sighting.ts';
import { before } from '../../../support/evidence.ts';
import { Bench, followed } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import {
  ends,
  ends6,
  inUdp,
  NODE_ADDRESSES,
  NODES,
  NODES6,
  noPorts,
  POD,
  POD6,
  payload,
  ports,
  router,
  router6,
  TABLE,
  v4,
  v6,
} from '../../support/packet-table.ts';
import {
  ARP,
  ethernet,
  extension,
  fragmentHeader,
  geneve,
  IPV4,
  IPV6,
  icmp,
  ipv4,
  ipv6,
  tcp,
  UNKNOWN,
  udp,
  vxlan,
} from '../../support/packets.ts';

const frame = (l3: Buffer) => ethernet(l3[0]! >> 4 === 6 ? IPV6 : IPV4, l3);

suite('what the kernel side tells of a packet', { skip: SKIP }, () => {
  let bench: Bench;
  before(() => {
    bench = new Bench(followed([POD, POD6]), NODE_ADDRESSES);
  });
  after(() => bench.close());

  test('is what it is, for every kind of packet', () => {
    for (const [what, l3, expected] of TABLE) {
      const seen = bench.run('ktrace_in', frame(l3));
      assert.equal(seen.length, 1, what);
      for (const [field, value] of Object.entries(expected))
        assert.deepEqual(seen[0]?.[field as keyof Sighting], value, `${what}: ${field}`);
    }
  });

  test('is the same on the way out and on devices without a link layer, but for the hook', () => {
    for (const [what, l3] of TABLE) {
      const [known] = bench.run('body_in', frame(l3));
      for (const [program, packet, hook] of [
        ['ktrace_out', frame(l3), 'tc-out'],
        ['body_l3_in', l3, 'tc-in'],
        ['body_l3_out', l3, 'tc-out'],
      ] as const) {
        const [seen] = bench.run(program, packet);
        assert.deepEqual(
          { ...seen, timeNs: 0n, skb: 0, len: 0, nothingNew: false },
          { ...known, timeNs: 0n, skb: 0, len: 0, nothingNew: false, hook },
          `${what} by ${program}`,
        );
      }
    }
  });

  test('captures the headers from L3 on, of the inner packet where it is tunnelled, and no payload', () => {
    const headers = tcp(ports);
    const [plain] = bench.run('ktrace_in', frame(ipv4({ ...ends, proto: 6 }, Buffer.concat([headers, payload]))));
    assert.deepEqual(Buffer.from(plain!.data), ipv4({ ...ends, proto: 6 }, Buffer.concat([headers, payload])).subarray(0, 40));
    const inner = ipv4({ ...ends, proto: 6 }, headers);
    const [tunnelled] = bench.run('ktrace_in', frame(ipv4({ ...NODES, proto: 17 }, inUdp(vxlan(1, IPV4, inner)))));
    assert.deepEqual(Buffer.from(tunnelled!.data), inner);
  });

  test('tells later fragments with the ports of the first, by IPv4 and IPv6, and none of a stranger’s', () => {
    const first4 = ipv4({ ...ends, proto: 17, id: 4711, more: true }, udp(ports, Buffer.alloc(1472)));
    const later4 = (id: number) => ipv4({ ...ends, proto: 17, id, offset: 1480 }, Buffer.alloc(100, 0xff));
    const fragment6 = (offset: number, more: boolean, id: number, bytes: Buffer) =>
      ipv6({ ...ends6, next: 44 }, fragmentHeader({ next: 17, offset, more, id }, bytes));
    const rows: [Buffer, Partial<Sighting>][] = [
      [first4, { tuple: v4, ipId: 4711, fragment: { offset: 0, more: true } }],
      [later4(4711), { tuple: v4, ipId: 4711, fragment: { offset: 1480, more: false } }],
      [later4(4712), { tuple: { ...ends, ...noPorts } }],
      [
        fragment6(0, true, 0x1234_5678, udp(ports, Buffer.alloc(1224))),
        { tuple: v6, proto: 17, fragment: { offset: 0, more: true } },
      ],
      [
        fragment6(1232, true, 0x1234_5678, Buffer.alloc(8, 0xff)),
        { tuple: v6, proto: 17, ipId: 0x1234_5678, fragment: { offset: 1232, more: true } },
      ],
      [fragment6(1232, false, 1, Buffer.alloc(8, 0xff)), { tuple: { ...ends6, ...noPorts } }],
    ];
    for (const [l3, expected] of rows) {
      const [seen] = bench.run('ktrace_in', frame(l3));
      for (const [field, value] of Object.entries(expected)) assert.deepEqual(seen?.[field as keyof Sighting], value, field);
    }
  });

  test('is nothing for other ports’ tunnels, for ARP, inside a tunnel too, and for packets of strangers', () => {
    const inner = ipv4({ ...ends, proto: 6 }, tcp(ports));
    const silent = [
      frame(ipv4({ ...NODES, proto: 17 }, inUdp(vxlan(1, IPV4, inner), 8473))),
      frame(ipv4({ ...NODES, proto: 17 }, inUdp(vxlan(1, ARP, Buffer.alloc(28))))),
      frame(ipv4({ ...NODES, proto: 17 }, inUdp(geneve(1, ethernet(IPV4, inner)), 6082))),
      // A message of the tunnel's own, another version, another protocol.
      frame(ipv4({ ...NODES, proto: 17 }, inUdp(geneve(1, ethernet(IPV4, inner), { flags: 0x80 }), 6081))),
      frame(ipv4({ ...NODES, proto: 17 }, inUdp(geneve(1, ethernet(IPV4, inner), { first: 0x40 }), 6081))),
      frame(ipv4({ ...NODES, proto: 17 }, inUdp(geneve(1, ethernet(IPV4, inner), { type: ARP }), 6081))),
      ethernet(ARP, Buffer.alloc(28)),
      frame(ipv4({ ...router, proto: 6 }, tcp(ports))),
      frame(ipv4({ ...router, proto: 1 }, icmp({ type: 3 }, ipv4({ ...router, proto: 17 }, udp(ports))))),
      frame(ipv6({ ...router6, next: 0 }, extension(17, 0, udp(ports)))),
    ];
    for (const packet of silent) for (const program of ['ktrace_in', 'body_in']) assert.deepEqual(bench.run(program, packet), []);
  });

  test('does not begin with strangers’ packets in the node’s tunnels: the dispatcher looks inside, over IPv4 and IPv6', () => {
    const inner = ipv4({ ...router, proto: 6 }, tcp(ports));
    const datagrams = [
      inUdp(vxlan(1, IPV4, inner)),
      inUdp(geneve(1, ethernet(IPV4, inner)), 6081),
      inUdp(geneve(1, ethernet(IPV4, inner), { options: 63 }), 6081),
    ];
    const packets = datagrams.flatMap((datagram) => [
      ipv4({ ...NODES, proto: 17 }, datagram),
      ipv6({ ...NODES6, next: 17 }, datagram),
    ]);
    packets.push(ipv4({ ...NODES, proto: 4 }, inner), ipv6({ ...NODES6, next: 4 }, inner));
    const before = bench.stats().unmatched;
    for (const packet of packets)
      for (const program of ['ktrace_in', 'ktrace_out']) assert.deepEqual(bench.run(program, frame(packet)), []);
    assert.equal(bench.stats().unmatched, before);
    bench.run('body_in', frame(packets[0]!));
    assert.equal(bench.stats().unmatched, before + 1, 'the body counts what reaches it');
  });

  test('never goes past the end of a packet that is cut off at any length', () => {
    for (const [what, l3] of TABLE) {
      for (let length = 0; length <= l3.length; length++) {
        for (const sighting of bench.run('body_in', ethernet(UNKNOWN, l3.subarray(0, length)))) {
          assert.ok(sighting.data.length <= length, `${what} cut at ${length}`);
          assert.ok(sighting.len <= length);
          assert.ok(l3.subarray(0, length).includes(Buffer.from(sighting.data)), 'what is captured is the packet’s own');
        }
      }
    }
    assert.equal(bench.malformed, 0);
  });
});
