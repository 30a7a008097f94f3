import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { watchProxyMode } from '../../src/kube/proxy-mode.ts';
import type { ProxyMode } from '../../src/kube/types.ts';

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
  return new Promise((resolve) => t.after(watchProxyMode(resolve, { url, firstPauseMs: 5 })));
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
