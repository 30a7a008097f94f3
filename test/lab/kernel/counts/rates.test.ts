import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { after, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { INTERFACE } from '../../../../src/event/layout.ts';
import type { PacketEvent } from '../../../../src/event/types.ts';
import { u32 } from '../../../../src/native/bytes.ts';
import { before } from '../../../support/evidence.ts';
import { until, untilHolds } from '../../../support/until.ts';
import { isSpoofed, SPOOFED, synFlood } from '../../support/flood.ts';
import { Bench, followed, isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { ethernet, IPV4, ipv4, tcp, udp } from '../../support/packets.ts';
import { TracedNode } from '../../support/traced-node.ts';

/** Pod a is noisy; b talks with c, which a floods. */
const [A, B, C] = ['10.9.1.2', '10.9.1.3', '10.9.2.2'];
const FLOOD = 20_000;
/** So many take minutes. */
const NO_END = 100_000_000;
const TALKS = 80;
const POD_RATE = 2000;
/** In the VM, whose processor is emulated, the tests are plain JavaScript. */
const IS_EMULATED = !import.meta.url.endsWith('.ts');
/** Of real traffic, which both ends' processes read. */
const IN_TRAFFIC = IS_EMULATED ? { pings: 1000, podRate: 400 } : { pings: FLOOD, podRate: POD_RATE };
/** `cfg_flows_of_pod` in bpf/base/maps.h. */
const SHARE = 4096;
/** So few that a flood fills what one pod's interface may have of it. */
const FLOW_ENTRIES = 16_384;
const LOOPBACK = 1;

suite('a pod that floods another', { skip: SKIP }, () => {
  let net: Net;
  let nodes: { node1: TracedNode; node2: TracedNode };

  before(async () => {
    net = twoNodes();
    // Answers to addresses that nobody has end here.
    for (const node of ['node1', 'node2']) net.ip(node, `route add blackhole ${SPOOFED}`);
    await net.serve('c');
  });
  after(() => net?.close());

  async function follow(addresses: string[], podRate: number): Promise<void> {
    const start = (node: string) =>
      TracedNode.following(net, { node, addresses, podRate, ringBytes: 8 << 20, flowEntries: FLOW_ENTRIES });
    nodes = { node1: await start('node1'), node2: await start('node2') };
    assert.ok(net.try('b', `ping -n -c1 -W2 ${C}`));
  }

  const inPod = (pod: string, ...argv: string[]) =>
    promisify(execFile)('nsenter', [`--net=/run/netns/${net.of(pod)}`, ...argv], { timeout: 60_000 });

  /** b opens connections to c, one after the other, for as long as the other pod makes noise and until it has had all its talks. */
  async function talk(): Promise<void> {
    const connect = `for n in $(seq ${TALKS}); do exec 3<>/dev/tcp/${C}/8080; echo $n >&3; read -r line <&3; exec 3>&-; sleep 0.01; done`;
    await inPod('b', 'bash', '-c', connect);
  }

  /** When all that the kernel sent was read and all that it did not send was told. */
  async function settled(node: TracedNode) {
    return until('everything is read and told', async () => {
      const { stats, counts } = await node.ask('state');
      return counts.sightings === stats.emitted && lostTo(node, 'pod-rate') === stats.cut ? stats : undefined;
    });
  }

  const lostTo = (node: TracedNode, stage: string) =>
    node.events.reduce((sum, event) => sum + (event.kind === 'lost' && event.stage === stage ? event.count : 0), 0);

  const between = (node: TracedNode, src: string, dst: string, flags: string): PacketEvent[] =>
    node.packets().filter((packet) => packet.src.ip === src && packet.dst.ip === dst && packet.tcp?.flags === flags);

  async function assertTalksAreTold(): Promise<void> {
    for (const node of [nodes.node1, nodes.node2]) {
      for (const [src, dst, flags] of [
        [B, C, 'S'],
        [C, B, 'SA'],
      ] as const) {
        await untilHolds(`${TALKS} ${flags} are told`, () => {
          const packets = between(node, src, dst, flags);
          assert.equal(packets.length, TALKS);
          for (const { hops } of packets) assert.equal(hops.length, 2, JSON.stringify(hops));
        });
      }
    }
  }

  test('with SYNs of made-up addresses is cut, all of it is counted, and the neighbours are told to the last packet', async (t) => {
    await follow([B, C], IN_TRAFFIC.podRate);
    const flooding = inPod('a', ...synFlood(NO_END, C, 9));
    // The flooded pod's part of the flow table is full of it then, and there is none for the neighbours' flows.
    await until('there is no room in the flow table', async () => (await nodes.node2.ask('state')).stats.flowTableFull > 0);
    await talk();
    flooding.child.kill();
    const sent = Number((await flooding).stdout);
    await assertTalksAreTold();
    const stats = await settled(nodes.node1);
    const remote = await settled(nodes.node2);
    t.diagnostic(JSON.stringify({ stats, remote }));
    for (const each of [stats, remote]) {
      assert.ok(isAccounted(each), JSON.stringify(each));
      assert.equal(each.lostRing, 0);
    }
    // In at a's interface, out at the uplink: each hop of each SYN was told or cut, whole packets alone.
    await untilHolds('what was not cut is told', () => {
      const told = nodes.node1.packets().filter(({ src }) => isSpoofed(src.ip));
      assert.ok(told.length >= IN_TRAFFIC.podRate / 4 && told.length < sent / 2, `${told.length} of the flood were told`);
      for (const { hops } of told) assert.equal(hops.length, 2);
      assert.equal(told.length * 2 + stats.cut, sent * 2);
    });
    assert.ok(remote.cut > sent, 'the other node has cut its part');
    for (const node of Object.values(nodes)) await node.close();
  });

  test('with pings as fast as they go is cut, and the neighbours are told to the last packet', async (t) => {
    await follow([B, C], IN_TRAFFIC.podRate);
    const [{ stdout }] = await Promise.all([inPod('a', 'ping', '-f', '-q', '-n', '-c', String(IN_TRAFFIC.pings), C), talk()]);
    const replies = Number(/(\d+) received/.exec(stdout)?.[1]);
    await assertTalksAreTold();
    const stats = await settled(nodes.node1);
    t.diagnostic(JSON.stringify({ replies, stats }));
    assert.ok(isAccounted(stats), JSON.stringify(stats));
    const hops = nodes.node1
      .packets()
      .filter(({ icmp, src, dst }) => icmp !== undefined && (src.ip === A || dst.ip === A))
      .reduce((sum, packet) => sum + packet.hops.length, 0);
    // Every echo request and every reply crosses the pod's interface and the uplink; and what the kernel frees of them is held to a rate, too.
    const { counts } = await nodes.node1.ask('state');
    const freed = hops + counts.noise + stats.cut - 2 * (IN_TRAFFIC.pings + replies);
    assert.ok(freed >= 0 && freed <= IN_TRAFFIC.pings + replies, `${freed} more than crossed the hooks`);
    for (const node of Object.values(nodes)) await node.close();
  });
});

suite('drops without end', { skip: SKIP }, () => {
  const DROPS = 20_000;
  let net: Net;
  before(() => {
    net = twoNodes();
    net.exec('node1', 'iptables', '-A', 'OUTPUT', '-d', C, '-p', 'udp', '--dport', '9', '-j', 'DROP');
  });
  after(() => net?.close());

  test('of what the node itself sends, which came in at no interface, are cut, and all of them are counted', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: [C], podRate: 1, ringBytes: 8 << 20 });
    const script = `socket(my $s, AF_INET, SOCK_DGRAM, 17) or die $!;
      send($s, 'x', 0, sockaddr_in(9, inet_aton('${C}'))) for 1 .. ${DROPS};`;
    net.exec('node1', 'perl', '-MSocket', '-e', script);
    const stats = await until('everything is read', async () => {
      const { stats, counts } = await node.ask('state');
      return stats.matched >= DROPS && counts.sightings === stats.emitted ? stats : undefined;
    });
    assert.ok(isAccounted(stats), JSON.stringify(stats));
    assert.ok(stats.emitted > 0 && stats.cut > DROPS / 2, JSON.stringify(stats));
    await node.close();
  });

  test('of one flow leave room for the other drops of its pod', async () => {
    const OTHERS = 100;
    net.exec('node1', 'iptables', '-A', 'FORWARD', '-s', A, '-p', 'udp', '--dport', '9', '-j', 'DROP');
    const node = await TracedNode.following(net, { node: 'node1', addresses: [A], podRate: POD_RATE, ringBytes: 8 << 20 });
    const script = `my $to = sockaddr_in(9, inet_aton('${C}'));
      sub from { socket(my $s, AF_INET, SOCK_DGRAM, 17) or die $!; bind($s, sockaddr_in($_[0], INADDR_ANY)) or die $!; $s }
      my $s = from(5000); send($s, 'x', 0, $to) for 1 .. ${DROPS};
      send(from(6000 + $_), 'x', 0, $to) for 1 .. ${OTHERS};`;
    const beganMs = performance.now();
    net.exec('a', 'perl', '-MSocket', '-e', script);
    const seconds = (performance.now() - beganMs) / 1000;
    const stats = await until('everything is read', async () => {
      const { stats, counts } = await node.ask('state');
      return stats.matched >= 2 * (DROPS + OTHERS) && counts.sightings === stats.emitted ? stats : undefined;
    });
    assert.ok(isAccounted(stats), JSON.stringify(stats));
    const dropped = (isOf: (port: number) => boolean) =>
      node.packets().filter(({ verdict, src }) => verdict === 'dropped' && isOf(src.port ?? 0)).length;
    await untilHolds('each of the other flows’ drops is told', () =>
      assert.equal(
        dropped((port) => port > 6000),
        OTHERS,
      ),
    );
    const told = dropped((port) => port === 5000);
    // A second's part at once, and then as time goes by; each CPU that the sender was on has its own.
    const most = (POD_RATE / 16) * (1 + seconds) * availableParallelism();
    assert.ok(told >= POD_RATE / 16 && told <= most, `${told} of the flow's drops were told in ${seconds} s`);
    await node.close();
  });
});

