import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { type FollowOptions, runFollow } from '../../src/client/follow.ts';
import type { KtraceEvent } from '../../src/event/types.ts';
import { hop, packet, pod } from './events.ts';
import { FakeAgent, rawServer, until } from './fake-agent.ts';
import { type FakeApi, gatePod, startFakeApi } from './fake-api.ts';

class Sink extends Writable {
  text = '';
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk;
    done();
  }
}

interface Cluster {
  api: FakeApi;
  agents: FakeAgent[];
  kubeconfig: string;
}

/** An API server, and a gate and an agent for each node. */
async function cluster(t: TestContext, nodes: string[]): Promise<Cluster> {
  const api = await startFakeApi();
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-client-'));
  const kubeconfig = join(directory, 'config');
  writeFileSync(kubeconfig, JSON.stringify(configOf(api.url)));
  t.after(async () => {
    rmSync(directory, { recursive: true });
    await api.close();
  });
  const agents: FakeAgent[] = [];
  for (const node of nodes) {
    const agent = await FakeAgent.start(node);
    t.after(() => agent.close());
    agents.push(agent);
    api.objects.set(...gatePod(`gate-${node}`, node));
    api.ports.set(`gate-${node}`, agent.port);
  }
  for (const namespace of ['default', 'kube-system'])
    api.objects.set(`/api/v1/namespaces/${namespace}`, { metadata: { name: namespace } });
  for (const name of ['frontend-88237173-jdfgg', 'frontend-88237173-mzmjf']) {
    api.objects.set(`/api/v1/namespaces/default/pods/${name}`, { metadata: { name }, spec: { nodeName: 'host1' } });
  }
  return { api, agents, kubeconfig };
}

function configOf(server: string): unknown {
  return {
    'current-context': 'fake',
    clusters: [{ name: 'fake', cluster: { server } }],
    users: [{ name: 'user', user: { token: 'secret' } }],
    contexts: [{ name: 'fake', context: { cluster: 'fake', user: 'user', namespace: 'default' } }],
  };
}

function run(t: TestContext, kubeconfig: string, options: Partial<FollowOptions> = {}) {
  const stdout = new Sink();
  const stderr = new Sink();
  const interrupt = new AbortController();
  const done = runFollow(
    {
      words: [],
      selectors: [],
      namespaces: [],
      allNamespaces: false,
      kubeconfig,
      ktraceNamespace: 'ktrace',
      output: 'json',
      packets: false,
      strict: false,
      color: false,
      ...options,
    },
    { stdout, stderr, interrupt: interrupt.signal, env: {}, findLab: () => undefined },
  );
  done.catch(() => undefined);
  t.after(async () => {
    interrupt.abort();
    await done.catch(() => undefined);
  });
  const events = (): KtraceEvent[] =>
    stdout.text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as KtraceEvent);
  return { done, stdout, stderr, interrupt, events };
}

function ping(node: string, id: string): KtraceEvent {
  const time = `${new Date().toISOString().slice(0, -1)}000000Z`;
  const ends = { src: pod('a', '10.244.1.2', node), dst: pod('b', '10.244.1.3', node) };
  return packet({
    id,
    time,
    fingerprint: id,
    proto: 'icmp',
    verdict: 'delivered',
    ...ends,
    hops: [hop(node, 'veth1', 'in', 0), hop(node, 'veth2', 'out', 900)],
  });
}

test('a follow through port-forwards prints what the agents tell, and leaves after -c packets', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1', 'host2']);
  const { done, events, stderr } = run(t, kubeconfig, { words: ['pod/frontend-88237173-jdfgg'], count: 3 });
  await until(() => agents.every(({ credits }) => credits > 0), 'both are subscribed');
  assert.deepEqual(agents[0]?.received[0], {
    type: 'subscribe',
    targets: [{ kind: 'pod', namespace: 'default', name: 'frontend-88237173-jdfgg' }],
    addresses: [],
    units: 'flows',
  });
  agents[0]?.emit(ping('host1', 'p1'), ping('host1', 'p2'));
  agents[1]?.emit(ping('host2', 'p3'), ping('host2', 'p4'));
  assert.equal(await done, 0);
  assert.equal(events().length, 3);
  assert.match(stderr.text, /ktrace: 4 captured, 3 shown, 0 lost; 2 nodes\n$/);
});

test('a megabyte of events passes a port-forward whole', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1']);
  const { done, events } = run(t, kubeconfig, { count: 4000 });
  const agent = agents[0] as FakeAgent;
  await until(() => agent.credits > 0, 'it is subscribed');
  for (let index = 0; index < 4000; index++) agent.emit(ping('host1', `p${index}`));
  assert.equal(await done, 0);
  assert.equal(events().length, 4000);
});

test('an interrupt ends with the summary and 130, --for with 0', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1']);
  const first = run(t, kubeconfig);
  await until(() => (agents[0] as FakeAgent).credits > 0, 'it is subscribed');
  first.interrupt.abort();
  assert.equal(await first.done, 130);
  assert.match(first.stderr.text, /0 captured, 0 shown, 0 lost; 1 node\n/);
  assert.equal(await run(t, kubeconfig, { forMs: 50 }).done, 0);
});

