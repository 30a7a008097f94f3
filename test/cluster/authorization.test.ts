import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { AUDIENCE } from '../../src/access/scope.ts';
import { endsOf } from '../../src/event/ends.ts';
import type { NodeReport } from '../../src/event/node-report.ts';
import type { Target } from '../../src/event/target.ts';
import type { FlowEvent, PacketEvent } from '../../src/event/types.ts';
import { GATE_PORT, METRICS_PORT } from '../../src/protocol/constants.ts';
import type { AgentMessage } from '../../src/protocol/messages.ts';
import { endpoints } from '../lab/support/events.ts';
import { before } from '../support/evidence.ts';
import { until } from '../support/until.ts';
import type { Question } from './support/ask-agents.ts';
import { Asker } from './support/asker.ts';
import { beside, getJson, ktrace, kubectl, SKIP, TOOLS_IMAGE } from './support/cluster.ts';
import { agentsRecord, NAMESPACES, readyPods } from './support/product.ts';
import { certificateVisitor, mint, signingKey, timeShifted, tokenVisitor, type Visitor } from './support/visitors.ts';
import { World } from './support/world.ts';

const REACH = join(import.meta.dirname, 'support', 'reach-ports.ts');
const WHO = ['nobody', 'wrong audience', 'expired', 'revoked', 'viewer of A', 'viewer of B', 'administrator'] as const;
const WHAT = ['a pod in A', 'a pod in B', 'a node', 'all namespaces'] as const;
type Who = (typeof WHO)[number];
type What = (typeof WHAT)[number];
const LETS_IN: Partial<Record<Who, readonly What[]>> = {
  'viewer of A': ['a pod in A'],
  'viewer of B': ['a pod in B'],
  administrator: WHAT,
};

