import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { FlowOwners } from '../../../src/client/merge/flow-owners.ts';
import type { RecordedPod, Target } from '../../../src/event/target.ts';
import type { FlowEvent } from '../../../src/event/types.ts';
import { EPOCH_MS, flow, pod as podAt } from '../events.ts';
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

suite('who had which address', () => {
  const pods = (count: number, fromMs: (at: number) => number) =>
    Array.from({ length: count }, (_, at) => ({
      namespace: 'shop',
      name: `p${at}`,
      uid: `u${at}`,
      ips: [`10.1.${(at >> 8) & 255}.${at & 255}`],
      fromMs: fromMs(at),
    }));
  const SHOP: Target[] = [{ kind: 'namespace', name: 'shop' }];

  test('is asked of the latest of more than agents take, which is told, and --strict ends with 5', async (t) => {
    // The newest first, with uids as Kubernetes makes them.
    const many = pods(65_540, (at) => EPOCH_MS - at).map((one) => ({ ...one, uid: one.uid.padStart(36, '-') }));
    const { code, events, requests } = await dumpOf(t, [{ node: 'host1', answer: { pods: many } }], {}, SHOP);
    const owners = requests.get('host1')?.owners ?? [];
    assert.ok(owners.length > 30_000 && owners.length < 65_536, `${owners.length}`);
    assert.equal(owners.at(-1)?.fromMs, EPOCH_MS);
    assert.equal(owners[0]?.fromMs, EPOCH_MS - owners.length + 1);
    assert.deepEqual(
      events.map((event) => event.kind === 'notice' && event.code),
      ['KTRACE_N_OWNERS_LEFT_OUT'],
    );
    assert.equal(code, 5);
  });

  test('is asked of those of that time alone, and of nobody where all is asked for', async (t) => {
    const early = { ...pods(1, () => 0)[0], uid: 'early', toMs: SINCE_MS - 3_600_000 } as RecordedPod;
    const late = { ...pods(1, () => UNTIL_MS + 1)[0], uid: 'late' } as RecordedPod;
    const nodes = [{ node: 'host1', answer: { pods: [early, ...pods(2, () => 0), late] } }];
    const some = await dumpOf(t, nodes, {}, SHOP);
    assert.deepEqual(
      some.requests.get('host1')?.owners.map(({ uid }) => uid),
      ['u0', 'u1'],
    );
    const all = await dumpOf(t, nodes);
    assert.deepEqual([all.requests.get('host1')?.owners, all.code], [[], 0]);
  });
});

suite('an incident', () => {
  const own = { namespace: 'shop', name: 'db-0', uid: 'u-old' };
  const other = { ...own, uid: 'u-new' };
  const client = podAt('web', '10.244.1.2', 'host1', 41512);
  const incident = {
    ...{ id: '00000001', pod: own, atMs: EPOCH_MS, fromMs: EPOCH_MS - 300_000, toMs: EPOCH_MS + 60_000 },
    ...{ causes: [], records: 1, cut: 0, isWhole: true },
  };
  const to = (id: string, node: string, dst: FlowEvent['dst'], seconds = -10) => {
    const time = new Date(EPOCH_MS + seconds * 1000).toISOString();
    return flow({ id, node, src: { ...client, port: 1000 + id.length }, dst, startTime: time, endTime: time });
  };

  test('has the records of its pod alone, also from nodes that know another one by the same name', async (t) => {
    const loss = (pod: typeof own, count: number) =>
      ({
        v: 1,
        kind: 'lost',
        node: 'host2',
        stage: 'recorder-share',
        pod,
        count,
        from: '2026-11-22T08:45:00Z',
        to: '2026-11-22T08:45:01Z',
      }) as const;
    const dumped = await dumpOf(
      t,
      [
        {
          node: 'host1',
          answer: {
            incidents: [incident],
            pods: [{ ...own, ips: ['10.244.3.2'], fromMs: 0, toMs: EPOCH_MS }],
          },
          records: [to('a', 'host1', { ip: '10.244.3.2', port: 1, pod: own })],
        },
        {
          node: 'host2',
          answer: { pods: [{ ...other, ips: ['10.244.3.9', '10.244.3.2'], fromMs: EPOCH_MS }] },
          records: [
            to('bb', 'host2', { ip: '10.244.3.2', port: 2, pod: own }),
            // It could not name it: another node's pod.
            to('ccc', 'host2', { ip: '10.244.3.2', port: 3 }),
            to('dddd', 'host2', { ip: '10.244.3.9', port: 4, pod: other }, 5),
            // The address is another one's by now.
            to('eeeee', 'host2', { ip: '10.244.3.2', port: 5 }, 5),
            loss(own, 3),
            loss(other, 4),
          ],
        },
      ],
      { incident: '00000001' },
    );
    const told = dumped.events.map((event) =>
      event.kind === 'lost' ? event.count : event.kind === 'flow' ? event.id : event.kind,
    );
    assert.deepEqual(told.sort(), [3, 'a', 'bb', 'ccc']);
    assert.deepEqual([dumped.requests.get('host1')?.incident, dumped.requests.get('host2')?.incident], ['00000001', undefined]);
  });
});

