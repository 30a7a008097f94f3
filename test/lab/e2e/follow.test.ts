import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, suite, test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import type { Endpoint, Hop, NoticeEvent, PacketEvent } from '../../../src/event/types.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { before } from '../../support/evidence.ts';
import { KtraceProcess, startFollow } from '../../support/ktrace-process.ts';
import { summaryOf } from '../../support/summary.ts';
import { assertNothingTwice, endpoints, hopNames, isNamed, isRequestTo } from '../support/events.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

const JDFGG = 'frontend-88237173-jdfgg';
const MASTER = 'redis-master-343230949-2qrp7';

suite('following the guestbook', { skip: SKIP }, () => {
  const name = randomLabName();
  const running: KtraceProcess[] = [];
  let lab: Lab;
  /** Follows all from the beginning to the end of the suite. */
  let everything: KtraceProcess;
  let silent: KtraceProcess;
  let nobody: KtraceProcess;

  /** Started side by side: several clients with different targets, and no waiting for one after the other. */
  const follow = (...argv: string[]): KtraceProcess => {
    const started = startFollow(lab, ...argv);
    running.push(started);
    return started;
  };
  const veth = (pod: string): string => lab.pod(pod).veth;

  before(async () => {
    lab = await labUp({ name, bound: true });
    everything = follow('-A', '-o', 'json');
    silent = follow('pod/ktrace-gate-4fd7n', '-n', 'ktrace', '-o', 'json');
    nobody = follow('-l', 'app=none', '-o', 'json');
    await everything.following();
  });
  after(async () => {
    await Promise.all(running.map((one) => one.kill()));
    await removeLab(name);
  });

  test('the beginning says what is followed and where', () => {
    const [notice] = everything.notices.filter(({ code }) => code === 'KTRACE_N_FOLLOWING');
    const onHostNetwork = lab.nodes.length;
    assert.equal(notice?.following?.podCount, lab.pods.length + onHostNetwork);
    assert.deepEqual(notice.following.nodes, ['host1', 'host2', 'host3']);
    for (const { uid } of lab.pods) assert.ok(notice.following.pods.some((pod) => pod.uid === uid));
    const text = `following ${lab.pods.length} pods on 3 nodes: host1, host2, host3; ${onHostNetwork} more pods use their nodes' network: follow node/host1, node/host2, node/host3`;
    assert.equal(notice.text, text);
    assert.ok(everything.stderr.startsWith(`ktrace: ${text}\n`));
  });

  test('a ping from pod to pod is told with both names, all hops of both nodes, and the round trip on its reply', async () => {
    const request = await everything.settledPacket(
      'the ping',
      (packet) => packet.icmp?.name === 'echo-request' && isFromTo(packet, JDFGG, MASTER) && isV4(packet),
      (packet) => {
        assert.deepEqual(hopNames(packet), [
          `host1/${veth(JDFGG)} in`,
          'host1/cni0 in',
          'host1/flannel.1 out',
          'host1/eth0 out',
          'host3/eth0 in',
          'host3/flannel.1 in',
          'host3/cni0 out',
          `host3/${veth(MASTER)} out`,
        ]);
        assert.deepEqual(packet.nodes, ['host1', 'host3']);
        assert.equal(packet.verdict, 'delivered');
        assert.deepEqual(tunnels(packet), ['192.168.60.11>192.168.60.13', '192.168.60.11>192.168.60.13']);
        // Labels and owners come from the node that knows them, on both ends.
        assert.equal(packet.src.pod?.owner, 'Deployment/frontend');
        assert.equal(packet.dst.pod?.owner, 'Deployment/redis-master');
        assert.equal(packet.dst.pod?.labels?.['role'], 'master');
        assert.equal(packet.src.pod?.uid, lab.pod(JDFGG).uid);
      },
    );
    await everything.settledPacket(
      'its reply',
      ({ icmp }) => icmp?.name === 'echo-reply' && icmp.id === request.icmp?.id && icmp?.seq === request.icmp?.seq,
      (reply) => {
        assert.ok(isFromTo(reply, MASTER, JDFGG));
        assert.equal(reply.dir, 'reply');
        assert.ok((reply.icmp?.rttUs ?? 0) > 0);
        assert.equal(reply.nodes.join(), 'host3,host1');
      },
    );
  });

  test('a Service is told with its endpoint pod and the chains that iptables has', async () => {
    const rules = await lab.exec('host1', ['iptables-save', '-t', 'nat']);
    const chains = chainsOf(rules, '10.96.0.63/32', '10.244.3.2:6379');
    await everything.settledPacket('the SYN', isSynToMaster, ({ nat, hops }) => {
      const [translation] = nat ?? [];
      assert.equal(translation?.kind, 'dnat');
      assert.equal(translation?.before.ip, '10.96.0.63');
      assert.equal(translation?.service, 'default/redis-master');
      assert.equal(translation?.after.pod?.name, MASTER);
      assert.equal(translation?.after.port, 6379);
      assert.deepEqual(translation?.chains, chains);
      assert.ok(hops.some(({ if: on }) => on === 'flannel.1'));
    });
  });

  test('a reply is told with what it is turned back into', async () => {
    await everything.settledPacket(
      'the SYN-ACK',
      (packet) => isV4(packet) && packet.src.pod?.name === MASTER && packet.tcp?.flags === 'SA' && packet.nat !== undefined,
      (answer) => {
        assert.equal(answer.dir, 'reply');
        assert.equal(answer.nat?.[0]?.before.pod?.name, MASTER);
        assert.equal(answer.nat?.[0]?.after.ip, '10.96.0.63');
        assert.equal(answer.nat?.[0]?.service, 'default/redis-master');
      },
    );
  });

  test('a ping to a ClusterIP is masqueraded, not translated, goes out by the uplink and stays without an answer', async () => {
    const fate = await everything.settledPacket(
      'the ping',
      (packet) => packet.icmp?.name === 'echo-request' && packet.dst.ip === '10.96.0.63',
      (packet) => {
        assert.equal(packet.dst.service?.name, 'redis-master');
        assert.deepEqual(
          packet.nat?.map(({ kind, after: end }) => `${kind} ${end.node}`),
          ['snat host2'],
        );
        assert.equal(hopNames(packet).at(-1), 'host2/eth0 out');
        assert.equal(packet.unanswered?.ms, 1000);
      },
    );
    const first = everything.packets.find(({ id }) => id === fate.id);
    assert.deepEqual([first?.amends, first?.verdict], [undefined, 'forwarded'], 'it is told before its fate is known');
  });

  test('a packet that a rule drops has the reason, the place, and no hop after it', async () => {
    await everything.settledPacket(
      'the drop',
      (packet) => packet.drop?.reason === 'NETFILTER_DROP',
      (dropped) => {
        assert.equal(dropped.verdict, 'dropped');
        assert.equal(dropped.dst.port, 6380);
        assert.match(dropped.drop?.at ?? '', /^[a-z_0-9]+$/);
        assert.ok(dropped.hops.every(({ node }) => node === 'host2'));
        assert.ok(isNamed(dropped.src, 'frontend-88237173-mzmjf'));
      },
    );
  });

  test('a connection to a closed port is answered by a reset', async () => {
    await everything.settledPacket(
      'the SYN',
      (packet) => packet.dst.port === 6390 && packet.tcp?.flags === 'S',
      ({ drop }) => assert.equal(drop?.reason, 'NO_SOCKET'),
    );
    await everything.settledPacket(
      'the reset',
      (packet) => packet.src.port === 6390 && packet.tcp?.flags === 'RA',
      ({ verdict }) => assert.equal(verdict, 'delivered'),
    );
  });

  test('what a pod forwards has its own source, and the hop names the pod', async () => {
    const [client, address] = ['10.8.0.5', ['10.8.0.5/32', 'dev', 'lo']];
    await lab.exec(`pod/${JDFGG}`, ['ip', 'address', 'add', ...address]);
    try {
      // Nobody knows a way back to it.
      await lab.exec(`pod/${JDFGG}`, ['sh', '-c', `ping -n -c 1 -W 1 -I ${client} ${lab.pod(MASTER).ip} || true`]);
      await everything.settledPacket(
        'the ping',
        ({ src, icmp }) => src.ip === client && icmp?.name === 'echo-request',
        ({ src, dst, hops }) => {
          assert.deepEqual(src, { ip: client, world: true });
          assert.equal(dst.pod?.name, MASTER);
          assert.deepEqual([hops[0]?.if, hops[0]?.pod], [veth(JDFGG), `default/${JDFGG}`]);
        },
      );
    } finally {
      await lab.exec(`pod/${JDFGG}`, ['ip', 'address', 'del', ...address]);
    }
  });

  test('DNS over UDP goes through its Service too', async () => {
    await everything.settledPacket(
      'a query',
      (packet) => packet.proto === 'udp' && packet.dst.service?.name === 'kube-dns',
      (query) => {
        assert.equal(query.dst.service?.namespace, 'kube-system');
        assert.match(query.nat?.[0]?.after.pod?.name ?? '', /^coredns-/);
        assert.equal(query.nat?.[0]?.chains?.length, 2);
      },
    );
  });

  test('IPv6 is followed like IPv4: pings with round trips and Services', async () => {
    await everything.settledPacket(
      'a reply',
      ({ proto, icmp, dst }) => proto === 'icmp6' && icmp?.name === 'echo-reply' && dst.pod?.name === JDFGG,
      (reply) => {
        assert.equal(reply.nodes.length, 2);
        assert.ok((reply.icmp?.rttUs ?? 0) > 0);
      },
    );
    await everything.settledPacket(
      'a SYN',
      ({ dst, tcp }) => dst.ip === 'fd00:10:96::3f' && tcp?.flags === 'S',
      ({ nat }) => {
        assert.equal(nat?.[0]?.after.ip, 'fd00:10:244:3::2');
        assert.equal(nat?.[0]?.service, 'default/redis-master');
        assert.equal(nat?.[0]?.chains?.length, 2);
      },
    );
  });

  test('flows are opened with their translation and counted', async () => {
    const flows = () => everything.events.filter((event) => event.kind === 'flow');
    await everything.until('a flow is opened', () =>
      flows().some(({ state, nat }) => state === 'open' && nat?.[0]?.service === 'default/redis-master'),
    );
    await everything.until('a flow is counted both ways', () =>
      flows().some(({ packets, bytes }) => packets.request > 0 && packets.reply > 0 && bytes.request > 0 && bytes.reply > 0),
    );
  });

  test('each target shows its own packets and no other', async () => {
    const belongs = (isMine: (end: Endpoint) => boolean) => (packet: PacketEvent) => endpoints(packet).some(isMine);
    const pod = (is: (pod: NonNullable<Endpoint['pod']>) => boolean) => belongs((end) => end.pod !== undefined && is(end.pod));
    const cases: { argv: string[]; isMine: (packet: PacketEvent) => boolean; least: number }[] = [
      { argv: [`pod/${JDFGG}`], isMine: pod((one) => one.name === JDFGG), least: 10 },
      {
        argv: ['-l', 'app=redis'],
        isMine: belongs((end) => /^redis-/.test(end.pod?.name ?? end.service?.name ?? '')),
        least: 10,
      },
      { argv: ['node/host3'], isMine: belongs((end) => end.pod?.node === 'host3' || end.node === 'host3'), least: 10 },
      {
        argv: ['deploy/frontend'],
        isMine: belongs((end) => /^frontend/.test(end.pod?.name ?? end.service?.name ?? '')),
        least: 10,
      },
      { argv: ['ns/kube-system'], isMine: belongs((end) => (end.pod ?? end.service)?.namespace === 'kube-system'), least: 5 },
      {
        argv: ['svc/redis-master'],
        isMine: belongs((end) => /^redis-master/.test(end.pod?.name ?? end.service?.name ?? '')),
        least: 5,
      },
    ];
    const shows = async ({ argv, isMine, least }: (typeof cases)[number]): Promise<void> => {
      const one = follow(...argv, '-o', 'json');
      await one.until(`${least} packets of ${argv.join(' ')}`, () => one.packets.length >= least);
      assert.equal((await one.interrupt()).code, 130, one.stderr);
      for (const packet of one.packets) assert.ok(isMine(packet), `${argv.join(' ')}: ${JSON.stringify(packet)}`);
      assertNothingTwice(one.packets);
      assert.match(one.stderr, /\b0 lost\b/);
    };
    // An agent serves one account eight streams at once, and three more go on beside these.
    await Promise.all(cases.slice(0, 3).map(shows));
    await Promise.all(cases.slice(3).map(shows));
  });

  test("following a Service shows the client's SYN from the client's own interface on, before it is translated", async () => {
    const one = follow('svc/redis-master', '-o', 'json');
    await one.following();
    await one.settledPacket(
      'a SYN of the frontend',
      (packet) => isSynToMaster(packet) && packet.src.pod?.name === JDFGG,
      (syn) => {
        assert.equal(hopNames(syn)[0], `host1/${veth(JDFGG)} in`);
        assert.equal(hopNames(syn).at(-1), `host3/${veth(MASTER)} out`);
        assert.deepEqual(syn.nodes, ['host1', 'host3']);
      },
    );
    await one.interrupt();
  });

  test('--packets shows the plain acknowledgements between, too', async () => {
    const one = follow('-A', '--packets', '-o', 'json');
    const isComplete = (): boolean => {
      const flags = new Map<number, Set<string>>();
      for (const { tcp, src, dst } of one.packets) {
        const port = src.port === 6379 ? dst.port : src.port;
        if (tcp !== undefined && port !== undefined) flags.set(port, (flags.get(port) ?? new Set()).add(tcp.flags));
      }
      return [...flags.values()].some((seen) => ['S', 'SA', 'A', 'PA', 'FA'].every((flag) => seen.has(flag)));
    };
    await one.until('all packets of a connection', isComplete);
    await one.interrupt();
    assertNothingTwice(one.packets);
  });

  test('text is a line a packet: who to whom, translation, hops and fate; wide adds addresses, chains and times', async () => {
    const text = follow(`pod/${JDFGG}`);
    const wide = follow(`pod/${JDFGG}`, '-o', 'wide');
    const hops = `${veth(JDFGG)}>cni0>flannel\\.1>eth0 \\| eth0>flannel\\.1>cni0>${veth(MASTER)}`;
    const start = '^\\d\\d:\\d\\d:\\d\\d\\.\\d{3}';
    const syn = new RegExp(
      `${start} host1>host3 default/${JDFGG}:\\d+ -> svc default/redis-master:6379 tcp S => default/${MASTER}:6379 ${hops} delivered$`,
      'm',
    );
    const reply = new RegExp(
      `${start} host3>host1 default/${JDFGG} <- default/${MASTER} icmp echo-reply id \\d+ seq \\d+ [\\d.]+(µs|ms) .* delivered$`,
      'm',
    );
    const known = await everything.settledPacket('a SYN', isSynToMaster, ({ nat }) => assert.equal(nat?.[0]?.chains?.length, 2));
    const [svc, sep] = known.nat?.[0]?.chains ?? [];
    assert.ok(svc !== undefined && sep !== undefined);
    await Promise.all([
      text.until('a SYN and an echo reply as text', () => syn.test(text.stdout) && reply.test(text.stdout)),
      wide.until('the chains', () =>
        wide.stdout.includes(
          `(10.96.0.63:6379) tcp S => default/${MASTER} (10.244.3.2:6379) [svc default/redis-master ${svc}>${sep} by conntrack]`,
        ),
      ),
    ]);
    await Promise.all([text.interrupt(), wide.interrupt()]);
    assert.ok(!text.stdout.includes('\u001b'));
    assert.match(wide.stdout, /host3\/eth0 in \+[\d.]+(µs|ms) \(vxlan 1 192\.168\.60\.11>192\.168\.60\.13\)/);
  });

  test('on a terminal of 120 columns each kind of packet has the line that docs/output.md shows, and none is wider', async () => {
    const shown = terminalFollow(lab, 120, 'ns/default', '--color');
    running.push(shown);
    const lines = (): string[] => stripVTControlCharacters(shown.stdout).split(/\r?\n/);
    await shown.until('it is following', () => lines().some((line) => line.startsWith('ktrace: following ')));
    // Nobody listens there: the stack answers with an ICMP error.
    await lab.exec(`pod/${JDFGG}`, ['bash', '-c', `echo > /dev/udp/${lab.pod(MASTER).ip}/9`]);
    const pod = 'frontend-88237173-[a-z0-9]{5}';
    const kinds: [string, string][] = [
      ['a lookup', `${pod}:\\d+ +-> svc kube-system/kube-dns:53 +udp \\d+ => coredns-5d78c9869d-7xk2p ✓$`],
      ['its answer', `${pod}:\\d+ +<- svc kube-system/kube-dns:53 +udp \\d+ <= coredns-5d78c9869d-7xk2p ✓$`],
      ['a connection', `host1>host3 ${pod}:\\d+ +-> svc redis-master:6379 +tcp S => ${MASTER} ✓$`],
      ['its answer', `host3>host1 ${pod}:\\d+ +<- svc redis-master:6379 +tcp SA <= ${MASTER} ✓$`],
      ['a ping', `host1>host3 ${pod} +-> ${MASTER} +icmp echo-request seq \\d+ ✓$`],
      ['its answer', `host3>host1 ${pod} +<- ${MASTER} +icmp echo-reply seq \\d+ [\\d.]+(µs|ms) ✓$`],
      ['no answer', `host2 +${pod} +-> svc redis-master +icmp echo-request seq \\d+ as node host2$`],
      ['a drop by a rule', `host2 +${pod}:\\d+ +-> redis-slave-132015689-890b2:6380 +tcp S$`],
      ['where it was dropped', '^ {13}veth[0-9a-f]{8}>cni0 DROPPED NETFILTER_DROP at [a-z_]+$'],
      ['a port without a listener', `host1>host3 ${pod}:\\d+ +-> ${MASTER}:6390 +tcp S$`],
      ['where it was refused', '^ {13}veth.*eth0 \\| eth0>.*veth[0-9a-f]{8} DROPPED NO_SOCKET at tcp_v[46]_\\w+$'],
      ['a reset', `host3>host1 ${pod}:\\d+ +<- ${MASTER}:6390 +tcp RA ✓$`],
      ['an ICMP error', `host3>host1 ${JDFGG} +<- ${MASTER} +icmp port-unreachable ✓`],
      ['what it is about', `^ {13}about udp ${JDFGG}:\\d+ -> ${MASTER}:9 by host3/veth[0-9a-f]{8}$`],
      ['a conversation', `${pod}:\\d+ +<> svc redis-master:6379 +tcp`],
      ['its counts', 'flow closed: \\d+/\\d+ packets, [\\d.]+k?B/[\\d.]+k?B in (<20ms|[\\d.]+(ms|s))$'],
    ];
    const documented = readFileSync(new URL('../../../docs/output.md', import.meta.url), 'utf8')
      .replaceAll(/^ {4}/gm, '')
      .split('\n');
    for (const [kind, line] of kinds)
      assert.ok(
        documented.some((one) => new RegExp(line).test(one)),
        `${kind} in docs/output.md`,
      );
    const missing = (): string[] =>
      kinds.filter(([, line]) => !lines().some((one) => new RegExp(line).test(one))).map(([kind]) => kind);
    await shown
      .until('a line of each kind', () => missing().length === 0)
      .catch((error: Error) => {
        throw new Error(`${error.message}\nmissing: ${missing().join(', ')}`);
      });
    const records = lines().filter((line) => /^(\d\d:\d\d:\d\d\.\d{3}| {13})/.test(line));
    assert.deepEqual(
      records.filter((line) => [...line].length > 120),
      [],
    );
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are escape sequences.
    assert.match(shown.stdout, /\u001b\[1m\u001b\[31mDROPPED NETFILTER_DROP/);
  });

  test('an echo without an answer is said in text, with the hop where it was last seen', async () => {
    const one = follow('pod/frontend-88237173-mzmjf');
    const line = / icmp echo-request id \d+ seq \d+ as node host2 .* no answer in 1\.0s, last seen host2 eth0 out$/m;
    await one.until('the echo without an answer', () => line.test(one.stdout));
    await one.interrupt();
  });

  test('-c leaves after so many packets, with 0', async () => {
    const one = follow('-A', '-o', 'json', '-c', '5');
    assert.equal((await one.ended).code, 0, one.stderr);
    assert.equal(one.packets.filter(({ amends }) => amends === undefined).length, 5);
  });

  test('a follow that sees nothing says so every ten seconds, and why', async () => {
    await Promise.all([
      silent.until('two words about silence', () => /no packet matched in 2\d s;/.test(silent.stderr)),
      nobody.until('no pod is meant', () => /no running pod is meant by these targets/.test(nobody.stderr)),
    ]);
    // What is late tells a second more.
    assert.match(
      silent.stderr,
      /no packet matched in 1\d s; 3 agents, 1 pod resolved, 2 addresses, .*: they send and receive nothing new$/m,
    );
    assert.deepEqual(silent.packets, []);
    assert.deepEqual(nobody.packets, []);
    await Promise.all([silent.interrupt(), nobody.interrupt()]);
  });

  test('a reader that has enough ends the follow without a complaint', async () => {
    const one = follow('-A', '-o', 'json');
    await one.packet('a packet', () => true);
    one.child.stdout?.destroy();
    assert.deepEqual(await one.ended, { code: 0, signal: null });
    assert.doesNotMatch(one.stderr, /EPIPE|INTERNAL/);
  });

  test('at the end, nothing was lost and nothing came twice; stdout is one JSON object of version 1 a line', async () => {
    assert.deepEqual(await everything.interrupt(), { code: 130, signal: null });
    assert.ok(everything.stdout.endsWith('\n'));
    assert.equal(everything.events.length, everything.stdout.split('\n').length - 1);
    for (const event of everything.events) assert.equal(event.v, 1);
    assert.match(
      everything.stderr,
      /^(ktrace: following .*\n)+ktrace: .* lost; 3 nodes, \d+\.\d s\nktrace: [\d,]+ records: .*\n$/,
    );
    const ids = (kind: string) =>
      new Set(everything.events.flatMap((event) => (event.kind === kind && 'id' in event ? [event.id] : [])));
    const { packets, flows, lost } = summaryOf(everything.stderr);
    assert.deepEqual([packets, flows, lost], [ids('packet').size, ids('flow').size, 0]);
    const isExpected = ({ code }: NoticeEvent) => code === 'KTRACE_N_NO_PROBES' || code === 'KTRACE_N_FOLLOWING';
    assert.deepEqual(
      everything.events.filter((event) => event.kind === 'lost' || (event.kind === 'notice' && !isExpected(event))),
      [],
    );
    assertNothingTwice(everything.packets);
    for (const { hops } of everything.packets) {
      for (const [index, hop] of hops.entries()) assert.ok(hop.atNs >= (hops[index - 1]?.atNs ?? 0), JSON.stringify(hops));
    }
    // No pointer and no address of the kernel is told.
    assert.doesNotMatch(everything.stdout, /ffff[89a-f][0-9a-f]{11}/);
    const keys = new Set(everything.packets.flatMap((packet) => Object.keys(packet)));
    for (const key of ['skb', 'pointer', 'identity']) assert.ok(!keys.has(key));
  });
});

/** A follow whose output is a terminal, so wide. */
function terminalFollow(lab: Lab, columns: number, ...argv: string[]): KtraceProcess {
  const before = ['sh', '-c', `exec script -qefc "stty cols ${columns} rows 50; exec $*" /dev/null`, 'sh'];
  return new KtraceProcess(['follow', '--kubeconfig', lab.kubeconfig, ...argv], { before });
}

function isSynToMaster(packet: PacketEvent): boolean {
  return isV4(packet) && isRequestTo(packet, 'redis-master') && packet.tcp?.flags === 'S';
}

function isV4({ src }: PacketEvent): boolean {
  return !src.ip.includes(':');
}

function isFromTo({ src, dst }: PacketEvent, from: string, to: string): boolean {
  return src.pod?.name === from && dst.pod?.name === to;
}

function tunnels({ hops }: PacketEvent): string[] {
  return hops.flatMap(({ tunnel }: Hop) => (tunnel === undefined ? [] : [`${tunnel.src}>${tunnel.dst}`]));
}

/** The Service's chain and the endpoint's chain that iptables jumps to, from the rules themselves. */
function chainsOf(rules: string, clusterIp: string, endpoint: string): string[] {
  const lines = rules.split('\n');
  const service = lines.find((line) => line.startsWith('-A KUBE-SERVICES') && line.includes(`-d ${clusterIp} `));
  const target = lines.find(
    (line) =>
      line.startsWith('-A KUBE-SEP-') && line.includes(`--to-destination ${endpoint}`) && isJumpedTo(lines, line, service),
  );
  return [
    /-j (KUBE-SVC-\w+)/.exec(service ?? '')?.[1] ?? 'no service chain',
    /^-A (\S+)/.exec(target ?? '')?.[1] ?? 'no endpoint chain',
  ];
}

function isJumpedTo(lines: string[], endpointRule: string, serviceRule: string | undefined): boolean {
  const service = /-j (KUBE-SVC-\w+)/.exec(serviceRule ?? '')?.[1];
  const endpoint = /^-A (\S+)/.exec(endpointRule)?.[1];
  return lines.some((line) => line.startsWith(`-A ${service} `) && line.endsWith(`-j ${endpoint}`));
}