suite('who may see what of a real cluster', { skip: SKIP }, () => {
  let asker: Asker;
  let a: World;
  let b: World;
  let targets: Record<What, Target>;
  const tokens = new Map<Who, string>();
  /** To be revoked in the end. */
  const granted: string[][] = [];
  let traffic: Promise<unknown>[] = [];
  /** It takes up to a minute, beside the other tests. */
  let deleted: Promise<PromiseSettledResult<Deleted>[]>;
  let doomed: string | undefined;

  before(async () => {
    asker = new Asker();
    await agentsRecord();
    [a, b] = await Promise.all([World.create(), World.create()]);
    doomed = `${a.namespace}-doomed`;
    deleted = Promise.allSettled([deletedWhileStreaming(doomed)]);
    targets = {
      'a pod in A': { kind: 'pod', namespace: a.namespace, name: a.client.name },
      'a pod in B': { kind: 'pod', namespace: b.namespace, name: b.server.name },
      'a node': { kind: 'node', name: a.nodeA },
      'all namespaces': { kind: 'all' },
    };
    for (const { namespace } of [a, b]) await grant(namespace, '--user', `${namespace}-user`);
    tokens.set('wrong audience', await mint(a.namespace, 'ktrace-viewer'));
    tokens.set('viewer of A', await mint(a.namespace, 'ktrace-viewer', `--audience=${AUDIENCE}`));
    tokens.set('viewer of B', await mint(b.namespace, 'ktrace-viewer', `--audience=${AUDIENCE}`));
    tokens.set('administrator', await mint('ktrace', 'ktrace-admin', `--audience=${AUDIENCE}`));
    await kubectl('-n', a.namespace, 'create', 'secret', 'generic', 'bond');
    const bound = ['--bound-object-kind=Secret', '--bound-object-name=bond'];
    tokens.set('revoked', await mint(a.namespace, 'ktrace-viewer', `--audience=${AUDIENCE}`, ...bound));
    await kubectl('-n', a.namespace, 'delete', 'secret', 'bond');
    const key = await signingKey();
    if (key !== undefined) tokens.set('expired', timeShifted(tokens.get('viewer of A') ?? '', key, -700, -100));
    // To the Service of the other namespace, to a port of its pod where nobody listens, and within each namespace.
    const closed = `echo hello | nc -u -w 1 ${b.server.ip} 9997`;
    traffic = [
      a.inPod('deploy/client', 'timeout', '900', 'sh', '-c', `while :; do curl -sm 2 http://${b.clusterIp}/; ${closed}; done`),
      b.inPod('deploy/client', 'timeout', '900', 'sh', '-c', `while :; do curl -sm 2 http://${b.clusterIp}/; sleep 0.3; done`),
    ].map((run) => run.catch(() => undefined));
  });
  after(async () => {
    await deleted;
    for (const what of granted) await runKtrace('revoke', ...what);
    await Promise.all([a?.close(), b?.close()]);
    if (doomed !== undefined) await kubectl('delete', 'namespace', doomed, '--ignore-not-found', '--wait=false');
    await Promise.all(traffic);
    await asker?.close();
  });

  async function grant(...what: string[]): Promise<void> {
    const { code, stderr } = await runKtrace('grant', ...what);
    assert.equal(code, 0, stderr);
    granted.push(what);
  }

  /** A namespace of its own, whose account is deleted while somebody streams as it; how the stream ended, and how long after. */
  async function deletedWhileStreaming(namespace: string): Promise<Deleted> {
    await kubectl('create', 'namespace', namespace);
    const pod = ['run', 'sleeper', `--image=${TOOLS_IMAGE}`, '--image-pull-policy=IfNotPresent', '--restart=Never'];
    await kubectl('-n', namespace, ...pod, '--command', '--', 'sleep', 'infinity');
    await kubectl('-n', namespace, 'wait', '--for=condition=Ready', 'pod/sleeper', '--timeout=60s');
    const visitor = await certificateVisitor(`${namespace}-visitor`);
    await grant(namespace, '--user', visitor.user);
    const follow = ktrace('follow', 'pod/sleeper', '-n', namespace, '--kubeconfig', visitor.kubeconfig, '-o', 'json');
    const patience = new AbortController();
    try {
      await follow.following();
      await kubectl('-n', namespace, 'delete', 'serviceaccount', 'ktrace-viewer');
      const sinceMs = Date.now();
      const tooLong = delay(60_000, undefined, { signal: patience.signal }).then(() => undefined);
      const ended = await Promise.race([follow.ended, tooLong]);
      return { code: ended?.code, stderr: follow.stderr, afterMs: Date.now() - sinceMs };
    } finally {
      patience.abort();
      await follow.kill();
      await visitor.close();
    }
  }

  function tokenOf(who: Who): { token?: string } {
    const token = tokens.get(who);
    return token === undefined ? {} : { token };
  }

  /** Of the agent of the first node. Where a pod is on another, its agent would tell a client the address to hand on. */
  function question(who: Who, what: What, wanted: string[], more: string[] = []): Question {
    const addresses = what === 'a pod in B' ? [b.server.ip, ...more] : more;
    return { ask: 'stream', node: a.nodeA, target: targets[what], addresses, wanted, forMs: 30_000, ...tokenOf(who) };
  }

  async function stream(...asked: Parameters<typeof question>): Promise<AgentMessage[]> {
    const [answer] = await asker.ask([question(...asked)]);
    assert.ok(answer !== undefined && 'messages' in answer);
    return answer.messages;
  }

  /** Of the agent of the pod's own node. */
  function recorded(who: Who, what: What, kind: 'recorded' | 'dump'): Question {
    return { ask: kind, node: what === 'a pod in B' ? b.nodeB : a.nodeA, target: targets[what], ...tokenOf(who) };
  }

  async function dump(who: Who, what: What): Promise<AgentMessage[]> {
    const [answer] = await asker.ask([recorded(who, what, 'dump')]);
    assert.ok(answer !== undefined && 'messages' in answer);
    return answer.messages;
  }

  test('ktrace doctor is told by every node what its kernel allows, and what is lacking with reason and remedy', async () => {
    const { code, stdout, stderr } = await runKtrace('doctor', '-o', 'json');
    assert.equal(code, 0, stderr);
    const reports = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as NodeReport);
    assert.deepEqual(
      reports.map(({ node, works }) => [node, works]),
      [...a.nodes.keys()].sort().map((node) => [node, true]),
    );
    for (const { kernel, hooks, interfaces, lacks } of reports) {
      assert.ok(kernel.btf);
      assert.ok(hooks.some(({ name, state }) => name === 'tc' && state !== 'unavailable'));
      assert.ok(interfaces.some(({ kind }) => kind === 'pod') && interfaces.some(({ kind }) => kind === 'uplink'));
      for (const { state, reason } of hooks) assert.ok(state !== 'unavailable' || reason);
      for (const { why, remedy } of lacks) assert.ok(why !== '' && remedy !== '');
    }
  });

  /** What of a namespace's own may not be told to others. */
  const secretsOf = ({ namespace, client, server }: World): string[] => [
    namespace,
    ...[client, server].flatMap(({ name, uid }) => [name, uid]),
  ];

  for (const who of WHO) {
    test(`${who}: may follow ${LETS_IN[who]?.join(', ') ?? 'nothing'}, and is told nothing of the rest`, async (t) => {
      if (who === 'expired' && !tokens.has(who)) return t.skip("the cluster's signing key is not to be had");
      const answers = await asker.ask(WHAT.map((what) => question(who, what, ['"kind":"packet"'])));
      for (const [index, what] of WHAT.entries()) {
        const answer = answers[index];
        assert.ok(answer !== undefined && 'messages' in answer);
        const [hello, ...rest] = answer.messages.filter(({ type }) => type !== 'clock');
        assert.deepEqual(Object.keys(hello ?? {}).sort(), ['clock', 'instance', 'node', 'type', 'version'], what);
        if (LETS_IN[who]?.includes(what)) {
          assert.equal(rest[0]?.type, 'subscribed', what);
          assert.ok(packetsIn(rest).length > 0, what);
          continue;
        }
        assert.deepEqual(
          rest.map((message) => (message.type === 'error' ? message.code : message.type)),
          ['KTRACE_E_NOT_AUTHORIZED'],
          what,
        );
        const text = JSON.stringify(answer.messages);
        for (const word of [...secretsOf(a).slice(1), ...secretsOf(b).slice(1)])
          assert.ok(!text.includes(word), `${what}: ${word}`);
      }
    });

    test(`${who}: ${who === 'administrator' ? 'is told' : 'is not told'} how a node is`, async (t) => {
      if (who === 'expired' && !tokens.has(who)) return t.skip("the cluster's signing key is not to be had");
      const [answer] = await asker.ask([{ ask: 'doctor', node: a.nodeA, ...tokenOf(who) }]);
      assert.ok(answer !== undefined && 'messages' in answer);
      const told = answer.messages.filter(({ type }) => type === 'doctor' || type === 'error');
      assert.deepEqual(
        told.map((message) => (message.type === 'error' ? message.code : message.type)),
        [who === 'administrator' ? 'doctor' : 'KTRACE_E_NOT_AUTHORIZED'],
      );
    });

    test(`${who}: may dump ${LETS_IN[who]?.join(', ') ?? 'nothing'}, and is told nothing of the rest`, async (t) => {
      if (who === 'expired' && !tokens.has(who)) return t.skip("the cluster's signing key is not to be had");
      // Each question on a connection of its own: a refusal ends it.
      const kinds = ['recorded', 'dump'] as const;
      const answers = await asker.ask(WHAT.flatMap((what) => kinds.map((kind) => recorded(who, what, kind))));
      for (const [index, what] of WHAT.entries()) {
        const [known, read] = answers
          .slice(2 * index, 2 * index + 2)
          .map((answer) => ('messages' in answer ? answer.messages : []));
        const told = [known, read].map((messages = []) => messages.filter(({ type }) => type !== 'hello' && type !== 'clock'));
        if (LETS_IN[who]?.includes(what)) {
          assert.deepEqual([told[0]?.map(({ type }) => type), told[1]?.at(-1)?.type], [['recorded'], 'dumped'], what);
          await until(`records of ${what}`, async () => recordsIn(await dump(who, what)).length > 0);
          continue;
        }
        for (const messages of told)
          assert.deepEqual(
            messages.map((message) => (message.type === 'error' ? message.code : message.type)),
            ['KTRACE_E_NOT_AUTHORIZED'],
            what,
          );
        const text = JSON.stringify([known, read]);
        for (const word of [...secretsOf(a).slice(1), ...secretsOf(b).slice(1)])
          assert.ok(!text.includes(word), `${what}: ${word}`);
      }
    });

    test(`${who}: health and metrics are the node's own, and name nobody`, async () => {
      const page = (port: number, path: string): Question => ({ ask: 'page', node: a.nodeA, port, path, ...tokenOf(who) });
      const [healthz, readyz, hidden, metrics] = await asker.ask([
        page(GATE_PORT, '/healthz'),
        page(GATE_PORT, '/readyz'),
        page(GATE_PORT, '/metrics'),
        page(METRICS_PORT, '/metrics'),
      ]);
      for (const one of [healthz, readyz]) assert.deepEqual(one, { status: 'HTTP/1.1 200 OK', body: 'ok\n' });
      assert.ok(hidden !== undefined && 'status' in hidden && metrics !== undefined && 'status' in metrics);
      assert.match(hidden.status, / 404 /);
      assert.match(metrics.status, / 200 /);
      assert.match(metrics.body, /^ktrace_gate_agent_up 1$/m);
      for (const world of [a, b])
        for (const word of [...secretsOf(world), world.client.ip, world.server.ip, world.clusterIp])
          assert.ok(!metrics.body.includes(word), word);
    });
  }

  test('every agent has read the keys by which it tells forged tokens from good ones', async () => {
    for (const { name, node } of await readyPods('agent'))
      assert.doesNotMatch(await kubectl('-n', NAMESPACES.agent, 'logs', name), /keys cannot be read/, node);
  });

  test('a token that is signed anew is good as long as its time is: it is the time that shuts out', async (t) => {
    const key = await signingKey();
    if (key === undefined) return t.skip("the cluster's signing key is not to be had");
    const asked = question('viewer of A', 'a pod in A', []);
    const [answer] = await asker.ask([{ ...asked, token: timeShifted(tokens.get('viewer of A') ?? '', key, -100, 500) }]);
    assert.ok(answer !== undefined && 'messages' in answer);
    assert.ok(
      answer.messages.some(({ type }) => type === 'subscribed'),
      JSON.stringify(answer),
    );
  });

  test('the viewer of A sees the ends in A by name, and of B addresses and ports alone', async () => {
    const isRequest = ({ dst, nat }: PacketEvent) => dst.ip === b.clusterIp && nat !== undefined;
    const wanted = [`${packet({ src: a.client.ip, dst: b.clusterIp })}.*"nat":`, 'port-unreachable'];
    const messages = await stream('viewer of A', 'a pod in A', wanted);
    const packets = packetsIn(messages);
    const text = JSON.stringify(messages);
    for (const word of secretsOf(b)) assert.ok(!text.includes(word), word);
    assert.deepEqual(namespacesIn(packets), [a.namespace]);
    const request = packets.find(isRequest);
    assert.equal(request?.src.pod?.uid, a.client.uid);
    assert.equal(request.src.pod.labels?.['app'], 'client');
    assert.deepEqual(request.dst, { ip: b.clusterIp, port: 80 });
    const [dnat] = request.nat ?? [];
    assert.deepEqual([dnat?.service, dnat?.chains, dnat?.after], [undefined, undefined, { ip: b.server.ip, port: 8080 }]);
    const about = packets.find(({ icmp }) => icmp?.name === 'port-unreachable')?.icmp?.about;
    assert.equal(about?.src.pod?.uid, a.client.uid);
    assert.deepEqual(about.dst, { ip: b.server.ip, port: 9997 });
  });

  test('the viewer of B sees the ends in B by name with Service and chains, and of A addresses and ports alone', async () => {
    const isRequest = ({ src, dst, nat }: PacketEvent) => src.ip === a.client.ip && dst.ip === b.clusterIp && nat !== undefined;
    const wanted = [`${packet({ src: a.client.ip, dst: b.clusterIp })}.*"nat":`];
    const messages = await stream('viewer of B', 'a pod in B', wanted, [b.clusterIp]);
    const packets = packetsIn(messages);
    const text = JSON.stringify(messages);
    for (const word of secretsOf(a)) assert.ok(!text.includes(word), word);
    assert.deepEqual(namespacesIn(packets), [b.namespace]);
    const request = packets.find(isRequest);
    assert.deepEqual(Object.keys(request?.src ?? {}).sort(), ['ip', 'port']);
    assert.deepEqual(request?.dst.service, { namespace: b.namespace, name: 'server', port: 'http' });
    assert.equal(request.nat?.[0]?.service, `${b.namespace}/server:http`);
    assert.ok((request.nat[0].chains ?? []).length > 0);
    assert.equal(request.nat[0].after.pod?.uid, b.server.uid);
  });

  for (const [who, what, own, other] of [
    ['viewer of A', 'a pod in A', () => a, () => b],
    ['viewer of B', 'a pod in B', () => b, () => a],
  ] as const)
    test(`of what was recorded the ${who} sees the ends there by name, and of the other namespace addresses alone, as live`, async () => {
      const isAcross = ({ src, dst, nat = [] }: PacketEvent | FlowEvent) => {
        const ips = [src, dst, ...nat.flatMap(({ before: from, after: to }) => [from, to])].map(({ ip }) => ip);
        return ips.includes(a.client.ip) && ips.includes(b.server.ip);
      };
      const messages = await until('records of what went from A to B', async () => {
        const told = await dump(who, what);
        return recordsIn(told).some(isAcross) && told;
      });
      const text = JSON.stringify(messages);
      for (const word of secretsOf(other())) assert.ok(!text.includes(word), word);
      const owners = recordsIn(messages)
        .flatMap(endsOf)
        .flatMap(({ pod, service }) => pod ?? service ?? []);
      assert.deepEqual([...new Set(owners.map(({ namespace }) => namespace))], [own().namespace]);
    });

  test('addresses that a viewer hands to an agent open nothing: what passes within B stays unseen by the viewer of A', async () => {
    const all = [b.client.ip, b.server.ip, b.clusterIp];
    const isWithinB = ({ src }: PacketEvent) => src.ip === b.client.ip;
    const wanted = [packet({ src: a.client.ip }), 'port-unreachable'];
    const [seen, whole] = await Promise.all([
      stream('viewer of A', 'a pod in A', wanted, all),
      stream('administrator', 'a pod in A', [...wanted, packet({ src: b.client.ip })], all),
    ]);
    assert.ok(packetsIn(whole).some(isWithinB));
    assert.ok(packetsIn(seen).length > 0);
    assert.deepEqual(packetsIn(seen).filter(isWithinB), []);
    for (const packet of packetsIn(seen)) assert.ok(endpoints(packet).some(({ pod }) => pod?.namespace === a.namespace));
    for (const word of secretsOf(b)) assert.ok(!JSON.stringify(seen).includes(word), word);
  });

  test('a grant reaches gates alone: no port of an agent, and none of a node’s loopback', async () => {
    const visitor = await certificateVisitor(`${a.namespace}-forwarder`);
    const as = ['kubectl', '--kubeconfig', visitor.kubeconfig];
    const refused = (...argv: string[]) =>
      assert.rejects(beside([...as, ...argv]), /Forbidden|forbidden/, `${argv.join(' ')} was to be refused`);
    try {
      for (const what of [[a.namespace], ['--admin']]) await grant(...what, '--user', visitor.user);
      const { items } = await getJson<{
        items: { metadata: { namespace: string; name: string }; spec: { hostNetwork?: boolean } }[];
      }>('pods', '-A');
      const onHost = items.filter(({ spec }) => spec.hostNetwork === true);
      assert.ok(onHost.some(({ metadata }) => metadata.name.startsWith('ktrace-agent-')));
      assert.ok(onHost.every(({ metadata }) => metadata.namespace !== 'ktrace'));
      for (const { namespace, name } of onHost.map(({ metadata }) => metadata)) {
        for (const verb of ['create', 'get']) {
          const asked = [...as, 'auth', 'can-i', verb, `pods/${name}`, '--subresource=portforward', '-n', namespace];
          // It ends with 1 where it says no.
          const { stdout: may } = await beside(['sh', '-c', '"$@" 2>&1 || true', 'sh', ...asked]);
          assert.equal(may.trim(), 'no', `${verb} pods/portforward of ${namespace}/${name}`);
        }
      }
      const agent = onHost.find(({ metadata }) => metadata.name.startsWith('ktrace-agent-'))?.metadata;
      await refused('-n', 'ktrace-agents', 'get', 'pods');
      await refused('-n', 'ktrace-agents', 'exec', agent?.name ?? '', '--', 'true');
      await refused('get', '--raw', `/api/v1/nodes/${a.nodeA}/proxy/healthz`);
      const gates = await readyPods('gate');
      const { stdout } = await beside([...as, '-n', 'ktrace', 'get', 'pods', '-o', 'name']);
      assert.deepEqual(stdout.trim().split('\n').sort(), gates.map(({ name }) => `pod/${name}`).sort());
      // On every node's loopback the kubelet answers at this port; through a gate's pod it is the pod's own loopback, where only the gate answers.
      const KUBELET_HEALTH_PORT = 10248;
      const gate = { namespace: 'ktrace', name: gates[0]?.name ?? '' };
      const ports = [
        { namespace: 'ktrace-agents', name: agent?.name ?? '', port: KUBELET_HEALTH_PORT },
        { ...gate, port: KUBELET_HEALTH_PORT },
        { ...gate, port: GATE_PORT },
      ];
      const reach = (kubeconfig: string[]) =>
        beside(['env', ...kubeconfig, process.execPath, '--import', 'tsx', REACH], JSON.stringify(ports));
      const [ofAgent, ofGate, own] = JSON.parse((await reach([`KUBECONFIG=${visitor.kubeconfig}`])).stdout) as string[];
      assert.match(ofAgent ?? '', /^The API server does not let you forward a port/);
      assert.doesNotMatch(ofGate ?? '', /^HTTP/);
      assert.match(own ?? '', /^HTTP\/1\.1 /);
      // An administrator of the cluster reaches that port of the node: it is there.
      const [ofNode] = JSON.parse((await reach([])).stdout) as string[];
      assert.match(ofNode ?? '', /^HTTP\/1\.\d 200/);
    } finally {
      for (const what of [[a.namespace], ['--admin']]) await runKtrace('revoke', ...what, '--user', visitor.user);
      await visitor.close();
    }
  });

  const LOGINS: Record<string, () => Promise<Visitor>> = {
    'a client certificate': () => certificateVisitor(`${a.namespace}-visitor`),
    'a token': () => tokenVisitor(a.namespace),
  };
  for (const [login, create] of Object.entries(LOGINS)) {
    test(`who logs in by ${login} is shut out with the line that would help, let in by it, and shut out by revoke`, async () => {
      const visitor = await create();
      const { user, kubeconfig } = visitor;
      const follow = (...what: string[]) =>
        runKtrace('follow', ...what, '--kubeconfig', kubeconfig, '-o', 'json', '--for', '30s');
      const pod = [`pod/${a.client.name}`, '-n', a.namespace, '-c', '1'];
      const isDenied = async (what: string[], line: string) => {
        const { code, stdout, stderr } = await follow(...what);
        assert.deepEqual([code, stdout], [4, ''], stderr);
        assert.match(stderr, /KTRACE_E_NOT_AUTHORIZED/);
        assert.ok(
          stderr.split('\n').some((one) => one.endsWith(`: ${line}`)),
          stderr,
        );
      };
      try {
        await isDenied(pod, `ktrace grant ${a.namespace} --user ${user}`);
        await grant(a.namespace, '--user', user);
        await until('it is let in', async () => (await follow(...pod)).code === 0);
        await isDenied(['-n', b.namespace], `ktrace grant ${b.namespace} --user ${user}`);
        await isDenied(['-A'], `ktrace grant --admin --user ${user}`);
        await isDenied([`node/${a.nodeA}`], `ktrace grant --admin --user ${user}`);
        assert.equal((await runKtrace('revoke', a.namespace, '--user', user)).code, 0);
        await until('it is shut out', async () => (await follow(...pod)).code === 4);
        await isDenied(pod, `ktrace grant ${a.namespace} --user ${user}`);
      } finally {
        await visitor.close();
      }
    });
  }

  test('an account that is deleted while somebody streams as it ends the stream within a minute, in words', async () => {
    const [result] = await deleted;
    if (result?.status !== 'fulfilled') throw result?.reason;
    const { code, stderr, afterMs } = result.value;
    assert.equal(code, 4, `after ${afterMs} ms: ${stderr}`);
    assert.match(stderr, /KTRACE_E_NOT_AUTHORIZED/);
  });
});