suite('the flow table', { skip: SKIP }, () => {
  const opened = (podRate = 0) => {
    const bench = new Bench(followed([C], { wantsEveryPacket: false }), [], { podRate });
    bench.tracer.object.mapUpdate('interfaces', u32(LOOPBACK), Buffer.concat([u32(INTERFACE.pod), u32(0)]));
    /** How many of these flows' first packets are told. */
    const send = (from: number, count: number, flags?: number) => {
      let told = 0;
      for (let n = from; n < from + count; n++) {
        const ends = { src: `198.18.${n >> 8}.${n & 255}`, dst: C };
        const packet =
          flags === undefined ? ipv4({ ...ends, proto: 17 }, udp(PORTS)) : ipv4({ ...ends, proto: 6 }, tcp({ ...PORTS, flags }));
        told += bench.run('ktrace_in', ethernet(IPV4, packet), LOOPBACK).length;
      }
      return told;
    };
    return { bench, tracer: bench.tracer, send };
  };
  const PORTS = { sport: 4000, dport: 9 };
  const [SYN, ACK] = [0x02, 0x10];

  test('gives one pod’s interface its share, and room again when the flows have gone', () => {
    const { bench, tracer, send } = opened();
    try {
      assert.equal(send(0, SHARE + 100), SHARE, 'what finds no room is not told');
      const full = tracer.flowTable.changed();
      assert.equal(full.length, SHARE);
      assert.equal(send(SHARE, 50, SYN), 50, 'a SYN is told all the same');
      const { flowTableFull, uncounted } = bench.stats();
      assert.deepEqual([flowTableFull, uncounted], [150, 100]);
      tracer.flowTable.take(full.slice(0, 50));
      tracer.object.mapUpdate('interfaces', u32(LOOPBACK), Buffer.concat([u32(INTERFACE.pod), u32(SHARE - 50)]));
      assert.equal(send(SHARE + 100, 60), 50);
      assert.deepEqual([bench.flowEntries(), bench.stats().uncounted], [SHARE, 110]);
      assert.ok(isAccounted(bench.stats()), JSON.stringify(bench.stats()));
    } finally {
      bench.close();
    }
  });

  test('costs what finds no room in it nothing of what its pod may tell', () => {
    const { bench, tracer, send } = opened(POD_RATE);
    try {
      tracer.object.mapUpdate('interfaces', u32(LOOPBACK), Buffer.concat([u32(INTERFACE.pod), u32(SHARE)]));
      assert.equal(send(0, POD_RATE * 2, ACK), 0);
      assert.deepEqual([bench.stats().uncounted, bench.stats().cut], [POD_RATE * 2, 0]);
      assert.equal(send(0, 10, SYN), 10);
    } finally {
      bench.close();
    }
  });
});
