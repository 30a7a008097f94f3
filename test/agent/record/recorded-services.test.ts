import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import type { Recorder } from '../../../src/agent/record/recorder.ts';
import { answerRecorded } from '../../../src/agent/serve/dump/dump.ts';
import type { Target } from '../../../src/event/target.ts';
import { NamesIndex } from '../../../src/kube/index/names-index.ts';
import { putService, putSlice, rawService, rawSlice } from '../../kube/build.ts';
import { until } from '../../support/until.ts';
import { FakeFeed, packet } from '../serve/fake-feed.ts';
import { startRecorder } from './recorder/recorder-fixture.ts';

const ALL = { accounts: ['admin'], allowed: 'all' } as const;
const SPEC = { type: 'ClusterIP', clusterIPs: ['10.96.0.1'], ports: [{ name: 'http', port: 80, protocol: 'TCP' }] };
const EVER = { sinceMs: 0, untilMs: 8e15 };
const POD = { namespace: 'shop', name: 'a', uid: 'uid-a', node: 'host1', labels: {} };

interface Recording {
  recorder: Recorder;
  index: NamesIndex;
  feed: FakeFeed;
  stop(): Promise<void>;
}

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-services-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function start(t: TestContext, folder: string, instance = 'first'): Promise<Recording> {
  const index = new NamesIndex({ node: 'host1' });
  const feed = new FakeFeed(instance);
  const recorder = await startRecorder(t, {
    directory: folder,
    budgetBytes: 16 * 1024 * 1024,
    feed,
    ownPods: () => [{ pod: POD, ips: ['10.0.0.1'] }],
    services: () => index.servicesWithSlices(),
  });
  index.onChange(() => recorder.servicesChanged());
  return { recorder, index, feed, stop: () => recorder.close() };
}

/** shop/web with an endpoint here, bank/vault with one elsewhere, and one that a recording may say is a pod of another namespace. */
function fill({ index }: Recording): void {
  putService(index, rawService('web', SPEC, 'shop'));
  index.putSlice({
    namespace: 'shop',
    name: 'web-1',
    service: 'web',
    createdMs: undefined,
    ports: [{ name: '', port: 80, proto: 'tcp' }],
    endpoints: [
      { ip: '10.0.0.1', node: 'host1', pod: { namespace: 'shop', name: 'a', uid: 'uid-a' }, isReady: true },
      { ip: '10.0.0.9', node: 'host2', pod: { namespace: 'bank', name: 'secret', uid: 'uid-secret' }, isReady: true },
    ],
  });
  putService(index, rawService('vault', { ...SPEC, clusterIPs: ['10.96.0.2'] }, 'bank'));
  putSlice(index, rawSlice('vault-1', 'vault', [{ ip: '10.0.0.9', pod: 'secret' }], 'bank'));
}

/** What the answer has of Services: each by name, with the addresses of its endpoints. */
async function asked(
  { recorder }: Recording,
  targets: Target[],
  access: Parameters<typeof answerRecorded>[2] = ALL,
  services = EVER,
): Promise<Record<string, string[]>> {
  const answer = await answerRecorded(recorder, { targets, services }, access, undefined);
  assert.deepEqual(answer.damaged, []);
  assert.ok(answer.services !== undefined && answer.servicesCut === 0);
  return Object.fromEntries(
    answer.services.map(({ name, endpoints }) => [name, endpoints.map(({ ip, pod }) => `${ip} ${pod?.name ?? ''}`)]),
  );
}

const written = (recording: Recording, endpoints: number): Promise<unknown> =>
  until('the Services are on disk', async () => {
    const found = await asked(recording, [{ kind: 'all' }]);
    return Object.values(found).flat().length >= endpoints;
  });

suite('Services in a recording', () => {
  test('are told to who asks for them, by the targets', async (t) => {
    const recording = await start(t, folderFor(t));
    fill(recording);
    await written(recording, 2);
    const web = ['10.0.0.1 a', '10.0.0.9 secret'];
    assert.deepEqual(await asked(recording, [{ kind: 'all' }]), { web, vault: [] });
    assert.deepEqual(await asked(recording, [{ kind: 'service', namespace: 'shop', name: 'web' }]), { web });
    assert.deepEqual(await asked(recording, [{ kind: 'namespace', name: 'bank' }]), { vault: [] });
    assert.deepEqual(await asked(recording, [{ kind: 'pod', namespace: 'shop', name: 'a' }]), { web });
    assert.deepEqual(await asked(recording, [{ kind: 'pod', namespace: 'shop', name: 'b' }]), {});
    assert.deepEqual(await asked(recording, [{ kind: 'all' }], ALL, { sinceMs: 0, untilMs: 1 }), {});
    const plain = await answerRecorded(recording.recorder, { targets: [{ kind: 'all' }] }, ALL, undefined);
    assert.ok(!('services' in plain));
  });

  test('are told of their own namespaces alone, and of endpoints elsewhere the address', async (t) => {
    const recording = await start(t, folderFor(t));
    fill(recording);
    await written(recording, 2);
    const jane = { accounts: ['jane'], allowed: new Set(['shop']) };
    assert.deepEqual(await asked(recording, [{ kind: 'all' }], jane), { web: ['10.0.0.1 a', '10.0.0.9 '] });
    const answer = await answerRecorded(recording.recorder, { targets: [{ kind: 'all' }], services: EVER }, jane, undefined);
    for (const word of ['secret', 'bank', 'host2', 'vault']) assert.ok(!JSON.stringify(answer.services).includes(word), word);
  });

  test('have their endpoints once a record names them', async (t) => {
    const recording = await start(t, folderFor(t));
    fill(recording);
    await written(recording, 2);
    const service = { namespace: 'bank', name: 'vault', port: 'http' };
    recording.feed.publish({ ...packet(1), dst: { ip: '10.96.0.2', port: 80, service } });
    await written(recording, 3);
    assert.deepEqual(await asked(recording, [{ kind: 'namespace', name: 'bank' }]), { vault: ['10.0.0.9 secret'] });
  });

  test('that are gone are there still, with their times, also when the agent began anew in between', async (t) => {
    const folder = folderFor(t);
    const before = await start(t, folder);
    fill(before);
    await written(before, 2);
    await before.stop();
    const after = await start(t, folder, 'second');
    putService(after.index, rawService('web', SPEC, 'shop'));
    putSlice(after.index, rawSlice('web-1', 'web', [{ ip: '10.0.0.1', pod: 'a', node: 'host1' }], 'shop'));
    await until('the second run has written', () => after.recorder.stores.services.segments().length > 1);
    const read = async () =>
      (await answerRecorded(after.recorder, { targets: [{ kind: 'all' }], services: EVER }, ALL, undefined)).services ?? [];
    const ofWeb = async () => (await read()).find(({ name }) => name === 'web');
    await until('what the second run found', async () => (await ofWeb())?.endpoints.some(({ toMs }) => toMs === undefined));
    const web = await ofWeb();
    // The one that is there still is one, over both runs.
    assert.deepEqual(
      web?.endpoints.map(({ ip, toMs }) => [ip, toMs === undefined]),
      [
        ['10.0.0.1', true],
        ['10.0.0.9', false],
      ],
    );
    assert.equal(web?.states.length, 1);
    const vault = (await read()).find(({ name }) => name === 'vault');
    assert.equal(vault?.states[0]?.toMs === undefined, false);
    after.index.dropService('shop', 'web');
    await until('its end is told', async () => (await ofWeb())?.states[0]?.toMs !== undefined);
  });
});
