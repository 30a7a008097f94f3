import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';
import type { NoticeEvent } from '../../../src/event/types.ts';
import { openApi } from '../../../src/kube/api/api.ts';
import { type Kube, startKube } from '../../../src/kube/start.ts';
import { KtraceError } from '../../../src/util/errors.ts';
import { until } from '../../support/until.ts';
import { rawNode, rawPod, rawService, rawSlice } from '../build.ts';
import { type FakeApi, type Fault, fakeApi, type Kind } from './fake-api.ts';

const QUICK = { backoffMinMs: 10, backoffMaxMs: 60, listTimeoutMs: 20_000, watchIdleMs: 60_000 };
/** Where a server's silence is what is tested: a busy machine is silent for a moment, too. */
const IMPATIENT = { listTimeoutMs: 250 };

let api: FakeApi;
let kube: Kube | undefined;
const notices: NoticeEvent[] = [];

function start(over: Partial<typeof QUICK & { pageSize: number }> = {}): Kube {
  kube = startKube({
    kubeConfig: api.access,
    node: 'host1',
    reflector: { ...QUICK, ...over },
    unreachableAfterMs: 50,
    proxyMode: 'iptables',
  });
  kube.onNotice((notice) => notices.push(notice));
  return kube;
}

function ownerName(ip: string): string | undefined {
  const owner = kube?.names.ownerOf(ip, Date.now());
  return owner?.kind === 'pod' ? owner.pod.name : owner?.kind;
}

function requests(kind: Kind, verb: 'list' | 'watch') {
  return api.requests.filter((one) => one.kind === kind && one.verb === verb);
}

async function allWatching(): Promise<void> {
  await until('all kinds are watched', () =>
    (['pods', 'services', 'endpointslices', 'nodes'] as const).every((kind) => api.watchers(kind) === 1),
  );
}

beforeEach(async () => {
  notices.length = 0;
  api = await fakeApi();
  api.put('pods', rawPod({ name: 'a', ip: '10.0.0.1' }));
  api.put('services', rawService('s', { clusterIP: '10.96.0.5', ports: [{ port: 80 }] }));
  api.put('endpointslices', rawSlice('s-1', 's', [{ ip: '10.0.2.1', pod: 'far' }]));
  api.put('nodes', rawNode('host1', '192.168.60.11'));
});

afterEach(async () => {
  kube?.close();
  await api.stop();
});

describe('the watch of an API server', () => {
  it('knows all it needs once it is synced, and follows changes', async () => {
    await start().synced();
    assert.deepEqual(
      [ownerName('10.0.0.1'), ownerName('10.0.2.1'), ownerName('10.96.0.5'), ownerName('192.168.60.11')],
      ['a', 'far', 'service', 'node'],
    );
    await allWatching();
    api.put('pods', rawPod({ name: 'b', ip: '10.0.0.2' }));
    await until('the owner of 10.0.0.2 is b', () => ownerName('10.0.0.2') === 'b');
    api.remove('pods', 'b');
    api.put('pods', rawPod({ name: 'c', uid: 'uid-c', ip: '10.0.0.2', readyMs: Date.now() }));
    await until('the owner of 10.0.0.2 is c', () => ownerName('10.0.0.2') === 'c');
    assert.equal(kube?.resolve([{ kind: 'all' }]).pods.length, 2);
    assert.deepEqual(notices, []);
  });

  it('asks for its own node’s pods only, and takes no other for its own', async () => {
    api.put('pods', rawPod({ name: 'other', ip: '10.0.2.9', node: 'host2' }));
    await start().synced();
    assert.equal(requests('pods', 'list')[0]?.query.get('fieldSelector'), 'spec.nodeName=host1');
    assert.equal(requests('services', 'list')[0]?.query.get('fieldSelector'), null);
    assert.equal(ownerName('10.0.2.9'), undefined);
  });

  it('lists in pages and uses them all at once', async () => {
    for (let i = 0; i < 7; i += 1) api.put('services', rawService(`s${i}`, { clusterIP: `10.96.1.${i}`, ports: [{ port: 80 }] }));
    let release: (() => void) | undefined;
    const hold: Fault = () => false;
    const wait: Fault = (response, request) => {
      release = () => void fetch(`${api.url}${request.url}`).then(async (answer) => response.end(await answer.text()));
      return true;
    };
    api.fault('services', 'list', hold, wait);
    start({ pageSize: 3 });
    await until('the answer waits', () => release !== undefined);
    assert.equal(kube?.index.sizes().services, 0);
    release?.();
    await kube?.synced();
    assert.equal(kube?.index.sizes().services, 8);
    assert.deepEqual([...new Set(requests('services', 'list').map((one) => one.query.get('continue')))], [null, '3', '6']);
  });

  it('asks for everything in one piece when the pages have expired', async () => {
    for (let i = 0; i < 4; i += 1) api.put('services', rawService(`s${i}`, { clusterIP: `10.96.1.${i}`, ports: [{ port: 80 }] }));
    const gone: Fault = (response) => void response.writeHead(410).end('{}') === undefined;
    api.fault('services', 'list', () => false, gone);
    await start({ pageSize: 3 }).synced();
    assert.equal(kube?.index.sizes().services, 5);
    assert.deepEqual(
      requests('services', 'list').map((one) => one.query.get('limit')),
      ['3', '3', null],
    );
  });

  it('goes on where a bookmark was', async () => {
    await start().synced();
    await allWatching();
    const version = api.bookmark('pods');
    api.put('pods', rawPod({ name: 'b', ip: '10.0.0.2' }));
    await until('the owner of 10.0.0.2 is b', () => ownerName('10.0.0.2') === 'b');
    api.cut('pods');
    await until('the watch is opened again', () => requests('pods', 'watch').length === 2);
    const from = Number(requests('pods', 'watch')[1]?.query.get('resourceVersion'));
    assert.ok(from > Number(version), `${from} after ${version}`);
    assert.equal(requests('pods', 'watch')[0]?.query.get('allowWatchBookmarks'), 'true');
    assert.equal(requests('pods', 'list').length, 1);
  });
});

