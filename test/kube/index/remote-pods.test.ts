import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NamesIndex } from '../../../src/kube/index/names-index.ts';
import { RemotePods, withoutService, withService } from '../../../src/kube/index/remote-pods.ts';
import { fc } from '../../support/fast-check.ts';
import { putPod, putSlice, rawSlice, testClock } from '../build.ts';

const T0 = Date.parse('2026-11-22T12:00:00Z');
const IPS = ['10.0.0.1', 'fd00::2'];
const SLICES = ['one', 'two'];

/** A pod keeps its address as long as it lives; addresses go from one pod to the next. Whoever writes a slice may call a pod anything. */
const pod = fc.constantFrom(
  { pod: 'a', ip: '10.0.0.1', uid: '11111111-2222-4333-8444-55555555555a' },
  { pod: 'b', ip: '10.0.0.1', uid: 'uid-b' },
  { pod: 'c', ip: 'fd00::2', uid: '11111111-2222-4333-8444-55555555555c' },
  { pod: 'd', ip: 'fd00::2', uid: '11111111-2222-4333-8444-55555555555d' },
);
const slice = fc.constantFrom(...SLICES);
const namespace = fc.constantFrom('default', 'other');
const step = fc.oneof(
  fc.record({ do: fc.constant('slice'), slice, namespace, ends: fc.array(pod, { maxLength: 3 }) } as const),
  fc.record({ do: fc.constant('drop slice'), slice, namespace } as const),
  fc.record({ do: fc.constant('pod'), pod } as const),
  fc.record({ do: fc.constant('drop pod'), pod } as const),
  fc.record({ do: fc.constant('wait'), seconds: fc.integer({ min: 1, max: 600 }) } as const),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

describe('pods of other nodes', () => {
  it('are told the same whether their addresses were asked for all the time or never before', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
        const asked = run(steps, (index, nowMs) => void answers(index, nowMs));
        const never = run(steps, () => undefined);
        assert.deepEqual(never, asked);
      }),
      { numRuns: 500 },
    );
  });

  it('are counted, and gone when nothing names them any more', () => {
    const { index, clock } = start();
    putSlice(index, rawSlice('one', 'one', [{ ip: '10.0.0.1', pod: 'a' }]));
    putSlice(index, rawSlice('two', 'two', [{ ip: '10.0.0.1', pod: 'a' }]));
    assert.equal(index.sizes().pods, 1);
    index.dropSlice('default', 'one');
    assert.equal(index.sizes().ended, 0);
    assert.equal(ownerName(index, '10.0.0.1', T0), 'default/a');
    index.dropSlice('default', 'two');
    assert.equal(ownerName(index, '10.0.0.1', T0), 'default/a');
    clock.set(T0 + 16 * 60_000);
    index.sweep();
    assert.deepEqual([index.sizes().pods, ownerName(index, '10.0.0.1', T0)], [0, undefined]);
  });
});