/** How a stream ended: its exit code (undefined: it had not ended after a minute), and what was said. */
interface Deleted {
  code: number | null | undefined;
  stderr: string;
  afterMs: number;
}

async function runKtrace(...argv: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const ran = ktrace(...argv);
  const { code } = await ran.ended;
  return { code, stdout: ran.stdout, stderr: ran.stderr };
}

function recordsIn(messages: readonly AgentMessage[]): (PacketEvent | FlowEvent)[] {
  return messages.flatMap((message) =>
    message.type === 'records' ? message.events.filter((event) => event.kind === 'packet' || event.kind === 'flow') : [],
  );
}

function packetsIn(messages: readonly AgentMessage[]): PacketEvent[] {
  return messages.flatMap((message) =>
    message.type === 'events' ? message.events.filter((event) => event.kind === 'packet') : [],
  );
}

/** The beginning of a packet's JSON, as a pattern: flows are told as well, and errors quote flows of their own. */
function packet({ src, dst }: { src: string; dst?: string }): string {
  const from = `^{[^{]*"kind":"packet"[^{]*"src":{"ip":"${src}"`;
  return dst === undefined ? from : `${from}.*"dst":{"ip":"${dst}"`;
}

function namespacesIn(packets: readonly PacketEvent[]): string[] {
  const owners = packets.flatMap(endpoints).flatMap(({ pod, service }) => pod ?? service ?? []);
  return [...new Set(owners.map(({ namespace }) => namespace))].sort();
}
