import assert from 'node:assert/strict';
import { test } from 'node:test';
import { redact } from '../../../src/access/redact.ts';
import { COUNT_MS, followAll, openPipeline } from './pipeline-fixture.ts';

function failing(what: string): () => never {
  return () => {
    throw new Error(what);
  };
}

test('what fails while a follow runs ends nothing: the others go on, and followers are told once', (t) => {
  const probes = Object.assign(() => undefined, { lacking: () => undefined, refresh: failing('E2') });
  const failingTable = Object.assign(() => undefined, { changed: failing('E1'), take: () => undefined });
  const { pipeline, tell } = openPipeline(t, { tracer: { flowTable: failingTable, probes } });
  const { notices, codes } = followAll(pipeline);
  // No batch at all: its length cannot even be read.
  tell(undefined as unknown as Uint8Array);
  t.mock.timers.tick(COUNT_MS);
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual(codes(), ['KTRACE_N_AGENT_FAULT']);
  assert.match(notices[0]?.text ?? '', /probes: E2; batch: .*; flow table: E1/);
  assert.deepEqual(
    [...pipeline.guard.failures],
    [
      // When the follow began, too.
      ['probes', 3],
      ['batch', 1],
      ['flow table', 2],
    ],
  );
  assert.deepEqual(followAll(pipeline).codes(), ['KTRACE_N_AGENT_FAULT'], 'who comes later is told, too');
});

test('a fault that is over is no news for those who come later', (t) => {
  const { pipeline, tell } = openPipeline(t);
  followAll(pipeline);
  tell(undefined as unknown as Uint8Array);
  t.mock.timers.tick(COUNT_MS);
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual(followAll(pipeline).codes(), []);
  tell(undefined as unknown as Uint8Array);
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual(followAll(pipeline).codes(), ['KTRACE_N_AGENT_FAULT']);
});

test('targets that cannot be resolved again, and losses that cannot be read, end nothing', (t) => {
  let isReadable = true;
  const { pipeline } = openPipeline(t, {
    tracer: {
      stats: () => {
        if (!isReadable) throw new Error('gone');
        return { lostRing: 0, lostScratch: 0, cut: 0 };
      },
    },
    interfaces: {
      newPodAddresses: () => {
        if (!isReadable) throw new Error('gone');
        return [];
      },
    },
  });
  const { codes } = followAll(pipeline);
  isReadable = false;
  pipeline.resolveAgain({ kind: 'list' });
  t.mock.timers.tick(COUNT_MS);
  assert.deepEqual(
    [...pipeline.guard.failures],
    [
      ['targets', 1],
      ['losses', 1],
    ],
  );
  assert.deepEqual(codes(), ['KTRACE_N_AGENT_FAULT']);
  isReadable = true;
  pipeline.resolveAgain({ kind: 'list' });
  t.mock.timers.tick(COUNT_MS);
  assert.equal(pipeline.guard.failures.get('targets'), 1);
});

test('what cannot be taken down leaves nothing else standing, and the next follow begins anew', (t) => {
  const actives: boolean[] = [];
  const opened = openPipeline(t, {
    targets: {
      set: (targets: { addresses: Map<string, number> }) => targets.addresses.size === 0 && assert.fail('no map'),
    },
    interfaces: {
      setActive(isActive: boolean) {
        actives.push(isActive);
        if (!isActive) assert.fail('an interface hangs');
      },
    },
  });
  followAll(opened.pipeline).follower.close();
  assert.deepEqual([opened.rings, opened.pipeline.guard.failures.get('stop')], [0, 2]);
  followAll(opened.pipeline);
  assert.deepEqual([opened.rings, actives], [1, [true, false, true]]);
});

test('targets that the kernel goes on refusing are told once, until it takes them', (t) => {
  let refusal: string | undefined = 'no room';
  const set = () => {
    if (refusal !== undefined) throw new Error(refusal);
  };
  const { pipeline } = openPipeline(t, { targets: { set } });
  const { codes } = followAll(pipeline);
  const told = () => codes().filter((code) => code === 'KTRACE_N_TARGETS_INCOMPLETE').length;
  for (let times = 0; times < 5; times += 1) {
    pipeline.resolveAgain({ kind: 'list' });
    t.mock.timers.tick(1000);
  }
  assert.equal(told(), 1);
  refusal = 'no memory';
  pipeline.resolveAgain({ kind: 'list' });
  t.mock.timers.tick(1000);
  assert.equal(told(), 2, 'another reason is news');
  refusal = undefined;
  pipeline.resolveAgain({ kind: 'list' });
  t.mock.timers.tick(1000);
  assert.ok(!followAll(pipeline).codes().includes('KTRACE_N_TARGETS_INCOMPLETE'), 'it is over for those who come later');
});

test('no name of a pod’s interface is in a notice as it reaches who may not see all pods, whatever it is about', (t) => {
  const failed = [
    { name: 'eth0', isOfPod: false },
    { name: 'cali1', isOfPod: true },
    { name: 'cali2', isOfPod: true },
  ];
  const { pipeline } = openPipeline(t, {
    interfaces: { lacking: () => ({ text: 'x', isEverything: false, failed }), reattach: () => failed.slice(0, 2) },
  });
  const { notices } = followAll(pipeline);
  t.mock.timers.tick(COUNT_MS);
  const seen = notices.map((notice) => redact(notice, new Set(['shop'])));
  assert.deepEqual(
    notices.map(({ code, interfaces }) => [code, interfaces]),
    [
      ['KTRACE_N_INTERFACES_INCOMPLETE', ['cali1', 'cali2']],
      ['KTRACE_N_REATTACHED', ['cali1']],
    ],
  );
  assert.match(notices[1]?.text ?? '', /at eth0 and 1 pod's interface: somebody removed/);
  assert.doesNotMatch(JSON.stringify(seen), /cali/);
});
