import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { PacketEvent, Translation } from '../../../../src/event/types.ts';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { IPV4, ipv4, udp, vxlan } from '../../support/packets.ts';
import { TracedNode, way } from '../../support/traced-node.ts';

const SERVICE = '10.96.0.10';
const CLIENT = '10.9.1.2';
const LOCAL = '10.9.1.3';
const REMOTE = '10.9.2.2';
const UPLINK = '192.168.77.1';
/** Nobody's pod. */
const OUTSIDE = '192.168.77.2';

const text = (end: { ip: string; port?: number }) => (end.port === undefined ? end.ip : `${end.ip}:${end.port}`);
/** E.g. `dnat 10.96.0.10:80 → 10.9.2.2:8080`, the client's changing port as `*`. */
function nat(packet: PacketEvent, clientPort: number): string[] {
  const end = (of: Translation['before']) => text(of).replace(`:${clientPort}`, ':*');
  return (packet.nat ?? []).map(({ kind, before, after }) => `${kind} ${end(before)} → ${end(after)}`);
}

const talk = (ip: string, port: number) =>
  `exec 3<>/dev/tcp/${ip}/${port}; echo hello >&3; read -t 2 line <&3; test "$line" = hello`;
const ask = (ip: string, port: number) =>
  `exec 3<>/dev/udp/${ip}/${port}; echo hello >&3; test "$(timeout 2 dd bs=64 count=1 status=none <&3)" = hello`;

/** A question from this port, and its answer, in Perl. */
const askFrom = (port: number, to: string) => `socket(my $s, AF_INET, SOCK_DGRAM, 17) or die $!;
  bind($s, sockaddr_in(${port}, INADDR_ANY)) or die $!; send($s, 'x', 0, sockaddr_in(53, inet_aton('${to}'))) or die $!;
  alarm 5; recv($s, my $answer, 9, 0) or die $!;`;

interface Chunk {
  type: number;
  sport: number;
  dport: number;
  to: string;
  verification: number;
}

