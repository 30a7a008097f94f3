import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createApi } from '../../../src/client/cluster/api.ts';
import {
  contextNamespace,
  type KubeOptions,
  type KubeSurroundings,
  loadKubeConfig,
} from '../../../src/client/cluster/kubeconfig.ts';
import { forwardPort } from '../../../src/client/cluster/port-forward.ts';
import { proxyFor } from '../../../src/client/cluster/proxy.ts';
import { connectProxy, type TlsApi, tlsApi, writeKubeconfig } from './tls-api.ts';

const AROUND: KubeSurroundings = {
  env: {},
  home: '/nonexistent',
  delimiter: ':',
  podRoot: '/nonexistent',
  findLab: () => undefined,
  note: () => undefined,
};

/** Who the API server takes the kubeconfig's user for: once asked, and once through a port-forward, whose echo must come back. */
async function whoIs(
  t: TestContext,
  kubeconfig: string | undefined,
  around: KubeSurroundings = AROUND,
  options: KubeOptions = {},
): Promise<string[]> {
  const config = loadKubeConfig({ kubeconfig, ...options }, around);
  const { user } = (await createApi(config).get('/whoami')) as { user: string };
  const abort = new AbortController();
  const connection = await forwardPort(config, { namespace: 'ktrace', name: 'gate' }, 7471, abort.signal);
  t.after(() => connection.destroy());
  connection.write('hello');
  const [echo] = (await connection.take(1).toArray()) as Buffer[];
  assert.equal(String(echo), 'hello');
  return [user];
}

/** A program that prints what kubectl's plugins print, and counts how often. */
function plugin(api: TlsApi, status: object): string {
  const file = join(api.folder, 'plugin');
  const credential = join(api.folder, 'credential.json');
  writeFileSync(credential, JSON.stringify({ kind: 'ExecCredential', status }));
  writeFileSync(
    file,
    `#!/bin/sh
echo run >>${api.folder}/runs
cat ${credential}
`,
  );
  chmodSync(file, 0o700);
  return file;
}

const runsOf = ({ folder }: TlsApi) => readFileSync(join(folder, 'runs'), 'utf8').trim().split('\n').length;

test('a client certificate is used, from files beside the kubeconfig and from data in it', async (t) => {
  const api = await tlsApi(t);
  const files = { 'client-certificate': 'client.crt', 'client-key': 'client.key' };
  assert.deepEqual(await whoIs(t, writeKubeconfig(api, files)), ['certified']);
  const data = (name: string) => readFileSync(join(api.folder, name)).toString('base64');
  const inline = { 'client-certificate-data': data('client.crt'), 'client-key-data': data('client.key') };
  const authority = { 'certificate-authority': undefined, 'certificate-authority-data': data('ca.crt') };
  assert.deepEqual(await whoIs(t, writeKubeconfig(api, inline, authority)), ['certified']);
  assert.deepEqual(new Set(api.seen), new Set(['certified']));
});

test('a token is used, from the kubeconfig and from a file; without credentials one is told so', async (t) => {
  const api = await tlsApi(t);
  assert.deepEqual(await whoIs(t, writeKubeconfig(api, { token: 'mine' })), ['mine']);
  writeFileSync(join(api.folder, 'token'), 'from-a-file');
  assert.deepEqual(await whoIs(t, writeKubeconfig(api, { tokenFile: 'token' })), ['from-a-file']);
  const config = loadKubeConfig({ kubeconfig: writeKubeconfig(api, {}) }, AROUND);
  await assert.rejects(createApi(config).get('/whoami'), { code: 'KTRACE_E_API_UNAUTHORIZED', exitCode: 4 });
});

test('somebody else is impersonated, with groups, in requests and port-forwards', async (t) => {
  const api = await tlsApi(t);
  const kubeconfig = writeKubeconfig(api, { token: 'mine', as: 'of-the-kubeconfig' });
  assert.deepEqual(await whoIs(t, kubeconfig), ['mine']);
  assert.deepEqual(await whoIs(t, kubeconfig, AROUND, { as: 'jane', asGroups: ['dev', 'ops'] }), ['mine']);
  assert.deepEqual(api.impersonated, ['of-the-kubeconfig ()', 'of-the-kubeconfig ()', 'jane (dev, ops)', 'jane (dev, ops)']);
});

