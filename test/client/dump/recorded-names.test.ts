import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Asked } from '../../../src/client/dump/dump-nodes.ts';
import { RecordedNames } from '../../../src/client/dump/recorded-names.ts';
import type { RecordedPod } from '../../../src/event/target.ts';
import { EPOCH_MS, flow, hop, packet, pod } from '../events.ts';

function asked(node: string, pods: RecordedPod[]): Asked {
  const answer = { type: 'recorded', fromMs: 0, toMs: 1, pods, known: [], gaps: [], damaged: [] } as const;
  return { access: { node } as Asked['access'], error: undefined, answer: { ...answer, known: [], gaps: [], damaged: [] } };
}

const IP = '10.244.1.7';
const recorded = (name: string, fromMs: number, toMs?: number): RecordedPod => ({
  ...{ namespace: 'shop', name, uid: `uid-${name}`, ips: [IP], fromMs: EPOCH_MS + fromMs },
  ...(toMs === undefined ? {} : { toMs: EPOCH_MS + toMs }),
});
const names = new RecordedNames([asked('host1', [recorded('first', -5000, 10), recorded('second', 500)]), asked('host2', [])]);

describe('the names of all nodes’ recordings', () => {
  it('name a pod of another node in a record that one node alone has, by who had the address then', () => {
    const request = packet({
      id: 'p1',
      src: { ip: IP, world: true },
      dst: pod('web', '10.244.2.9', 'host2'),
      hops: [hop('host2', 'veth1', 'out', 0)],
      nat: [{ kind: 'dnat', before: { ip: IP }, after: pod('web', '10.244.2.9', 'host2'), seenBy: 'conntrack' }],
    });
    names.name(request);
    const first = { namespace: 'shop', name: 'first', uid: 'uid-first', node: 'host1' };
    assert.deepEqual(request.src, { ip: IP, pod: first });
    assert.deepEqual(request.nat?.[0]?.before, { ip: IP, pod: first });
    const startTime = new Date(EPOCH_MS + 600).toISOString();
    const later = flow({ id: 'f1', node: 'host2', src: pod('web', '10.244.2.9', 'host2'), dst: { ip: IP }, startTime });
    names.name(later);
    assert.equal(later.dst.pod?.name, 'second');
  });

  it('name who had an address last where nobody has it, for 15 minutes, and say that it is gone after the first 2 seconds', () => {
    const gone = new RecordedNames([asked('host1', [recorded('older', -9000, -500), recorded('first', -5000, 10)])]);
    const podAt = (afterMs: number) => {
      const event = packet({
        id: 'p',
        src: { ip: IP },
        dst: { ip: IP },
        hops: [],
        time: new Date(EPOCH_MS + afterMs).toISOString(),
      });
      gone.name(event);
      return [event.dst.pod?.name, event.dst.pod?.gone];
    };
    const since = new Date(EPOCH_MS + 10).toISOString();
    assert.deepEqual(podAt(0), ['first', undefined]);
    assert.deepEqual(podAt(2010), ['first', undefined]);
    assert.deepEqual(podAt(2011), ['first', since]);
    assert.deepEqual(podAt(15 * 60_000 + 10), ['first', since]);
    assert.deepEqual(podAt(15 * 60_000 + 11), [undefined, undefined]);
  });

  it('leave what a node has named itself, what nobody had before, and other addresses', () => {
    for (const end of [{ ip: IP, node: 'host1' }, pod('known', IP, 'host1'), { ip: '192.0.2.1', world: true as const }]) {
      const event = packet({ id: 'p1', src: { ...end }, dst: { ip: '10.0.0.1' }, hops: [] });
      names.name(event);
      assert.deepEqual(event.src, end);
    }
    const before = packet({
      id: 'p2',
      src: { ip: IP },
      dst: { ip: IP },
      hops: [],
      time: new Date(EPOCH_MS - 6000).toISOString(),
    });
    names.name(before);
    assert.deepEqual(before.src, { ip: IP });
  });
});