suite('translations', { skip: SKIP }, () => {
  let net: Net;
  before(async () => {
    net = twoNodes();
    const rule = (...args: string[]) => net.exec('node1', 'iptables', '-t', 'nat', '-A', ...args);
    const dnat = (ip: string, proto: string, port: number, to: string) =>
      rule('PREROUTING', '-d', ip, '-p', proto, '--dport', String(port), '-j', 'DNAT', '--to', to);
    dnat(SERVICE, 'tcp', 80, `${REMOTE}:8080`);
    dnat(SERVICE, 'udp', 53, `${REMOTE}:5353`);
    dnat(SERVICE, 'sctp', 38_412, `${REMOTE}:38412`);
    // The chunks below are made by hand and have no checksum.
    net.exec('node1', 'sysctl', '-qw', 'net.netfilter.nf_conntrack_checksum=0');
    dnat('10.96.0.12', 'tcp', 80, `${LOCAL}:8080`);
    dnat(UPLINK, 'tcp', 30_080, `${LOCAL}:8080`);
    rule('PREROUTING', '-d', SERVICE, '-p', 'icmp', '-j', 'DNAT', '--to', REMOTE);
    rule('POSTROUTING', '-s', '10.9.1.0/24', '-d', OUTSIDE, '-j', 'MASQUERADE', '--random-fully');
    rule('POSTROUTING', '-s', '10.9.1.0/24', '-o', 'eth0', '-j', 'MASQUERADE');
    await Promise.all([net.serve('b'), net.serve('c')]);
  });
  after(() => net.close());

  /** Sends an SCTP packet of one INIT or INIT ACK chunk whose tag is 7, from a raw socket: no SCTP is needed for it. */
  const chunk = (pod: string, { type, sport, dport, to, verification }: Chunk) => {
    const script = `socket(my $s, AF_INET, SOCK_RAW, 132) or die $!;
      my $packet = pack('nnNN CCnNNnnN', ${sport}, ${dport}, ${verification}, 0, ${type}, 0, 20, 7, 65536, 1, 1, 1);
      send($s, $packet, 0, sockaddr_in(0, inet_aton('${to}'))) or die $!;`;
    net.exec(pod, 'perl', '-MSocket', '-e', script);
  };

  test('of TCP are told for request and reply with before and after, destination and source', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT] });
    assert.ok(net.try('a', talk(SERVICE, 80)));
    const syn = await node.packet(
      'the SYN',
      ({ tcp, dst }) => tcp?.flags === 'S' && dst.ip === SERVICE,
      (packet) => {
        assert.equal(way(packet), 'veth-a in, eth0 out');
        assert.deepEqual([packet.dir, text(packet.dst)], ['request', `${SERVICE}:80`]);
        const port = packet.src.port ?? 0;
        assert.deepEqual(nat(packet, port), [`dnat ${SERVICE}:80 → ${REMOTE}:8080`, `snat ${CLIENT}:* → ${UPLINK}:*`]);
      },
    );
    await node.packet(
      'the SYN-ACK',
      ({ tcp }) => tcp?.flags === 'SA',
      (answer) => {
        assert.equal(way(answer), 'eth0 in, veth-a out', 'it is matched at the uplink, where it carries the node’s address only');
        assert.deepEqual([answer.dir, text(answer.src), answer.dst.ip], ['reply', `${REMOTE}:8080`, UPLINK]);
        assert.deepEqual(nat(answer, syn.src.port ?? 0), [
          `snat ${UPLINK}:* → ${CLIENT}:*`,
          `dnat ${REMOTE}:8080 → ${SERVICE}:80`,
        ]);
      },
    );
    await node.close();
  });

  test('of UDP and of pings are told as well', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT] });
    assert.ok(net.try('a', ask(SERVICE, 53)));
    const query = await node.packet(
      'the query',
      ({ proto, dst }) => proto === 'udp' && dst.ip === SERVICE,
      (packet) => {
        const port = packet.src.port ?? 0;
        assert.deepEqual(nat(packet, port), [`dnat ${SERVICE}:53 → ${REMOTE}:5353`, `snat ${CLIENT}:* → ${UPLINK}:*`]);
      },
    );
    await node.packet(
      'the answer',
      ({ proto, dir }) => proto === 'udp' && dir === 'reply',
      (answer) => {
        const port = query.src.port ?? 0;
        assert.deepEqual(nat(answer, port), [`snat ${UPLINK}:* → ${CLIENT}:*`, `dnat ${REMOTE}:5353 → ${SERVICE}:53`]);
        assert.equal(way(answer), 'eth0 in, veth-a out');
      },
    );

    assert.ok(net.try('a', `ping -n -c1 -W5 ${SERVICE}`));
    await node.packet(
      'the ping',
      ({ icmp }) => icmp?.name === 'echo-request',
      (request) => {
        assert.deepEqual(nat(request, 0), [`dnat ${SERVICE} → ${REMOTE}`, `snat ${CLIENT} → ${UPLINK}`]);
      },
    );
    await node.packet(
      'its reply',
      ({ icmp }) => icmp?.name === 'echo-reply',
      (reply) => {
        assert.deepEqual(nat(reply, 0), [`snat ${UPLINK} → ${CLIENT}`, `dnat ${REMOTE} → ${SERVICE}`]);
        assert.ok((reply.icmp?.rttUs ?? 0) > 0, 'the pair is found through both translations');
        assert.equal(way(reply), 'eth0 in, veth-a out');
      },
    );
    await node.close();
  });

  test('of pings that get an id at random: each reply is told with its requester’s id and its time', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT, LOCAL] });
    for (const pod of ['a', 'b']) assert.ok(net.try(pod, `ping -n -c1 -e 77 -W5 ${OUTSIDE}`));
    for (const [pod, address] of [
      ['a', CLIENT],
      ['b', LOCAL],
    ]) {
      await node.packet(
        `the reply to ${pod}`,
        ({ icmp, nat: translations }) => icmp?.name === 'echo-reply' && translations?.[0]?.after.ip === address,
        (reply) => {
          assert.deepEqual([reply.icmp?.id, reply.icmp?.seq], [77, 1]);
          assert.ok((reply.icmp?.rttUs ?? 0) > 0, 'it is the answer to a request');
          assert.equal(way(reply), `eth0 in, veth-${pod} out`);
        },
      );
    }
    await node.close();
    assert.equal(node.packets().filter(({ unanswered }) => unanswered !== undefined).length, 0);
  });

  test('make no tunnel of the node’s of what a pod sends to the VXLAN port', async () => {
    net.ip('node1', `link add vx0 type vxlan id 1 dstport 8472 local ${UPLINK}`);
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT, LOCAL] });
    const inner = vxlan(1, IPV4, ipv4({ src: LOCAL, dst: '10.9.9.9', proto: 17 }, udp({ sport: 1, dport: 2 })));
    const script = `socket(my $s, AF_INET, SOCK_DGRAM, 17) or die $!;
      send($s, pack('H*', '${inner.toString('hex')}'), 0, sockaddr_in(8472, inet_aton('${REMOTE}'))) or die $!;`;
    net.exec('a', 'perl', '-MSocket', '-e', script);
    await node.packet(
      'the datagram',
      ({ dst }) => dst.port === 8472,
      (packet) => {
        assert.equal(way(packet), 'veth-a in, eth0 out');
        assert.deepEqual(nat(packet, packet.src.port ?? 0), [`snat ${CLIENT}:* → ${UPLINK}:*`]);
      },
    );
    await node.close();
    assert.ok(!JSON.stringify(node.events).includes('10.9.9.9'), 'what it claims to have inside is nobody’s packet');
  });

  test('that change under the same ports are told again, though the new entry lies where the old one did', async () => {
    const at = '10.96.0.13';
    const endpoints = Array.from({ length: 24 }, (_, n) => (n % 2 === 0 ? REMOTE : LOCAL));
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT] });
    for (const to of endpoints) {
      const rule = ['PREROUTING', '-d', at, '-p', 'udp', '-j', 'DNAT', '--to', `${to}:5353`];
      net.exec('node1', 'iptables', '-t', 'nat', '-I', ...rule);
      net.exec('a', 'perl', '-MSocket', '-e', askFrom(4053, at));
      // The endpoint has gone: kube-proxy takes its entries with it.
      net.exec('node1', 'iptables', '-t', 'nat', '-D', ...rule);
      net.exec('node1', 'conntrack', '-D', '-p', 'udp', '--orig-dst', at);
    }
    const answers = () => node.packets().filter(({ hops, dir }) => dir === 'reply' && hops.at(-1)?.if === 'veth-a');
    await until('each answer of another endpoint is told', () => answers().length >= endpoints.length).catch((error: Error) => {
      throw new Error(`${error.message}: ${answers().length} were told`);
    });
    await node.close();
  });

  test('of SCTP are told as well', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: [CLIENT] });
    const INIT = 1;
    const INIT_ACK = 2;
    chunk('a', { type: INIT, sport: 4000, dport: 38_412, to: SERVICE, verification: 0 });
    await node.packet(
      'the INIT',
      ({ proto, dst }) => proto === 'sctp' && dst.ip === SERVICE,
      (init) => {
        assert.deepEqual(nat(init, 4000), [`dnat ${SERVICE}:38412 → ${REMOTE}:38412`, `snat ${CLIENT}:* → ${UPLINK}:*`]);
        assert.equal(way(init), 'veth-a in, eth0 out');
      },
    );
    chunk('c', { type: INIT_ACK, sport: 38_412, dport: 4000, to: UPLINK, verification: 7 });
    await node.packet(
      'its answer',
      ({ proto, src }) => proto === 'sctp' && src.ip === REMOTE,
      (answer) => {
        assert.deepEqual(nat(answer, 4000), [`snat ${UPLINK}:* → ${CLIENT}:*`, `dnat ${REMOTE}:38412 → ${SERVICE}:38412`]);
        assert.deepEqual([answer.dir, way(answer)], ['reply', 'eth0 in, veth-a out']);
      },
    );
    await node.close();
  });

  test('lead to a followed endpoint: the SYN is told from its client’s interface on, and only its own', async () => {
    const serviceAddresses = [SERVICE, '10.96.0.12'].map((ip) => ({ ip, port: 80, proto: 'tcp' as const }));
    const node = await TracedNode.following(net, { node: 'node1', addresses: [REMOTE], serviceAddresses });
    assert.ok(net.try('a', talk('10.96.0.12', 80)));
    assert.ok(net.try('a', talk(SERVICE, 80)));
    await node.packet(
      'the SYN',
      ({ tcp, dst }) => tcp?.flags === 'S' && dst.ip === SERVICE,
      (syn) => {
        assert.equal(way(syn), 'veth-a in, eth0 out');
        const port = syn.src.port ?? 0;
        assert.deepEqual(nat(syn, port), [`dnat ${SERVICE}:80 → ${REMOTE}:8080`, `snat ${CLIENT}:* → ${UPLINK}:*`]);
      },
    );
    await until('the other endpoint’s SYN is discarded', async () => (await node.ask('state')).counts.discarded > 0);
    assert.deepEqual(
      node.packets().filter(({ src, dst }) => [src.ip, dst.ip].some((ip) => ip === '10.96.0.12' || ip === LOCAL)),
      [],
    );
    await node.close();
  });

  test('of a NodePort are told from the uplink on', async () => {
    const serviceAddresses = [{ ip: UPLINK, port: 30_080, proto: 'tcp' as const }];
    const node = await TracedNode.following(net, { node: 'node1', addresses: [LOCAL], serviceAddresses });
    assert.ok(net.try('node2', talk(UPLINK, 30_080)));
    await node.packet(
      'the SYN',
      ({ tcp, dst }) => tcp?.flags === 'S' && dst.ip === UPLINK,
      (syn) => {
        assert.equal(way(syn), 'eth0 in, veth-b out');
        assert.deepEqual([syn.verdict, nat(syn, syn.src.port ?? 0)], ['delivered', [`dnat ${UPLINK}:30080 → ${LOCAL}:8080`]]);
      },
    );
    await node.packet(
      'the SYN-ACK',
      ({ tcp }) => tcp?.flags === 'SA',
      (answer) => {
        assert.deepEqual([way(answer), nat(answer, 0)], ['veth-b in, eth0 out', [`dnat ${LOCAL}:8080 → ${UPLINK}:30080`]]);
      },
    );
    await node.close();
  });
});