suite('a conversation that two nodes recorded', () => {
  const ends = { src: podAt('frontend', '10.244.1.2', 'host1', 41512), dst: podAt('redis', '10.244.3.2', 'host3', 6379) };
  const at = (seconds: number) => new Date(EPOCH_MS + seconds * 1000).toISOString();
  const told = (node: string, state: FlowEvent['state'], seconds: number) =>
    flow({ id: node, node, state, startTime: at(0), endTime: at(seconds), ...ends });
  const gap = (fromS: number, toS: number) => ({ gaps: [{ fromMs: EPOCH_MS + fromS * 1000, toMs: EPOCH_MS + toS * 1000 }] });
  const shown = (events: readonly unknown[]) =>
    (events as FlowEvent[]).filter(({ kind }) => kind === 'flow').map(({ node, state }) => `${node} ${state}`);

  test('is told by the other end while the source’s node recorded nothing, and by the source’s again after that', async (t) => {
    const { events } = await dumpOf(t, [
      {
        node: 'host1',
        answer: gap(15, 35),
        records: [told('host1', 'open', 0), told('host1', 'update', 10), told('host1', 'close', 40)],
      },
      {
        node: 'host3',
        records: [0, 10, 20, 30, 40].map((s) => told('host3', s === 0 ? 'open' : s < 40 ? 'update' : 'close', s)),
      },
    ]);
    assert.deepEqual(shown(events), ['host1 open', 'host1 update', 'host3 update', 'host3 update', 'host1 close']);
  });

  test('has its end from the other end, where the source’s node could not tell it: it had not when its agent was killed', async (t) => {
    const { events } = await dumpOf(t, [
      { node: 'host1', answer: gap(15, 35), records: [told('host1', 'open', 0), told('host1', 'update', 10)] },
      // The last packet was before: the end was told when nothing more had come for a while.
      { node: 'host3', records: [told('host3', 'open', 0), told('host3', 'update', 10), told('host3', 'close', 12)] },
    ]);
    assert.deepEqual(shown(events), ['host1 open', 'host1 update', 'host3 close']);
  });

  test('is matched by what those nodes say of it that could have told it: as in a file, which has no more', () => {
    const owners = new FlowOwners(
      (node, fromMs, toMs) => node === 'host3' || fromMs > EPOCH_MS + 35_000 || toMs < EPOCH_MS + 15_000,
    );
    const judged = (node: string, state: FlowEvent['state'], seconds: number) => {
      const event = { ...told(node, state, seconds), judged: node };
      owners.learn(event, node);
      return owners.judgedIfShown(event, node);
    };
    assert.deepEqual(judged('host1', 'update', 10), ['host1']);
    assert.deepEqual(judged('host3', 'update', 10), undefined);
    assert.deepEqual(judged('host3', 'close', 12), ['host3']);
    assert.deepEqual(judged('host1', 'close', 40), ['host3', 'host1']);
  });

  test('has one end where both tell it, also shortly before one of them was killed', async (t) => {
    const records = (node: string) => [told(node, 'open', 0), told(node, 'update', 10), told(node, 'close', 12)];
    const { events } = await dumpOf(t, [
      { node: 'host1', answer: gap(15, 35), records: records('host1') },
      { node: 'host3', records: records('host3') },
    ]);
    assert.deepEqual(shown(events), ['host1 open', 'host1 update', 'host1 close']);
  });
});
