import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { NoticeEvent } from '../../src/event/types.ts';
import type { ProxyMode } from '../../src/kube/index/types.ts';
import { watchProxyMode } from '../../src/kube/proxy-mode.ts';
import { startKube } from '../../src/kube/start.ts';
import { until } from '../support/until.ts';
import { fakeApi } from './api/fake-api.ts';

async function kubeProxy(t: TestContext, answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/proxyMode`;
}

function firstMode(t: TestContext, url: string): Promise<ProxyMode> {
  return new Promise((resolve) => {
    const onMode = (mode: ProxyMode | undefined) => mode !== undefined && resolve(mode);
    t.after(watchProxyMode(onMode, { url, firstPauseMs: 5 }));
  });
}

test('kube-proxy is believed what its mode is', async (t) => {
  const url = await kubeProxy(t, (_request, response) => response.end('nftables'));
  assert.equal(await firstMode(t, url), 'nftables');
});

test('kube-proxy is asked again until it tells a mode that there is', async (t) => {
  const answers: ((response: Parameters<RequestListener>[1]) => void)[] = [
    (response) => response.destroy(),
    (response) => response.writeHead(500).end('iptables'),
    (response) => response.end('userspace'),
    (response) => response.end('x'.repeat(10_000)),
    (response) => response.writeHead(302, { Location: 'http://127.0.0.1:1/' }).end('iptables'),
  ];
  const count = answers.length;
  let asked = 0;
  const url = await kubeProxy(t, (_request, response) => {
    asked += 1;
    const answer = answers.shift() ?? ((last) => last.end('ipvs\n'));
    answer(response);
  });
  assert.equal(await firstMode(t, url), 'ipvs');
  assert.equal(asked, count + 1);
});

test('a mode that nobody tells is unknown, and a notice says so until it is told', async (t) => {
  let isThere = false;
  const url = await kubeProxy(t, (_request, response) => (isThere ? response.end('nftables') : response.writeHead(404).end()));
  const api = await fakeApi();
  t.after(() => api.stop());
  const kube = startKube({ kubeConfig: api.access, node: 'host1', askProxyMode: { url, firstPauseMs: 5 } });
  t.after(() => kube.close());
  const notices: NoticeEvent[] = [];
  kube.onNotice((notice) => notices.push(notice));
  assert.equal(kube.names.proxyMode, undefined);
  await until('the notice', () => notices.length > 0);
  assert.equal(kube.names.proxyMode, undefined);
  isThere = true;
  await until('the mode', () => kube.names.proxyMode === 'nftables');
  assert.deepEqual(
    notices.map(({ code, level, node }) => [code, level, node]),
    [
      ['KTRACE_N_PROXY_MODE_UNKNOWN', 'info', 'host1'],
      ['KTRACE_N_PROXY_MODE', 'info', 'host1'],
    ],
  );
  assert.match(notices[1]?.text ?? '', /nftables/);
});

test('a mode that is given is not asked for, and one that is told at once is no notice', async (t) => {
  let asked = 0;
  const url = await kubeProxy(t, (_request, response) => {
    asked += 1;
    response.end('iptables');
  });
  const api = await fakeApi();
  t.after(() => api.stop());
  const start = (given?: ProxyMode) => {
    const kube = startKube({
      kubeConfig: api.access,
      node: 'host1',
      askProxyMode: { url, firstPauseMs: 5 },
      ...(given === undefined ? {} : { proxyMode: given }),
    });
    t.after(() => kube.close());
    kube.onNotice(({ code }) => assert.doesNotMatch(code, /PROXY_MODE/));
    return kube;
  };
  const given = start('none');
  const told = start();
  await until('the mode', () => told.names.proxyMode === 'iptables');
  assert.equal(given.names.proxyMode, 'none');
  assert.equal(asked, 1);
});
