import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { dumpSelection } from '../../../src/agent/serve/dump/dump-selection.ts';
import type { Endpoint, FlowEvent } from '../../../src/event/types.ts';

const ZERO = { request: 0, reply: 0 };
const flow = (src: Endpoint, dst: Endpoint, more: Partial<FlowEvent> = {}): FlowEvent => ({
  ...{ v: 1, kind: 'flow', id: 'f', state: 'close', node: 'n', proto: 'tcp', src, dst, packets: ZERO, bytes: ZERO },
  ...{ startTime: '', endTime: '', ...more },
});
const pod = (name: string, uid: string) => ({ namespace: 'default', name, uid, labels: { app: name } });
const WORLD: Endpoint = { ip: '192.0.2.1', port: 80, world: true };
const TARGET = { kind: 'pod', namespace: 'default', name: 'old' } as const;

suite('which records a dump is of', () => {
  const owners = [{ ip: '10.0.0.1', uid: 'o', fromMs: 100, toMs: 200 }];

  test('an end that its node could name is judged by that name, whatever its address', () => {
    const { isOf } = dumpSelection([TARGET], owners);
    assert.ok(isOf(flow({ ip: '10.0.0.9', pod: pod('old', 'o') }, WORLD), 999));
    assert.ok(!isOf(flow({ ip: '10.0.0.1', pod: pod('new', 'p') }, WORLD), 150));
  });

  test('an end without a name is the pod that had its address then, and nobody before or after', () => {
    const { isOf } = dumpSelection([TARGET], owners);
    const nameless = flow({ ip: '10.0.0.1' }, WORLD);
    assert.deepEqual(
      [99, 100, 200, 201].map((timeMs) => isOf(nameless, timeMs)),
      [false, true, true, false],
    );
  });

  test('a Service is found by its translations too', () => {
    const { isOf } = dumpSelection([{ kind: 'service', namespace: 'default', name: 'db' }], []);
    const nat = (service: string) => [{ kind: 'dnat' as const, before: WORLD, after: WORLD, seenBy: 'kprobe' as const, service }];
    assert.ok(isOf(flow(WORLD, WORLD, { nat: nat('default/db:sql') }), 0));
    assert.ok(!isOf(flow(WORLD, WORLD, { nat: nat('default/db2') }), 0));
  });

  test('a pod is looked for by name, uid and address; a selector in every block', () => {
    assert.deepEqual(dumpSelection([TARGET], owners).keys, ['pod default/old', '10.0.0.1', 'o']);
    assert.deepEqual(dumpSelection([TARGET], []).keys, ['pod default/old']);
    assert.equal(dumpSelection([{ kind: 'selector', selector: 'app=x' }], []).keys, undefined);
  });

  test('no record of it is passed over by its line, and most of others are', () => {
    const owners = [{ ip: '10.0.0.1', uid: 'uid-of-old', fromMs: 100, toMs: 200 }];
    const db = { kind: 'service', namespace: 'default', name: 'db' } as const;
    const service = { namespace: 'default', name: 'db', port: 'sql' };
    const nat = [{ kind: 'dnat' as const, before: WORLD, after: WORLD, seenBy: 'kprobe' as const, service: 'default/db:sql' }];
    const records = [
      flow({ ip: '10.0.0.9', pod: pod('old', 'x') }, WORLD),
      flow(WORLD, { ip: '10.0.0.9', pod: pod('renamed', 'uid-of-old') }),
      flow({ ip: '10.0.0.1' }, WORLD),
      flow(WORLD, { ip: '10.96.0.1', service }),
      flow(WORLD, WORLD, { nat }),
      flow({ ip: '10.0.0.2', pod: pod('other', 'p') }, WORLD),
    ];
    const found = (targets: Parameters<typeof dumpSelection>[0]) => {
      const { isOf, mayBeIn } = dumpSelection(targets, targets.length === 0 ? [] : owners);
      return records.map((record) => {
        const may = mayBeIn(JSON.stringify(record));
        assert.ok(may || !isOf(record, 150));
        return may;
      });
    };
    assert.deepEqual(found([TARGET]), [true, true, true, false, false, false]);
    assert.deepEqual(found([TARGET, db]), [true, true, true, true, true, false]);
    for (const all of [{ kind: 'all' }, { kind: 'node', name: 'n' }, { kind: 'selector', selector: 'app=other' }] as const) {
      assert.ok(found([all]).every((may) => may));
    }
    const lost = JSON.stringify({ v: 1, kind: 'lost', stage: 'flow-table', count: 1 });
    assert.ok(dumpSelection([TARGET], owners).mayBeIn(lost));
    // More words than it pays to look for.
    const many = Array.from({ length: 9 }, (_, at) => ({ ip: `10.0.1.${at}`, uid: 'uid-of-old', fromMs: 0, toMs: 1 }));
    assert.ok(dumpSelection([TARGET], many).mayBeIn('{}'));
  });
});