test("another cluster and user than the context's are taken, and those that the kubeconfig has not are refused", async (t) => {
  const api = await tlsApi(t);
  const kubeconfig = join(api.folder, 'several');
  const wrong = { server: 'https://127.0.0.1:1' };
  const right = { server: api.url, 'certificate-authority': 'ca.crt' };
  const config = {
    'current-context': 'one',
    clusters: [
      { name: 'one', cluster: wrong },
      { name: 'two', cluster: right },
    ],
    users: [
      { name: 'first', user: { token: 'first' } },
      { name: 'second', user: { token: 'second' } },
    ],
    contexts: [{ name: 'one', context: { cluster: 'one', user: 'first', namespace: 'shop' } }],
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  assert.deepEqual(await whoIs(t, kubeconfig, AROUND, { cluster: 'two' }), ['first']);
  assert.deepEqual(await whoIs(t, kubeconfig, AROUND, { cluster: 'two', user: 'second' }), ['second']);
  assert.equal(contextNamespace(loadKubeConfig({ kubeconfig, cluster: 'two' }, AROUND)), 'shop');
  for (const [options, message, hint] of [
    [{ cluster: 'tow' }, 'The kubeconfig has no cluster "tow"', /Did you mean two\?/],
    [{ user: 'nobody' }, 'The kubeconfig has no user "nobody"', /It has first, second\./],
  ] as const)
    assert.throws(() => loadKubeConfig({ kubeconfig, ...options }, AROUND), { code: 'KTRACE_E_KUBECONFIG', message, hint });
});

test('any certificate is taken where that is asked for, and no other time', async (t) => {
  const api = await tlsApi(t);
  const kubeconfig = writeKubeconfig(api, { token: 'mine' }, { 'certificate-authority': 'client.crt' });
  await assert.rejects(whoIs(t, kubeconfig), { code: 'KTRACE_E_API_UNREACHABLE' });
  assert.deepEqual(await whoIs(t, kubeconfig, AROUND, { insecureSkipTlsVerify: true }), ['mine']);
});

test('an exec plugin is run for a token, once while the token is good, and again when it has ended', async (t) => {
  const api = await tlsApi(t);
  const status = (expirationTimestamp: string) => ({ token: 'plugged', expirationTimestamp });
  plugin(api, status('2100-01-01T00:00:00Z'));
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', interactiveMode: 'Never' };
  // A command with a slash is meant from the folder of the kubeconfig.
  assert.deepEqual(await whoIs(t, writeKubeconfig(api, { exec: { ...exec, command: './plugin' } })), ['plugged']);
  assert.equal(runsOf(api), 1);
  plugin(api, status('2000-01-01T00:00:00Z'));
  assert.deepEqual(await whoIs(t, writeKubeconfig(api, { exec: { ...exec, command: join(api.folder, 'plugin') } })), ['plugged']);
  assert.equal(runsOf(api), 3);
});

test('an exec plugin may give a certificate, and is told what kubectl tells it', async (t) => {
  const api = await tlsApi(t);
  const text = (name: string) => readFileSync(join(api.folder, name), 'utf8');
  const status = { clientCertificateData: text('client.crt'), clientKeyData: text('client.key') };
  const command = plugin(api, status);
  writeFileSync(command, `${readFileSync(command, 'utf8')}echo "$KUBERNETES_EXEC_INFO $OWN" >${api.folder}/info\n`);
  const exec = {
    apiVersion: 'client.authentication.k8s.io/v1beta1',
    command,
    env: [{ name: 'OWN', value: 'word' }],
    provideClusterInfo: true,
  };
  assert.deepEqual(await whoIs(t, writeKubeconfig(api, { exec })), ['certified']);
  const told = /^(.*) word$/m.exec(text('info'))?.[1] ?? '';
  assert.deepEqual(JSON.parse(told), {
    kind: 'ExecCredential',
    apiVersion: 'client.authentication.k8s.io/v1beta1',
    spec: {
      interactive: false,
      cluster: { server: api.url, 'certificate-authority-data': readFileSync(join(api.folder, 'ca.crt')).toString('base64') },
    },
  });
});

test('an exec plugin that fails or is not there is told with its own words', async (t) => {
  const api = await tlsApi(t);
  const command = join(api.folder, 'plugin');
  writeFileSync(command, '#!/bin/sh\necho "please log in first" >&2\nexit 1\n', { mode: 0o700 });
  const ask = (exec: object) => createApi(loadKubeConfig({ kubeconfig: writeKubeconfig(api, { exec }) }, AROUND)).get('/whoami');
  await assert.rejects(ask({ command }), { code: 'KTRACE_E_KUBECONFIG', message: /cannot be used: please log in first/ });
  await assert.rejects(ask({ command: 'ktrace-no-such-plugin' }), {
    code: 'KTRACE_E_KUBECONFIG',
    message: /ktrace-no-such-plugin.*ENOENT/,
  });
});

test('a proxy of the kubeconfig is what everything goes through, port-forwards too', async (t) => {
  const api = await tlsApi(t);
  const proxy = await connectProxy(t, api.port);
  // A name that only the proxy would find, with the certificate's for another.
  const cluster = { server: 'https://kubernetes.far.example:6443', 'tls-server-name': 'kubernetes', 'proxy-url': proxy.url };
  assert.deepEqual(await whoIs(t, writeKubeconfig(api, { token: 'mine' }, cluster)), ['mine']);
  assert.ok(proxy.asked.length >= 2);
  assert.deepEqual(new Set(proxy.asked), new Set(['kubernetes.far.example:6443']));
  const dead = { ...cluster, 'proxy-url': 'http://127.0.0.1:9' };
  const config = loadKubeConfig({ kubeconfig: writeKubeconfig(api, { token: 'mine' }, dead) }, AROUND);
  await assert.rejects(createApi(config).get('/whoami'), { code: 'KTRACE_E_API_UNREACHABLE' });
});

test("a proxy of the environment is used as kubectl uses it: not over the kubeconfig's, not for what NO_PROXY names", async (t) => {
  const api = await tlsApi(t);
  const proxy = await connectProxy(t, api.port);
  const cluster = { server: 'https://kubernetes.far.example:6443', 'tls-server-name': 'kubernetes' };
  const env = { HTTPS_PROXY: proxy.url, NO_PROXY: 'near.example' };
  assert.deepEqual(await whoIs(t, writeKubeconfig(api, { token: 'mine' }, cluster), { ...AROUND, env }), ['mine']);
  assert.ok(proxy.asked.length >= 2);
  const https_proxy = 'proxy.example:3128';
  const cases: [server: string, env: Record<string, string>, proxy: string | undefined][] = [
    ['https://api.example', { https_proxy }, 'http://proxy.example:3128'],
    ['https://api.example', { HTTPS_PROXY: 'socks5://proxy.example' }, 'socks5://proxy.example'],
    ['https://api.example', { HTTP_PROXY: 'http://proxy.example' }, undefined],
    ['http://api.example', { HTTP_PROXY: 'http://proxy.example' }, 'http://proxy.example'],
    ['https://localhost:6443', { https_proxy }, undefined],
    ['https://127.0.0.1:6443', { https_proxy }, undefined],
    ['https://[::1]:6443', { https_proxy }, undefined],
    ['https://api.example', { https_proxy, no_proxy: '*' }, undefined],
    ['https://api.example', { https_proxy, NO_PROXY: 'other.example, example' }, undefined],
    ['https://api.example', { https_proxy, NO_PROXY: '.api.example' }, 'http://proxy.example:3128'],
    ['https://a.api.example', { https_proxy, NO_PROXY: '.api.example' }, undefined],
    ['https://myapi.example', { https_proxy, NO_PROXY: 'api.example' }, 'http://proxy.example:3128'],
    ['https://api.example', { https_proxy, NO_PROXY: 'api.example:6443' }, 'http://proxy.example:3128'],
    ['https://api.example:6443', { https_proxy, NO_PROXY: 'api.example:6443' }, undefined],
    ['https://10.1.2.3:6443', { https_proxy, NO_PROXY: '10.0.0.0/8' }, undefined],
    ['https://[fd00::1]:6443', { https_proxy, NO_PROXY: '10.0.0.0/8,fd00::/8' }, undefined],
    ['https://11.1.2.3:6443', { https_proxy, NO_PROXY: '10.0.0.0/8,11.1.2.4' }, 'http://proxy.example:3128'],
  ];
  for (const [server, given, expected] of cases)
    assert.equal(proxyFor(server, given), expected, `${server} ${JSON.stringify(given)}`);
});

test("in a pod without a kubeconfig the pod's own service account is used, with its namespace", async (t) => {
  const api = await tlsApi(t);
  const secrets = join(api.folder, 'var/run/secrets/kubernetes.io/serviceaccount');
  mkdirSync(secrets, { recursive: true });
  copyFileSync(join(api.folder, 'ca.crt'), join(secrets, 'ca.crt'));
  writeFileSync(join(secrets, 'token'), 'of-the-pod');
  writeFileSync(join(secrets, 'namespace'), 'shop');
  const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(api.port) };
  // The library reads these where Kubernetes puts them.
  const saved = { ...process.env };
  Object.assign(process.env, env);
  t.after(() => {
    for (const name of Object.keys(env)) delete process.env[name];
    Object.assign(process.env, saved);
  });
  const around = { ...AROUND, env, podRoot: api.folder };
  assert.deepEqual(await whoIs(t, undefined, around), ['of-the-pod']);
  const config = loadKubeConfig({}, around);
  assert.equal(config.getContextObject(config.getCurrentContext())?.namespace, 'shop');
});

test('the files of KUBECONFIG are parted by what the system parts paths by', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-kubeconfig-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const fileOf = (name: string): string => {
    const file = join(folder, name);
    const clusters = [{ name, cluster: { server: `https://${name.replace(':', '-')}` } }];
    writeFileSync(
      file,
      JSON.stringify({ 'current-context': name, clusters, contexts: [{ name, context: { cluster: name, user: '' } }] }),
    );
    return file;
  };
  for (const delimiter of [':', ';']) {
    // As a drive's letter stands in a path of Windows.
    const names = delimiter === ';' ? ['c:one', 'c:two'] : ['one', 'two'];
    const env = { KUBECONFIG: names.map(fileOf).join(delimiter) };
    const config = loadKubeConfig({}, { ...AROUND, env, delimiter });
    assert.deepEqual(
      config.getContexts().map(({ name }) => name),
      names,
    );
  }
});