test('broken port-forwards are made again; with --strict what was lost on the way is 5', async (t) => {
  const { api, agents, kubeconfig } = await cluster(t, ['host1']);
  const { done, events } = run(t, kubeconfig, { strict: true, count: 2 });
  const agent = agents[0] as FakeAgent;
  await until(() => agent.credits > 0, 'it is subscribed');
  agent.missed = 7;
  agent.emit(ping('host1', 'p1'));
  await until(() => events().length === 1, 'the first is told');
  api.cut();
  await until(() => agent.connections === 2 && agent.credits > 0, 'it is connected again');
  agent.emit(ping('host1', 'p2'));
  assert.equal(await done, 5);
  const kinds = events().map((event) => (event.kind === 'notice' ? event.code : event.kind));
  assert.deepEqual(kinds, ['packet', 'KTRACE_N_AGENT_DOWN', 'KTRACE_N_AGENT_BACK', 'lost', 'packet']);
});

test('a reader that closes its end ends the follow quietly', async (t) => {
  const { agents, kubeconfig } = await cluster(t, ['host1']);
  const { done, stdout, stderr } = run(t, kubeconfig);
  const agent = agents[0] as FakeAgent;
  await until(() => agent.credits > 0, 'it is subscribed');
  stdout.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
  assert.equal(await done, 0);
  assert.equal(stderr.text, '');
});

test('mistakes and missing things are clear errors with their exit codes', async (t) => {
  const { api, kubeconfig } = await cluster(t, ['host1']);
  const cases: [Partial<FollowOptions>, string, number, RegExp][] = [
    [{ words: ['pod/frontend-88237173-jdfg'] }, 'KTRACE_E_POD_UNKNOWN', 1, /Did you mean pod\/frontend-88237173-jdfgg/],
    [{ words: ['pod/frontend'] }, 'KTRACE_E_POD_UNKNOWN', 1, /Did you mean/],
    [{ words: ['pod/zzz'] }, 'KTRACE_E_POD_UNKNOWN', 1, /kubectl get pods -n default/],
    [{ words: ['deploy/web'] }, 'KTRACE_E_DEPLOYMENT_UNKNOWN', 1, /kubectl get deployments/],
    [{ words: ['pod/a'], namespaces: ['defalt'] }, 'KTRACE_E_NAMESPACE_UNKNOWN', 1, /Did you mean default/],
    [{ namespaces: ['kube-sytem'] }, 'KTRACE_E_NAMESPACE_UNKNOWN', 1, /Did you mean kube-system/],
    [{ words: ['node/host9'] }, 'KTRACE_E_NODE_UNKNOWN', 1, /kubectl get nodes/],
    [{ words: ['tcp', 'port', '80'] }, 'KTRACE_E_FILTER_UNAVAILABLE', 2, /KIND\/NAME/],
    [{ words: ['frontend'] }, 'KTRACE_E_KIND_MISSING', 2, /pod\/frontend/],
    [{ context: 'fak' }, 'KTRACE_E_CONTEXT_UNKNOWN', 1, /Did you mean fake/],
    [{ kubeconfig: '/nowhere/config' }, 'KTRACE_E_KUBECONFIG', 1, /^$/],
    [{ ktraceNamespace: 'elsewhere' }, 'KTRACE_E_NO_AGENT', 3, /--ktrace-namespace/],
  ];
  for (const [options, code, exitCode, hint] of cases) {
    await assert.rejects(run(t, kubeconfig, options).done, (error: { code: string; exitCode: number; hint?: string }) => {
      assert.equal(error.code, code);
      assert.equal(error.exitCode, exitCode, code);
      assert.match(error.hint ?? '', hint);
      return true;
    });
  }
  api.refused.set('/api/v1/namespaces/ktrace/pods', 403);
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_API_FORBIDDEN', exitCode: 4 });
  api.refused.set('/api/v1/namespaces/ktrace/pods', 401);
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_API_UNAUTHORIZED', exitCode: 4 });
});

test('a port-forward that is refused, denied, or leads to garbage is a clear error', async (t) => {
  const { api, kubeconfig } = await cluster(t, ['host1']);
  const path = '/api/v1/namespaces/ktrace/pods/gate-host1/portforward';
  api.ports.delete('gate-host1');
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_PORTFORWARD', exitCode: 3, message: /connection refused/ });
  api.refused.set(path, 403);
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_API_FORBIDDEN', exitCode: 4 });
  api.refused.delete(path);
  const garbage = await rawServer((socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n'));
  t.after(() => garbage.close());
  api.ports.set('gate-host1', garbage.port);
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_PROTOCOL', exitCode: 1 });
});

test('gates that are not ready, and an API server that is not there', async (t) => {
  const { api, kubeconfig } = await cluster(t, ['host1']);
  api.objects.set(...gatePod('gate-host1', 'host1', false));
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_NO_AGENT', exitCode: 3, message: /None of the 1 agents/ });
  await api.close();
  await assert.rejects(run(t, kubeconfig).done, { code: 'KTRACE_E_API_UNREACHABLE', exitCode: 1 });
});