describe('the table of pods of other nodes', () => {
  const uidOf = (number: number) => `${String(number).padStart(8, '0')}-0000-4000-8000-000000000000`;
  const ipOf = (number: number) => (number % 5 === 0 ? `fd00::${number + 1}` : `10.0.${number >> 8}.${number & 255}`);
  const factOf = (number: number) => ({
    ip: ipOf(number),
    node: `host${number % 3}`,
    pod: { namespace: 'default', name: `pod-${number}`, uid: number % 7 === 0 ? `uid-${number}` : uidOf(number) },
  });

  it('finds each by its address whatever came and went before, and tells it as it was given', () => {
    const number = fc.integer({ min: 0, max: 399 });
    const change = fc.oneof(fc.record({ add: number }), fc.record({ drop: number }));
    fc.assert(
      fc.property(fc.array(change, { minLength: 200, maxLength: 1200, size: 'max' }), (changes) => {
        const pods = new RemotePods();
        const rows = new Map<number, { row: number; endpoints: number }>();
        for (const one of changes) {
          const number = 'add' in one ? one.add : one.drop;
          const known = rows.get(number);
          if ('drop' in one) {
            if (known === undefined) continue;
            pods.release(known.row, 'default/s');
            known.endpoints -= 1;
            if (known.endpoints === 0) rows.delete(number);
          } else if (known === undefined) rows.set(number, { row: pods.add(factOf(number), number, 'default/s'), endpoints: 1 });
          else {
            pods.hold(known.row, 'default/s');
            known.endpoints += 1;
          }
        }
        for (let number = 0; number < 400; number += 1) assert.equal(pods.at(ipOf(number)), rows.get(number)?.row);
        for (const [number, { row, endpoints }] of rows) {
          const { ip, node, pod } = factOf(number);
          assert.deepEqual(
            [pods.ip(row), pods.node(row), pods.pod(row), pods.fromMs(row), pods.endpoints(row)],
            [ip, node, pod, number, endpoints],
          );
          assert.ok(pods.isPod(row, pod) && pods.isAt(row, ip));
          assert.ok(!pods.isPod(row, { ...pod, namespace: 'other' }) && !pods.isPod(row, factOf(number + 1).pod));
        }
        assert.equal(pods.size, rows.size);
      }),
      { numRuns: 60 },
    );
  });

  it('keeps the name alone of the Service that one is in, also after a slice that changed had it twice', () => {
    const changed = withoutService(withService(withService(undefined, 'default/s'), 'default/s'), 'default/s');
    assert.equal(changed, 'default/s');
    assert.equal(withoutService(withService(changed, 'default/other'), 'default/s'), 'default/other');
    assert.equal(withoutService(changed, 'default/other'), 'default/s');
    assert.equal(withoutService(changed, 'default/s'), undefined);
  });

  it('tells the Services of one whether or not it is kept in full, and for as long as an endpoint of each is left', () => {
    const pods = new RemotePods();
    const services = () => {
      const found = new Set<string>();
      pods.addServices(found, ipOf(1));
      return [...found].sort();
    };
    const row = pods.add(factOf(1), 0, 'default/one');
    pods.hold(row, 'default/one');
    pods.hold(row, 'default/two');
    pods.keepInFull(row, () => {
      assert.equal(pods.at(ipOf(1)), undefined);
      return { owner: { kind: 'pod', pod: factOf(1).pod }, ips: [], endpoints: 3, goneMs: Number.POSITIVE_INFINITY };
    });
    assert.deepEqual(services(), ['default/one', 'default/two']);
    pods.release(row, 'default/one');
    assert.deepEqual(services(), ['default/one', 'default/two']);
    pods.release(row, 'default/one');
    assert.deepEqual(services(), ['default/two']);
    pods.release(row, 'default/two');
    assert.deepEqual(services(), []);
    assert.equal(pods.add(factOf(2), 0, 'default/one'), row, 'its row is another one’s now');
    assert.deepEqual([pods.record(row), pods.size], [undefined, 1]);
  });
});

function start() {
  const clock = testClock(T0);
  return { clock, index: new NamesIndex({ node: 'host1', now: clock.now }) };
}

/** Takes the steps, and gives what is known after the last one about all times before. */
function run(steps: readonly Step[], afterEach: (index: NamesIndex, nowMs: number) => void): unknown {
  const { clock, index } = start();
  for (const one of steps) {
    if (one.do === 'slice') putSlice(index, rawSlice(one.slice, one.slice, one.ends, one.namespace));
    else if (one.do === 'drop slice') index.dropSlice(one.namespace, one.slice);
    else if (one.do === 'pod') putPod(index, { name: one.pod.pod, ip: one.pod.ip, uid: one.pod.uid });
    else if (one.do === 'drop pod') index.dropPod(one.pod.uid);
    else clock.set(clock.now() + one.seconds * 1000);
    afterEach(index, clock.now());
  }
  return { answers: answers(index, clock.now()), sizes: index.sizes() };
}

function answers(index: NamesIndex, nowMs: number): (string | undefined)[] {
  const times = Array.from({ length: 20 }, (_, at) => nowMs - at * 7_000);
  return IPS.flatMap((one) => times.map((timeMs) => ownerName(index, one, timeMs)));
}

function ownerName(index: NamesIndex, address: string, timeMs: number): string | undefined {
  const owner = index.ownerOf(address, timeMs);
  return owner?.kind === 'pod' ? `${owner.pod.namespace}/${owner.pod.name}` : owner?.kind;
}
