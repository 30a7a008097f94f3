import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NamesIndex } from '../../../src/kube/index/names-index.ts';
import { fc } from '../../support/fast-check.ts';
import { putPod, putSlice, rawSlice, testClock } from '../build.ts';

const T0 = Date.parse('2026-11-22T12:00:00Z');
const IPS = ['10.0.0.1', '10.0.0.2'];
const SLICES = ['one', 'two'];

/** A pod keeps its address as long as it lives; addresses go from one pod to the next. */
const pod = fc.constantFrom(
  { pod: 'a', ip: '10.0.0.1' },
  { pod: 'b', ip: '10.0.0.1' },
  { pod: 'c', ip: '10.0.0.2' },
  { pod: 'd', ip: '10.0.0.2' },
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
    else if (one.do === 'pod') putPod(index, { name: one.pod.pod, ip: one.pod.ip });
    else if (one.do === 'drop pod') index.dropPod(`uid-${one.pod.pod}`);
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
