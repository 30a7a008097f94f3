import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { dumpOf, SINCE_MS, UNTIL_MS } from './recording-nodes.ts';

const DAMAGE = { name: 'names/00001764000000-0001.kseg', at: 16, bytes: 900 };

suite('what a dump lacks', () => {
  test('damage of the names, and of the Services, is told with its place, and --strict ends with 5', async (t) => {
    const { code, events, stderr } = await dumpOf(t, [{ node: 'host1' }, { node: 'host2', answer: { damaged: [DAMAGE] } }]);
    const text = '900 bytes of names/00001764000000-0001.kseg at 16 are damaged and were passed over';
    assert.deepEqual(events, [{ v: 1, kind: 'notice', node: 'host2', level: 'warn', code: 'KTRACE_N_RECORD_DAMAGED', text }]);
    assert.equal(code, 5, stderr);
  });

  const pod = (fromMs: number, toMs?: number) => ({
    ...{ namespace: 'shop', name: 'web', uid: 'u1', ips: ['10.0.0.1'], fromMs },
    ...(toMs === undefined ? {} : { toMs }),
  });
  const MINUTE_MS = 60_000;
  const beganMs = SINCE_MS + 10 * MINUTE_MS;
  const deleted = { share: beganMs - MINUTE_MS };
  for (const [what, answer, level, code] of [
    ['what a pod of then had is deleted', { deleted, pods: [pod(0)] }, 'warn', 5],
    ['a pod was there then, and is gone', { deleted, pods: [pod(0, SINCE_MS + MINUTE_MS)] }, 'warn', 5],
    ['the pod came when it was there', { deleted, pods: [pod(beganMs)] }, 'info', 0],
    ['the pod was gone before', { deleted, pods: [pod(0, SINCE_MS - MINUTE_MS)] }, 'info', 0],
    ['nothing is deleted', { pods: [pod(0)] }, 'info', 0],
    ['what is deleted is older', { fromMs: 0, deleted: { share: SINCE_MS - 1 }, pods: [pod(0)] }, undefined, 0],
    ['what is deleted was over the shares', { fromMs: 0, deleted: { excess: beganMs }, pods: [pod(0)] }, 'info', 0],
  ] as const) {
    test(`a recording that begins later than what is asked for is ${level === 'warn' ? 'incomplete' : 'complete'} where ${what}`, async (t) => {
      const whole = { fromMs: beganMs, ...answer, pods: [...answer.pods] };
      const dumped = await dumpOf(t, [{ node: 'host1', answer: whole }, { node: 'older' }]);
      const notices = dumped.events.map((event) => event.kind === 'notice' && [event.node, event.level, event.code]);
      assert.deepEqual(notices, level === undefined ? [] : [['host1', level, 'KTRACE_N_RECORD_BEGINS']]);
      assert.equal(dumped.code, code);
    });
  }

  test('a time before any record of the targets is no gap of a time behind it', async (t) => {
    const answer = { fromMs: beganMs, deleted, pods: [pod(beganMs, UNTIL_MS)] };
    const { code } = await dumpOf(t, [{ node: 'host1', answer }], { sinceMs: beganMs });
    assert.equal(code, 0);
  });

  test('damage of an incident is of no dump but its own', async (t) => {
    const damaged = [{ ...DAMAGE, name: '00000000000001-00000000.kinc' }];
    const { code, events } = await dumpOf(t, [{ node: 'host1', answer: { damaged } }]);
    assert.deepEqual([code, events], [0, []]);
  });
});