suite('a translation that leaves no mark in its conntrack entry, as of IPVS', { skip: SKIP }, () => {
  let net: Net;
  before(async () => {
    net = twoNodes();
    const nft = (line: string) => net.exec('node1', 'nft', line);
    nft('add table ip ktt');
    // Behind conntrack, and without it.
    nft('add chain ip ktt there { type filter hook prerouting priority -150; }');
    nft('add chain ip ktt back { type filter hook postrouting priority 50; }');
    nft(
      `add rule ip ktt there ct state new,established ip daddr ${SERVICE} udp dport 53 ip daddr set ${REMOTE} udp dport set 5353`,
    );
    nft(`add rule ip ktt back ip saddr ${REMOTE} udp sport 5353 ip saddr set ${SERVICE} udp sport set 53`);
    const asked = ['-p', 'udp', '-s', CLIENT, '-d', SERVICE, '--sport', '40058', '--dport', '53'];
    const answered = ['-r', REMOTE, '-q', CLIENT, '--reply-port-src', '5353', '--reply-port-dst', '40058'];
    net.exec('node1', 'conntrack', '-I', ...asked, ...answered, '-t', '100');
    await net.serve('c');
  });
  after(() => net.close());

  test('is known where its packets come in, once it was seen: a client of a followed pod’s Service has its packets counted, not told each', async (t) => {
    const serviceAddresses = [{ ip: SERVICE, port: 53, proto: 'udp' as const }];
    const node = await TracedNode.following(net, { node: 'node1', addresses: [REMOTE], serviceAddresses });
    const script = `socket(my $s, AF_INET, SOCK_DGRAM, 17) or die $!; bind($s, sockaddr_in(40058, INADDR_ANY)) or die $!; alarm 5;
      for (1 .. 10) { send($s, 'x', 0, sockaddr_in(53, inet_aton('${SERVICE}'))) or die $!; recv($s, my $answer, 9, 0) or die $!; }`;
    net.exec('a', 'perl', '-MSocket', '-e', script);
    const asked = await node.packet('the first', ({ dst }) => dst.ip === SERVICE);
    assert.deepEqual(nat(asked, 40_058), [`dnat ${SERVICE}:53 → ${REMOTE}:5353`]);
    const { stats } = await node.close();
    t.diagnostic(JSON.stringify(stats));
    // The first question and the first answer, where they come in and where they go out.
    assert.deepEqual([stats.emitted, stats.counted], [4, 36]);
  });
});
