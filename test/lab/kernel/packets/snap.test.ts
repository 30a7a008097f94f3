import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { CAPTURE } from '../../../../src/event/layout.ts';
import { compileFilter } from '../../../../src/filter/compile/compile.ts';
import { translate } from '../../../../src/filter/compile/ebpf.ts';
import { parseFilter } from '../../../../src/filter/language/parse.ts';
import { before } from '../../../support/evidence.ts';
import { Bench, followed, isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { ethernet, IPV4, IPV6, icmp, ipv4, ipv6, tcp, udp, vxlan } from '../../support/packets.ts';

const ends = { src: '10.9.1.2', dst: '10.9.1.3' };
const payload = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, at) => (at * 7 + 1) & 0xff));
const datagram = ipv4({ ...ends, proto: 17 }, udp({ sport: 4000, dport: 7001 }, payload(1800)));
const inside = ipv4({ ...ends, proto: 17 }, udp({ sport: 4000, dport: 7002 }, payload(300)));

suite('how much the kernel side captures of a packet', { skip: SKIP }, () => {
  let bench: Bench;
  before(() => {
    bench = new Bench(followed(['10.9.1.2', 'fd00::2']), ['172.18.0.3']);
  });
  after(() => bench.close());

  /** Each snap length with how many bytes of the packet are captured then. */
  const CASES: [what: string, frame: Buffer, l3: Buffer, headers: number, [snap: number, captured: number][]][] = [
    [
      'a datagram',
      ethernet(IPV4, datagram),
      datagram,
      28,
      [
        [0, 28],
        [1, 28],
        [28, 28],
        [29, 29],
        [128, 128],
        [129, 129],
        [500, 500],
        [1499, 1499],
        [1500, 1500],
      ],
    ],
    ...(
      [
        ['a segment', ethernet(IPV4, ipv4({ ...ends, proto: 6 }, tcp({ sport: 1, dport: 2 }, payload(20)))), 40, 60],
        ['a ping', ethernet(IPV4, ipv4({ ...ends, proto: 1 }, icmp({ type: 8, code: 0 }, payload(100)))), 28, 128],
        [
          'a datagram of IPv6',
          ethernet(IPV6, ipv6({ src: 'fd00::2', dst: 'fd00::3', next: 17 }, udp({ sport: 1, dport: 2 }, payload(50)))),
          48,
          98,
        ],
        ['a protocol without ports', ethernet(IPV4, ipv4({ ...ends, proto: 47 }, payload(30))), 20, 50],
      ] as [string, Buffer, number, number][]
    ).map(([what, frame, headers, whole]): (typeof CASES)[number] => [
      what,
      frame,
      frame.subarray(14),
      headers,
      [
        [0, headers],
        [headers + 1, headers + 1],
        [1500, whole],
      ],
    ]),
    [
      'a datagram in a tunnel: of the packet inside',
      ethernet(
        IPV4,
        ipv4({ src: '172.18.0.1', dst: '172.18.0.3', proto: 17 }, udp({ sport: 9, dport: 8472 }, vxlan(1, IPV4, inside))),
      ),
      inside,
      28,
      [
        [0, 28],
        [200, 200],
        [1500, 328],
      ],
    ],
  ];
  for (const [what, frame, l3, headers, snaps] of CASES)
    test(what, () => {
      for (const [snap, captured] of snaps) {
        bench.tracer.setSnapBytes(snap);
        const [sighting] = bench.run('body_in', frame);
        assert.ok(sighting, `${snap}: told`);
        assert.deepEqual([sighting.data.length, sighting.headerBytes], [captured, headers], `${snap} bytes`);
        assert.deepEqual(Buffer.from(sighting.data), Buffer.from(l3.subarray(0, captured)));
      }
      bench.tracer.setSnapBytes(0);
    });

  test('and what a program of a filter reads of it, to the last byte', () => {
    const frame = ethernet(IPV4, datagram);
    const program = (text: string) => translate({ ofPacket: compileFilter(parseFilter(text, 'live'), 'raw') });
    const wanted = `udp[300] = ${datagram[320]} and ip[1496:4] = ${datagram.readUInt32BE(1496)}`;
    for (const [snap, text, isTold] of [
      [1500, wanted, true],
      [1500, `${wanted} and udp[301] = ${datagram[320]}`, false],
      [1500, `ip[ip[0] * 0 + 1496 : 4] != ${datagram.readUInt32BE(1496)}`, false],
      // What was not captured lets a packet through: user space counts it.
      [1499, `ip[1496:4] != ${datagram.readUInt32BE(1496)}`, true],
      [1500, `ip[1497:4] = 0`, true],
      [0, `udp[300] != ${datagram[320]}`, true],
    ] as const) {
      bench.tracer.setSnapBytes(snap);
      bench.tracer.setFilter(program(text));
      bench.run('body_in', frame);
      assert.equal(bench.run('body_in', frame).length, isTold ? 1 : 0, `${text} of ${snap} bytes`);
    }
    bench.tracer.setFilter(undefined);
    bench.tracer.setSnapBytes(0);
    assert.equal(bench.malformed, 0);
    assert.ok(isAccounted(bench.stats()), JSON.stringify(bench.stats()));
    assert.equal(CAPTURE.most, 1500);
  });
});