const FAULTS: Record<string, Fault> = {
  'answers 500': (response) => void response.writeHead(500).end('{"message":"boom"}') === undefined,
  'answers 503 with a page that is no JSON': (response) => void response.writeHead(503).end('<html>') === undefined,
  'answers 429': (response) => void response.writeHead(429, { 'retry-after': '1' }).end('{}') === undefined,
  'answers 401': (response) => void response.writeHead(401).end('{"message":"Unauthorized"}') === undefined,
  'says nothing': () => true,
  'breaks the connection': (response) => void response.destroy() === undefined,
  'answers garbage': (response) => void response.end('}{ what\n') === undefined,
  'breaks off in the middle': (response) => {
    response.writeHead(200, { 'content-length': '1000' }).write('{"metadata":{"resourceVersion":"1"},"items":[');
    setImmediate(() => response.destroy());
    return true;
  },
  'answers what is packed and cannot be unpacked': (response) =>
    void response.setHeader('content-encoding', 'gzip').end('{"metadata":') === undefined,
  'answers with nothing': (response) => void response.end() === undefined,
  'answers JSON of another shape': (response) => void response.end('{"kind":"Status"}\n') === undefined,
  'sends an unknown kind of event': (response) =>
    void response.end('{"type":"EXPLODED","object":{"metadata":{"resourceVersion":"9"}}}\n') === undefined,
  'ends with an error event': (response) =>
    void response.end('{"type":"ERROR","object":{"code":500,"message":"etcd"}}\n') === undefined,
};

