import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { type NameLine, recordedOwners } from '../../src/store/owners.ts';
import { Shares } from '../../src/store/shares.ts';

const pod = (uid: string) => ({ namespace: 'default', name: `pod-${uid}`, uid });
const line = (uid: string, ip: string, fromMs: number, run: string, toMs?: number): NameLine => ({
  pod: pod(uid),
  ips: [ip],
  fromMs,
  run,
  ...(toMs === undefined ? {} : { toMs }),
});

async function intervals(lines: NameLine[]): Promise<[string, number, number][]> {
  const { pods } = await recordedOwners(lines);
  return pods.map(({ pod: { uid }, fromMs, toMs }) => [uid, fromMs, toMs]);
}

suite('who owned which address', () => {
  test('a pod that stays has no end, one that went has that which was seen', async () => {
    const lines = [
      { run: 'r', node: 'n', atMs: 0 },
      line('a', '10.0.0.1', 1, 'r'),
      line('b', '10.0.0.2', 2, 'r'),
      line('b', '10.0.0.2', 2, 'r', 9),
    ];
    assert.deepEqual(await intervals(lines), [
      ['a', 1, Infinity],
      ['b', 2, 9],
    ]);
  });

  test('an address has one owner at a time: its next one ends the one before', async () => {
    const lines = [{ run: 'r', node: 'n', atMs: 0 }, line('a', '10.0.0.1', 1, 'r'), line('b', '10.0.0.1', 5, 'r')];
    assert.deepEqual(await intervals(lines), [
      ['a', 1, 5],
      ['b', 5, Infinity],
    ]);
  });

  test('a pod that the next run of a killed recorder did not find ended before it, and the time between is a gap', async () => {
    const lines = [
      { run: 'r', node: 'n', atMs: 0 },
      line('a', '10.0.0.1', 1, 'r'),
      line('c', '10.0.0.3', 1, 'r'),
      { run: 's', node: 'n', atMs: 100, afterMs: 60 },
      line('c', '10.0.0.3', 100, 's'),
    ];
    assert.deepEqual(await intervals(lines), [
      ['a', 1, 100],
      ['c', 1, Infinity],
    ]);
    assert.deepEqual((await recordedOwners(lines)).gaps, [{ fromMs: 60, toMs: 100 }]);
  });
});

suite('shares of a recording', () => {
  const options = { budgetBytes: 3200, ageMs: 1000, excessPerSecond: 10, leastPods: 16 };

  test('a noisy pod spends its own share, then a bounded excess, and leaves others theirs', () => {
    const shares = new Shares(options);
    const lanes = { share: 0, excess: 0, cut: 0 };
    for (let at = 0; at < 1000; at++) lanes[shares.charge('noisy', 10, 0)] += 1;
    assert.deepEqual(lanes, { share: 10, excess: 10, cut: 980 });
    assert.equal(shares.charge('quiet', 10, 0), 'share');
  });

  test('within the age all shares together stay within the budget, however noisy the pods', () => {
    const shares = new Shares(options);
    let bytes = 0;
    for (let nowMs = 0; nowMs < options.ageMs; nowMs += 1)
      for (let pod = 0; pod < 40; pod++) if (shares.charge(`pod-${pod}`, 2, nowMs) === 'share') bytes += 2;
    assert.ok(bytes <= options.budgetBytes, `${bytes} of ${options.budgetBytes} bytes`);
  });
});
