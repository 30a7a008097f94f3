import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, suite, test } from 'node:test';
import type { LostStage, PacketEvent } from '../../../src/event/types.ts';
import { agentSocket } from '../../../src/lab/agents.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { unixGet } from '../../agent/serve/unix-get.ts';
import { before } from '../../support/evidence.ts';
import { type KtraceProcess, startFollow } from '../../support/ktrace-process.ts';
import { summaryOf } from '../../support/summary.ts';
import { folded } from '../../support/told.ts';
import { until, untilHolds } from '../../support/until.ts';
import { assertNothingTwice, endpoints, hopNames } from '../support/events.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

const JDFGG = 'frontend-88237173-jdfgg';
const MASTER = 'redis-master-343230949-2qrp7';
const SLAVE = 'redis-slave-132015689-k0rk5';
/** Further apart than any packet is on its way; the nodes share a kernel, so that all of it is the test's. */
const SKEWS = { host1: 480, host2: -500, host3: -20 };

/** So many replies between two nodes make known how far their clocks are apart. */
const KNOWN_BY = 4;
/** Times are corrected to within so much. */
const WITHIN_MS = 1000;

suite('following goes on while the cluster changes', { skip: SKIP }, () => {
  const name = randomLabName();
  const running: KtraceProcess[] = [];
  let lab: Lab;

  const follow = (...argv: string[]): KtraceProcess => {
    const started = startFollow(lab, ...argv);
    running.push(started);
    return started;
  };
  const end = async (...follows: KtraceProcess[]): Promise<void> => {
    for (const one of follows) assert.equal((await one.interrupt()).code, 130, one.stderr);
  };

  before(async () => {
    lab = await labUp({ name, bound: true });
    // The lab gives all agents the same flags; their clocks are to disagree.
    await Promise.all(Object.entries(SKEWS).map(([node, skew]) => lab.restartAgent(node, ['--clock-skew-ms', String(skew)])));
  });
  after(async () => {
    await Promise.all(running.map((one) => one.kill()));
    await removeLab(name);
  });

  test('nodes whose clocks are a second apart still make one record of a packet, in the right order', async () => {
    const one = follow('-A', '-o', 'json');
    await one.following();
    const told = () => {
      const requests = one.settled.filter(({ icmp }) => icmp?.name === 'echo-request');
      const pings = requests.filter(({ src, dst }) => src.pod?.name === JDFGG && dst.pod?.name === MASTER);
      const echoes = one.settled.filter(({ icmp, src }) => icmp?.name === 'echo-reply' && src.pod?.name === MASTER);
      const fromHost2 = requests.filter(({ src }) => src.node === 'host2');
      return [pings, echoes, fromHost2].map((all) => all.slice(0, 6));
    };
    await one.until('six pings from two nodes, and replies', () => told().every(({ length }) => length === 6));
    const ways = [
      ['host1', 'host3'],
      ['host3', 'host1'],
      ['host2', 'host1'],
    ];
    await untilHolds('each is told by both nodes, in order', () => {
      for (const [index, all] of told().entries()) {
        for (const { nodes, hops } of all) {
          assert.deepEqual(nodes, ways[index], JSON.stringify(hops));
          assert.deepEqual(
            hops,
            hops.toSorted((a, b) => a.atNs - b.atNs),
          );
        }
      }
    });
    // Less than two clocks are apart: otherwise it would be a clock's error, not the way.
    const [pings = [], echoes = []] = told();
    assert.ok(median(pings.map(({ hops }) => hops.at(-1)?.atNs ?? 0)) < 400e6);
    assert.ok(median(echoes.map(({ icmp }) => icmp?.rttUs ?? 0)) < 400_000);
    await end(one);
    for (const { hops } of one.packets)
      assert.deepEqual(
        hops,
        hops.toSorted((a, b) => a.atNs - b.atNs),
      );
    assertNothingTwice(one.packets);
    assert.match(one.stderr, /\b0 lost\b/);
  });

  test('a request is earlier than its reply, whatever the clocks say', async () => {
    const one = follow('-A', '-o', 'json');
    await one.following();
    const replies = (...pair: string[]) =>
      one.settled.filter(({ icmp, nodes }) => icmp?.rttUs !== undefined && nodes.toSorted().join() === pair.join());
    // The first packets that cross tell how far the clocks are apart, to within less than a packet is on its way.
    const known = () => [replies('host1', 'host3'), replies('host1', 'host2')].map((all) => all.slice(KNOWN_BY));
    await one.until('replies of two pairs of nodes', () => known().every(({ length }) => length >= 3));
    await end(one);
    for (const reply of known().flat()) {
      const request = folded(one.packets).find(
        ({ icmp, src }) =>
          icmp?.name === 'echo-request' && src.ip === reply.dst.ip && icmp.id === reply.icmp?.id && icmp.seq === reply.icmp?.seq,
      );
      assert.ok(request !== undefined && request.time < reply.time, `${JSON.stringify(reply)}\n${JSON.stringify(request)}`);
    }
  });

  test('a pod that is created anew with the same address is another pod from then on', async () => {
    const one = follow('-A', '-o', 'json');
    const isTo = (uid: string) => (packet: PacketEvent) => endpoints(packet).some(({ pod }) => pod?.uid === uid);
    const before = lab.pod(SLAVE);
    await one.following(({ pods }) => pods.some(({ uid }) => uid === before.uid));
    await one.packet('a packet of the old pod', isTo(before.uid));
    const deleted = await lab.deletePod(SLAVE);
    const deletedAt = Date.now();
    const after = await lab.createPod({ ...deleted, name: 'redis-slave-132015689-xy2zz' });
    assert.equal(after.ip, before.ip);
    assert.notEqual(after.uid, before.uid);
    await one.following(({ pods, missing }) => missing.length === 0 && pods.some(({ uid }) => uid === after.uid));
    const isPing = ({ icmp, dst, src }: PacketEvent) =>
      icmp?.name === 'echo-request' && dst.pod?.uid === after.uid && src.node === 'host3';
    await one.until('the ping that goes on, to the new pod, by its own interface', () =>
      folded(one.packets).some((packet) => isPing(packet) && hopNames(packet).includes(`host3/${after.veth} out`)),
    );
    await end(one);
    for (const packet of one.packets) {
      for (const { ip, pod } of endpoints(packet)) {
        if (ip !== before.ip || pod === undefined) continue;
        const throughOld = packet.hops.some((hop) => hop.if === before.veth);
        const throughNew = packet.hops.some((hop) => hop.if === after.veth);
        if (throughOld) assert.equal(pod.uid, before.uid, JSON.stringify(packet));
        if (throughNew) assert.equal(pod.uid, after.uid, JSON.stringify(packet));
        assert.equal(pod.name, pod.uid === after.uid ? after.name : before.name);
        if (pod.uid === after.uid) assert.ok(Date.parse(packet.time) > deletedAt - WITHIN_MS, packet.time);
      }
    }
  });

  test('an agent that is killed is told of once, the others go on, and it is joined again when it is back', async () => {
    const [one, strict] = [follow('-A', '-o', 'json'), follow('-A', '-o', 'json', '--strict', '--packets')];
    const countOf = (node: string) => one.packets.filter(({ hops }) => hops.some((hop) => hop.node === node)).length;
    await Promise.all([one.following(), strict.following()]);
    const killedAtMs = Date.now();
    await lab.killAgent('host2');
    const down = await one.until('a word about it', () => one.notices.find(({ code }) => code === 'KTRACE_N_AGENT_DOWN'));
    assert.equal(down.node, 'host2');
    assert.equal(down.level, 'warn');
    await one.following(({ missing }) => missing.join() === 'host2');
    const [host1, host3] = [countOf('host1'), countOf('host3')];
    await one.until('the others go on', () => countOf('host1') > host1 + 10 && countOf('host3') > host3 + 5);
    await lab.startAgent('host2', ['--clock-skew-ms', String(SKEWS.host2)]);
    await one.until('a word about its return', () =>
      one.notices.some(({ code, node }) => code === 'KTRACE_N_AGENT_RESTARTED' && node === 'host2'),
    );
    await one.following(({ nodes }) => nodes.length === 3);
    const backAtMs = Date.now();
    const host2 = countOf('host2');
    await one.until('packets of host2 again', () => countOf('host2') > host2 + 5);
    await strict.until('the same for the other', () => strict.notices.some(({ code }) => code === 'KTRACE_N_AGENT_RESTARTED'));
    assert.equal(one.notices.filter(({ code }) => code === 'KTRACE_N_AGENT_DOWN').length, 1);
    await end(one);
    // What the new agent amends it may have told the other follow alone, before this one had come back.
    const wasAway = ({ time }: PacketEvent) =>
      Date.parse(time) > killedAtMs - WITHIN_MS && Date.parse(time) < backAtMs + WITHIN_MS;
    assertNothingTwice(one.packets, (packet) => packet.nodes.includes('host2') && wasAway(packet));
    assert.match(one.stderr, /3 nodes, \d+\.\d s; not known for a time: host2$/m);
    // What the killed agent had attached is not attached beside the new one's.
    const attached = await attachments(lab, 'host2');
    assert.ok(attached.length > 2, `${attached.length} programs attached while somebody follows`);
    for (const { what, count } of attached) assert.equal(count, 1, `${what} ${count} times`);
    await strict.interrupt();
  });

  test('with --strict a node that was missing makes the exit code 5', async () => {
    const one = follow('-A', '-o', 'json', '--strict', '-c', '1', 'udp port 7777');
    // One that is not followed yet misses nothing by being away.
    await one.following();
    await lab.restartAgent('host3', ['--clock-skew-ms', String(SKEWS.host3)]);
    await one.until('a word about it', () =>
      one.notices.some(({ code, node }) => code === 'KTRACE_N_AGENT_RESTARTED' && node === 'host3'),
    );
    await lab.exec(`pod/${JDFGG}`, ['bash', '-c', `echo x > /dev/udp/${lab.pod(MASTER).ip}/7777`]);
    assert.equal((await one.ended).code, 5, one.stderr);
    assert.match(one.stderr, /not known for a time: host3$/m);
  });

  test('nothing is attached any more when nobody follows', async () => {
    // A test before this one that failed may have left its own.
    await Promise.all(running.map((one) => one.kill()));
    for (const node of Object.keys(SKEWS)) {
      await until(`nothing attached on ${node}`, async () => (await attachments(lab, node)).length === 0);
    }
  });

  test('an outage of the API server is told and survived: names stay right, and new pods are known after it', async () => {
    const one = follow('-A', '-o', 'json');
    await one.following();
    const nodesOf = (wanted: string) => new Set(one.notices.flatMap(({ code, node }) => (code === wanted ? [node] : []))).size;
    await lab.stopApi();
    await one.until('all connections broke', () => nodesOf('KTRACE_N_AGENT_DOWN') === 3);
    const fromMs = Date.now() + WITHIN_MS;
    await until('three seconds of outage', () => Date.now() > fromMs + 2000);
    const toMs = Date.now() - WITHIN_MS;
    await lab.startApi();
    await one.until('all connections stand again', () => nodesOf('KTRACE_N_AGENT_BACK') === 3);
    const during = await one.until('what happened meanwhile', () => {
      const seen = one.packets.filter(({ time }) => Date.parse(time) > fromMs && Date.parse(time) < toMs);
      return seen.length > 10 && seen;
    });
    assert.deepEqual(
      one.events.filter(({ kind }) => kind === 'lost'),
      [],
    );
    for (const packet of during) {
      for (const endpoint of endpoints(packet)) {
        if (endpoint.ip.startsWith('10.244.') && !endpoint.ip.endsWith('.0'))
          assert.ok(endpoint.pod ?? endpoint.node, JSON.stringify(endpoint));
      }
    }
    const [pod] = [
      await lab.createPod({
        ...lab.pod(JDFGG),
        name: 'late-1',
        ip: '10.244.1.77',
        ip6: 'fd00:10:244:1::77',
        workload: 'idle',
        labels: { app: 'late' },
      }),
    ];
    await one.following(({ pods }) => pods.some(({ uid }) => uid === pod.uid));
    void lab.exec(`pod/${pod.name}`, ['ping', '-n', '-q', '-c', '300', '-i', '0.2', lab.pod(MASTER).ip]).catch(() => undefined);
    const late = await one.packet(
      'a packet of a new pod by name',
      ({ src, icmp }) => src.pod?.uid === pod.uid && icmp?.name === 'echo-request',
    );
    assert.equal(late.src.pod?.labels?.['app'], 'late');
    await end(one);
    assertNothingTwice(one.packets);
    await lab.deletePod(pod.name);
  });

  test('a client that is stopped slows nobody, and what it misses is counted', async () => {
    await lab.restartAgent('host1', ['--clock-skew-ms', String(SKEWS.host1), '--queue-events', '256']);
    const cutOnHost1 = async () => {
      const text = await unixGet(agentSocket(lab.directory, 'host1'), '/metrics');
      return Number(/^ktrace_server_events_dropped_total\{reason="queue_full"\} (\d+)$/m.exec(text)?.[1]);
    };
    const stopped = follow('-A', '--packets', '-o', 'json');
    const other = follow('pod/frontend-88237173-mzmjf', '-o', 'json');
    await Promise.all([stopped, other].map((one) => one.following()));
    stopped.child.kill('SIGSTOP');
    const count = other.packets.length;
    // It ends with 1 where not all were answered in time.
    const flood = `ping -n -q -f -c 15000 -w 15 -i 0.001 ${lab.pod(MASTER).ip} || true`;
    const said = await lab.exec(`pod/${JDFGG}`, ['sh', '-c', flood]);
    const sent = Number(/(\d+) packets transmitted/.exec(said)?.[1]);
    assert.ok(sent > 0, said);
    await other.until('the other goes on', () => other.packets.length > count + 20);
    stopped.child.kill('SIGCONT');
    const lost = (stage?: LostStage, node?: string) =>
      stopped.events.reduce((sum, event) => {
        const isMeant = event.kind === 'lost' && (stage ?? event.stage) === event.stage && (node ?? event.node) === event.node;
        return sum + (isMeant ? event.count : 0);
      }, 0);
    const cut = await cutOnHost1();
    assert.ok(cut > 0, 'more was sent than the agent keeps for it');
    await stopped.until('what it missed', () => lost('client-socket', 'host1') > 0);
    const wokeAt = Date.now();
    await stopped.packet('what comes after it', ({ time, nodes }) => nodes.includes('host1') && Date.parse(time) > wokeAt + 500);
    await untilHolds('it has been told of each event that was cut', async () =>
      assert.equal(lost('client-socket', 'host1'), await cutOnHost1()),
    );
    await end(stopped, other);
    assert.equal(summaryOf(stopped.stderr).lost, lost());
    assertNothingTwice(stopped.packets, () => true);
    // The kernel's ring is everybody's, and a starved machine may let it overflow; what is behind it is each client's own.
    assert.doesNotMatch(other.stderr, /client-socket/);
    assertNothingTwice(other.packets, () => !other.stderr.includes(', 0 lost;'));
  });
});

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** How often one of our programs is attached to one direction of an interface in a node's namespace. */
async function attachments(lab: Lab, node: string): Promise<{ what: string; count: number }[]> {
  const counts = new Map<string, number>();
  for (const what of [...tcxLinks(lab, node), ...(await filters(lab, node))]) counts.set(what, (counts.get(what) ?? 0) + 1);
  return [...counts].map(([what, count]) => ({ what, count }));
}

/** By what the kernel tells of the agent's open files: bpftool of Debian 12 knows no tcx. */
function tcxLinks(lab: Lab, node: string): string[] {
  const folder = `/proc/${lab.agent(node)?.pid}/fdinfo`;
  return readdirSync(folder).flatMap((fd) => {
    const facts = attempt(() => readFileSync(`${folder}/${fd}`, 'utf8')) ?? '';
    const fact = (name: string) => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(facts)?.[1];
    return fact('link_type') === 'tcx' ? [`tcx ${fact('ifindex')} ${fact('attach_type')}`] : [];
  });
}

async function filters(lab: Lab, node: string): Promise<string[]> {
  const lines = (await lab.exec(node, ['bpftool', 'net', 'show'])).split('\n');
  return lines
    .filter((line) => line.includes('ktrace_'))
    .map((line) => line.replace(/ (prog_id|id|link_id|handle) \S+/g, '').trim());
}

/** A file may be closed between its name and its content. */
function attempt(read: () => string): string | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