describe('an API server that', () => {
  for (const [what, fault] of Object.entries(FAULTS)) {
    it(`${what} is asked again, for a list and for a watch`, async () => {
      api.fault('pods', 'list', fault, fault);
      await start(what === 'says nothing' ? IMPATIENT : {}).synced();
      await allWatching();
      assert.equal(ownerName('10.0.0.1'), 'a');
      const before = kube?.state().counts['pods']?.failures ?? 0;
      assert.ok(before >= 2, `${before} failures`);
      api.fault('pods', 'watch', fault, fault, fault);
      api.cut('pods');
      await until('a watch stands after several', () => requests('pods', 'watch').length >= 5 && api.watchers('pods') === 1);
      api.put('pods', rawPod({ name: 'b', ip: '10.0.0.2' }));
      await until('the owner of 10.0.0.2 is b', () => ownerName('10.0.0.2') === 'b');
      assert.equal(ownerName('10.0.0.1'), 'a');
      await until('the names are fresh', () => kube?.state().staleSinceMs === undefined);
    });
  }

  it('sends a line that is no JSON loses no event by it', async () => {
    await start().synced();
    await allWatching();
    api.send('pods', '{"type":"ADDED","object":{"metadata":');
    api.put('pods', rawPod({ name: 'b', ip: '10.0.0.2' }));
    await until('the owner of 10.0.0.2 is b', () => ownerName('10.0.0.2') === 'b');
    assert.equal(kube?.state().counts['pods']?.failures, 1);
  });

  it('falls silent within a watch is asked again from where it was', async () => {
    await start({ watchIdleMs: 80 }).synced();
    await until('the watch is opened again', () => requests('pods', 'watch').length >= 2);
    api.put('pods', rawPod({ name: 'b', ip: '10.0.0.2' }));
    await until('the owner of 10.0.0.2 is b', () => ownerName('10.0.0.2') === 'b');
  });

  for (const how of ['by status', 'by event'] as const) {
    it(`has forgotten the past (410 ${how}) is listed anew, and the index is never empty or half in between`, async () => {
      api.put('pods', rawPod({ name: 'gone', ip: '10.0.0.9' }));
      await start().synced();
      await allWatching();
      let looked = 0;
      kube?.onChange(() => {
        looked += 1;
        assert.equal(ownerName('10.0.0.1'), 'a');
      });
      if (how === 'by event') {
        api.fault(
          'pods',
          'watch',
          (response) => void response.end('{"type":"ERROR","object":{"code":410,"message":"old"}}\n') === undefined,
        );
      }
      // What happens while no watch is open is told by no event, ever.
      api.fault('pods', 'watch', (response) => {
        assert.equal(api.watchers('pods'), 0);
        api.remove('pods', 'gone');
        api.put('pods', rawPod({ name: 'new', ip: '10.0.0.9', readyMs: Date.now() }));
        api.compact();
        response.destroy();
        return true;
      });
      api.cut('pods');
      await until('the owner of 10.0.0.9 is new', () => ownerName('10.0.0.9') === 'new');
      assert.ok(looked > 0);
      assert.deepEqual(
        kube?.resolve([{ kind: 'all' }]).pods.map((pod) => pod.name),
        ['a', 'new'],
      );
    });
  }

  it('is away is told by one notice, and one when it is back; the names stay', async () => {
    await start().synced();
    await allWatching();
    await api.stop();
    await until('one notice is told', () => notices.length === 1);
    assert.equal(notices[0]?.code, 'KTRACE_N_API_UNREACHABLE');
    assert.equal(notices[0]?.node, 'host1');
    assert.match(notices[0]?.text ?? '', /as of 20\d\d-.*: /);
    assert.ok((kube?.state().staleSinceMs ?? 0) > 0);
    assert.equal(ownerName('10.0.0.1'), 'a');
    const failuresThen = kube?.state().counts['pods']?.failures ?? 0;
    await until('several more attempts have failed', () => (kube?.state().counts['pods']?.failures ?? 0) > failuresThen + 2);
    api.put('pods', rawPod({ name: 'b', ip: '10.0.0.2' }));
    await api.restart();
    await until(
      'a second notice is told and the owner of 10.0.0.2 is b',
      () => notices.length === 2 && ownerName('10.0.0.2') === 'b',
    );
    assert.equal(notices[1]?.code, 'KTRACE_N_API_BACK');
    assert.equal(kube?.state().staleSinceMs, undefined);
    assert.equal(requests('pods', 'list').length, 1);
  });

  it('ends every watch at once is not asked without a pause', async () => {
    const end: Fault = (response) => void response.writeHead(200).end() === undefined;
    api.fault('pods', 'watch', ...Array<Fault>(12).fill(end));
    const before = Date.now();
    await start().synced();
    await until('a watch stands', () => api.watchers('pods') === 1);
    assert.ok(Date.now() - before > 10 * 0.5 * QUICK.backoffMinMs);
  });
});

describe('closing', () => {
  it('ends all requests at once, and nothing is told any more', async () => {
    await start().synced();
    await allWatching();
    let told = 0;
    kube?.onChange(() => {
      told += 1;
    });
    kube?.close();
    await until('no watch and no connection is left', () => api.watchers() === 0 && api.connections() === 0);
    const asked = api.requests.length;
    api.put('pods', rawPod({ name: 'b', ip: '10.0.0.2' }));
    assert.deepEqual([told, api.requests.length, ownerName('10.0.0.2')], [0, asked, undefined]);
    kube?.close();
  });

  it('before the first list is in rejects who waits for it', async () => {
    api.fault('pods', 'list', () => true);
    const synced = start().synced();
    kube?.close();
    await assert.rejects(synced, { code: 'KTRACE_E_CLOSED' });
    await until('no connection is left', () => api.connections() === 0);
  });
});

describe('a kubeconfig', () => {
  it('of @kubernetes/client-node is all that is needed', async () => {
    const config = new KubeConfig();
    config.loadFromOptions({
      clusters: [{ name: 'c', server: api.url, skipTLSVerify: true }],
      users: [{ name: 'u', token: 'secret' }],
      contexts: [{ name: 'x', cluster: 'c', user: 'u' }],
      currentContext: 'x',
    });
    kube = startKube({ kubeConfig: config, node: 'host1', proxyMode: 'iptables' });
    await kube.synced();
    assert.equal(ownerName('10.0.0.1'), 'a');
  });

  it('without a cluster is refused with a clear error', () => {
    for (const cluster of [null, { server: 'nonsense' }]) {
      assert.throws(
        () => openApi({ getCurrentCluster: () => cluster, applyToHTTPSOptions: async () => undefined }),
        (error: unknown) => error instanceof KtraceError && error.code === 'KTRACE_E_KUBECONFIG',
      );
    }
  });
});
