import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { after, suite, test } from 'node:test';
import {
  ApiException,
  AuthenticationV1Api,
  AuthorizationV1Api,
  CoreV1Api,
  DiscoveryV1Api,
  KubeConfig,
  makeInformer,
  PatchStrategy,
  PortForward,
  setHeaderOptions,
  type V1Pod,
  type V1Status,
  Watch,
} from '@kubernetes/client-node';
import { openApi } from '../../../src/kube/api/api.ts';
import { openTokenKeys } from '../../../src/kube/api/token-keys.ts';
import { apiMetrics } from '../../../src/lab/client/api-client.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { readTokens } from '../../../src/lab/machine/tokens.ts';
import { GATE_SELECTOR } from '../../../src/protocol/constants.ts';
import { before } from '../../support/evidence.ts';
import { until } from '../../support/until.ts';
import { fetchFrom, labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

suite('the API server, through @kubernetes/client-node', { skip: SKIP }, () => {
  const name = randomLabName();
  let lab: Lab;
  let config: KubeConfig;
  let core: CoreV1Api;
  before(async () => {
    lab = await labUp({ name, agents: false, bound: true });
    config = configOf(lab);
    core = config.makeApiClient(CoreV1Api);
  });
  after(() => removeLab(name));

  test('a list is selected by label and by field', async () => {
    const names = (pods: V1Pod[]) => pods.map((pod) => pod.metadata?.name).toSorted();
    const gates = await core.listPodForAllNamespaces({ labelSelector: GATE_SELECTOR });
    assert.equal(gates.items.length, 3);
    const onHost3 = await core.listNamespacedPod({ namespace: 'default', fieldSelector: 'spec.nodeName=host3' });
    assert.deepEqual(names(onHost3.items), ['redis-master-343230949-2qrp7', 'redis-slave-132015689-k0rk5']);
    const slaves = await core.listNamespacedPod({ namespace: 'default', labelSelector: 'app in (redis),role!=master' });
    assert.deepEqual(names(slaves.items), ['redis-slave-132015689-890b2', 'redis-slave-132015689-k0rk5']);
    await assert.rejects(
      core.listNamespacedPod({ namespace: 'default', fieldSelector: 'spec.color=red' }),
      failsWith(400, /not supported/),
    );
  });

  test('pages of one list add up to the whole, and a lost continue token is 410', async () => {
    const whole = await core.listPodForAllNamespaces();
    const seen: (string | undefined)[] = [];
    let token: string | undefined;
    do {
      const page = await core.listPodForAllNamespaces({ limit: 4, ...(token === undefined ? {} : { _continue: token }) });
      assert.ok(page.items.length <= 4);
      seen.push(...page.items.map((pod) => pod.metadata?.uid));
      token = page.metadata?._continue;
    } while (token !== undefined);
    assert.deepEqual(
      seen,
      whole.items.map((pod) => pod.metadata?.uid),
    );
    const lost = '00000000-0000-4000-8000-000000000000';
    await assert.rejects(core.listPodForAllNamespaces({ limit: 4, _continue: lost }), failsWith(410, /too old/));
  });

  test('errors are Status objects with the real messages', async () => {
    await assert.rejects(core.readNamespacedPod({ namespace: 'default', name: 'x' }), failsWith(404, /^pods "x" not found$/));
    const nobody = configOf(lab, 'ktrace-lab-nobody').makeApiClient(CoreV1Api);
    await assert.rejects(
      nobody.listNode(),
      failsWith(403, /^nodes is forbidden: User "lab-nobody" cannot list resource "nodes"/),
    );
    const stranger = configOf(lab);
    stranger.users[0] = { name: 'admin', token: 'wrong' };
    await assert.rejects(
      stranger.makeApiClient(CoreV1Api).listNode(),
      (error: unknown) => error instanceof ApiException && error.code === 401,
    );
  });

  test('TokenReview and SubjectAccessReview answer by the users and the Roles that are held', async () => {
    const review = (token: string) => config.makeApiClient(AuthenticationV1Api).createTokenReview({ body: { spec: { token } } });
    const viewer = await review(readTokens(lab.directory).viewer);
    assert.equal(viewer.status?.user?.username, 'lab-viewer');
    assert.equal((await review('wrong')).status?.authenticated, undefined);
    const may = async (namespace: string) => {
      const spec = { user: 'lab-viewer', resourceAttributes: { namespace, verb: 'list', resource: 'pods' } };
      return (await config.makeApiClient(AuthorizationV1Api).createSubjectAccessReview({ body: { spec } })).status?.allowed;
    };
    assert.equal(await may('default'), true);
    assert.equal(await may('kube-system'), false);
  });

  test('how often reviews were asked for is counted', async () => {
    const asked = async () => {
      const page = await apiMetrics(lab.directory);
      return Number(/^apiserver_request_total\{verb="CREATE",resource="tokenreviews"\} (\d+)$/m.exec(page)?.[1] ?? 0);
    };
    const before = await asked();
    const reviews = config.makeApiClient(AuthenticationV1Api);
    for (const token of ['wrong', 'wrong too']) await reviews.createTokenReview({ body: { spec: { token } } });
    assert.equal((await asked()) - before, 2);
  });

  test('TokenRequest gives a token for its audiences alone, to who may have it, for as long as its account is there', async () => {
    const ask = (context: string | undefined, name = 'ktrace-viewer', expirationSeconds = 600) =>
      configOf(lab, context)
        .makeApiClient(CoreV1Api)
        .createNamespacedServiceAccountToken({
          namespace: 'default',
          name,
          body: { spec: { audiences: ['ktrace.dev'], expirationSeconds } },
        });
    const given = await ask('ktrace-lab-viewer');
    const lifeMs = Number(given.status?.expirationTimestamp) - Date.now();
    assert.ok(lifeMs > 590_000 && lifeMs <= 600_000, String(lifeMs));
    const review = async (audience: string) => {
      const spec = { token: given.status?.token ?? '', audiences: [audience] };
      return (await config.makeApiClient(AuthenticationV1Api).createTokenReview({ body: { spec } })).status;
    };
    const failures: string[] = [];
    const keysFor = (context?: string) =>
      openTokenKeys({
        api: openApi(configOf(lab, context)),
        signal: AbortSignal.timeout(10_000),
        timeoutMs: 5_000,
        nowMs: () => 0,
        onFailure: (error) => failures.push((error as Error).message),
      });
    const isSigned = keysFor();
    await until('it is known by the keys of the server', () => isSigned(given.status?.token ?? ''));
    keysFor('ktrace-lab-nobody')(given.status?.token ?? '');
    await until('no user may read the keys', () => failures.length === 1);
    assert.match(failures[0] ?? '', /User "lab-nobody" cannot get path "\/openid\/v1\/jwks"/);
    const status = await review('ktrace.dev');
    assert.deepEqual(
      [status?.authenticated, status?.user?.username, status?.audiences],
      [true, 'system:serviceaccount:default:ktrace-viewer', ['ktrace.dev']],
    );
    assert.equal((await review('https://kubernetes.default.svc'))?.authenticated, undefined);
    await assert.rejects(ask('ktrace-lab-viewer', 'ktrace-viewer', 599), failsWith(422, /less than 10 minutes/));
    await assert.rejects(
      ask('ktrace-lab-nobody'),
      failsWith(403, /cannot create resource "serviceaccounts\/token" in API group "" in the namespace "default"/),
    );
    await assert.rejects(ask(undefined, 'nope'), failsWith(404, /serviceaccounts "nope" not found/));
    await core.deleteNamespacedServiceAccount({ namespace: 'default', name: 'ktrace-viewer' });
    assert.equal((await review('ktrace.dev'))?.authenticated, undefined);
  });

  test('a watch tells of a pod that appears, changes, leaves the selector and goes', async (t) => {
    const events: string[] = [];
    const list = await core.listNamespacedPod({ namespace: 'default' });
    const version = list.metadata?.resourceVersion ?? '';
    const query = { resourceVersion: version, labelSelector: 'colour=red' };
    const path = '/api/v1/namespaces/default/pods';
    const abort = await new Watch(config).watch(
      path,
      query,
      (type) => void events.push(type),
      () => undefined,
    );
    t.after(() => abort.abort());
    const body = { metadata: { name: 'tinted', labels: { colour: 'red' } }, spec: { containers: [{ name: 'c' }] } };
    const patch = (labels: Record<string, string>) =>
      core.patchNamespacedPod(
        { namespace: 'default', name: 'tinted', body: { metadata: { labels } } },
        setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
      );
    await core.createNamespacedPod({ namespace: 'default', body });
    await patch({ more: 'x' });
    await patch({ colour: 'blue' });
    await patch({ colour: 'red' });
    await core.deleteNamespacedPod({ namespace: 'default', name: 'tinted' });
    await until('all events', () => events.length >= 6);
    // A pod's deletion is first its deletionTimestamp, then its end.
    assert.deepEqual(events, ['ADDED', 'MODIFIED', 'DELETED', 'ADDED', 'MODIFIED', 'DELETED']);
  });

  test('a watch from a version that is forgotten gets an ERROR event with code 410', async (t) => {
    const events: { type: string; status: V1Status }[] = [];
    const take = (type: string, status: V1Status) => void events.push({ type, status });
    const abort = await new Watch(config).watch('/api/v1/pods', { resourceVersion: '1' }, take, () => undefined);
    t.after(() => abort.abort());
    await until('the event', () => events.length > 0);
    assert.deepEqual([events[0]?.type, events[0]?.status.code, events[0]?.status.reason], ['ERROR', 410, 'Expired']);
  });

  test('a port-forward reaches the pod’s own loopback, carries much data both ways, and says why it cannot', async () => {
    const page = await forward(config, 'frontend-88237173-mzmjf', 80, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    assert.match(page.out, /guestbook, served by frontend-88237173-mzmjf/);
    const value = 'x'.repeat(3_000_000);
    const words = (...list: string[]) => `*${list.length}\r\n${list.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`;
    const commands = words('SET', 'big', value) + words('GET', 'big') + words('QUIT');
    const big = await forward(config, 'redis-master-343230949-2qrp7', 6379, commands);
    assert.ok(big.out.includes(value));
    const closed = await forward(config, 'frontend-88237173-mzmjf', 81, '');
    assert.match(closed.err, /error forwarding port 81 to pod frontend-88237173-mzmjf.*ECONNREFUSED/);
    await assert.rejects(forward(config, 'nope', 80, ''), (error: { message: string }) =>
      /server response: 404/.test(error.message),
    );
  });

  test('pods reach the API server under its Service with the lab’s certificate', async () => {
    const text = await fetchFrom(lab, 'pod/frontend-88237173-jdfgg', 'https://10.96.0.1/version');
    assert.match(text, /"gitVersion"/);
  });

  test('a pod deleted and created again is told to informers, and its EndpointSlice follows', async (t) => {
    const told: string[] = [];
    const informer = makeInformer(config, '/api/v1/namespaces/default/pods', () =>
      core.listNamespacedPod({ namespace: 'default' }),
    );
    informer.on('add', (pod) => void told.push(`add ${pod.metadata?.name}`));
    informer.on('delete', (pod) => void told.push(`delete ${pod.metadata?.name}`));
    await informer.start();
    t.after(() => informer.stop());
    await until('the informer knows all', () => told.length >= 6);
    const pod = await lab.deletePod('redis-slave-132015689-k0rk5');
    await until('the end', () => told.includes(`delete ${pod.name}`));
    const addresses = async () => {
      const slices = await config
        .makeApiClient(DiscoveryV1Api)
        .listNamespacedEndpointSlice({ namespace: 'default', labelSelector: 'kubernetes.io/service-name=redis-slave' });
      return slices.items.flatMap((slice) => slice.endpoints?.flatMap((endpoint) => endpoint.addresses) ?? []);
    };
    assert.ok(!(await addresses()).includes(pod.ip));
    await lab.createPod(pod);
    await until('the new one', () => told.filter((line) => line === `add ${pod.name}`).length === 2);
    assert.ok((await addresses()).includes(pod.ip));
  });

  test('stopped and started again, the server has the same address, objects and versions', async () => {
    const before = await core.listPodForAllNamespaces();
    await lab.stopApi();
    await assert.rejects(core.listPodForAllNamespaces(), /ECONNREFUSED|fetch failed/);
    await lab.startApi();
    const again = await core.listPodForAllNamespaces();
    assert.equal(again.metadata?.resourceVersion, before.metadata?.resourceVersion);
    assert.deepEqual(
      again.items.map((pod) => pod.metadata?.uid),
      before.items.map((pod) => pod.metadata?.uid),
    );
  });
});

function configOf(lab: Lab, context?: string): KubeConfig {
  const config = new KubeConfig();
  config.loadFromFile(lab.kubeconfig);
  if (context !== undefined) config.setCurrentContext(context);
  return config;
}

/** A rejection with this HTTP code and a Status whose message matches. */
function failsWith(code: number, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ApiException, String(error));
    const status = (typeof error.body === 'string' ? JSON.parse(error.body) : error.body) as V1Status;
    assert.deepEqual([error.code, status.kind, status.code], [code, 'Status', code]);
    assert.match(status.message ?? '', message);
    return true;
  };
}

/** Sends a text through a port-forward and gives all that came back until its end. */
async function forward(config: KubeConfig, pod: string, port: number, text: string): Promise<{ out: string; err: string }> {
  const [out, err, input] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const collected = { out: '', err: '' };
  out.setEncoding('latin1').on('data', (data: string) => {
    collected.out += data;
  });
  err.setEncoding('utf8').on('data', (data: string) => {
    collected.err += data;
  });
  const socket = (await new PortForward(config).portForward('default', pod, [port], out, err, input)) as unknown as WebSocket;
  const closed = new Promise<void>((resolve) => socket.addEventListener('close', () => resolve()));
  if (text !== '') input.write(text);
  await closed;
  return collected;
}
