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

  /** What pods spend within shares by asking for more than there is, a record of two bytes at a time. */
  function spend(shares: Shares, pods: readonly string[], nowMs: number): number {
    let bytes = 0;
    for (const pod of pods) while (shares.charge(pod, 2, nowMs) === 'share') bytes += 2;
    return bytes;
  }
  const named = (prefix: string, count: number) => Array.from({ length: count }, (_, at) => `${prefix}-${at}`);

  test('however many pods come and go, all together stay within the budget in any age, and who was there keeps its share', () => {
    const shares = new Shares(options);
    const spent: [number, number][] = [];
    for (let nowMs = 0; nowMs < 3 * options.ageMs; nowMs += 5) {
      if (nowMs % 500 === 0) {
        assert.equal(shares.charge('quiet', 2, nowMs), 'share');
        spent.push([nowMs, 2]);
      }
      spent.push([nowMs, spend(shares, [`at-${nowMs}`, `at-${nowMs - 5}`], nowMs)]);
      if (nowMs % 250 === 0) shares.forget(nowMs);
    }
    for (const [fromMs] of spent) {
      const bytes = spent.reduce((sum, [atMs, of]) => sum + (atMs >= fromMs && atMs < fromMs + options.ageMs ? of : 0), 0);
      assert.ok(bytes <= options.budgetBytes, `${bytes} of ${options.budgetBytes} bytes from ${fromMs} ms on`);
    }
  });

  test('pods that come at once when others have spent theirs get no second budget, and their part of it later', () => {
    const shares = new Shares(options);
    const first = spend(shares, named('first', 16), 0);
    const second = spend(shares, named('second', 184), 0);
    assert.ok(first + second <= options.budgetBytes / 2, `${first} and ${second} bytes`);
    const later = spend(shares, named('second', 184), options.ageMs / 2);
    assert.ok(later >= 0.9 * (184 / 200) * (options.budgetBytes / 4), `${later} bytes`);
  });

  test('where pods are quiet, each of 250 that come has its whole part', () => {
    const shares = new Shares({ ...options, budgetBytes: 250 * 32 });
    for (const pod of named('quiet', 249)) assert.equal(shares.charge(pod, 1, 0), 'share');
    const full = (250 * 32) / 2 / 250;
    const spent = spend(shares, ['new'], 1);
    assert.ok(spent > 0.8 * full && spent <= full, `${spent} of ${full} bytes`);
  });

  test('what one peer begins takes half of a share at most, also by many addresses, and leaves the pod and other peers the rest', () => {
    for (const peer of ['flooder', '']) {
      const shares = new Shares(options);
      let bytes = 0;
      while (shares.charge('victim', 2, 0, peer) === 'share') bytes += 2;
      assert.equal(bytes, 50);
      assert.deepEqual([shares.charge('victim', 2, 0), shares.charge('victim', 2, 0, 'other')], ['share', 'share']);
      assert.notEqual(shares.charge('victim', 2, 0, peer), 'share');
    }
  });

  test('peers without number are told apart up to a bound, and forgotten after the age', () => {
    const shares = new Shares({ ...options, excessPerSecond: 0 });
    for (const peer of named('peer', 10_000)) shares.charge('victim', 0.001, 0, peer);
    let bytes = 0;
    for (const peer of named('more', 10_000)) if (shares.charge('victim', 1, 0, peer) === 'share') bytes += 1;
    assert.ok(bytes <= 50, `${bytes} bytes of those behind the bound`);
    shares.charge('victim', 1, options.ageMs + 1);
    shares.forget(options.ageMs + 1);
    assert.equal(shares.charge('victim', 40, options.ageMs + 1, 'fresh'), 'share');
  });
});
