import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tally } from '../../../src/client/merge/tally.ts';
import { flow, packet, pod } from '../events.ts';

const ENDS = { src: pod('a', '10.244.1.2', 'host1'), dst: pod('b', '10.244.1.3', 'host1'), hops: [] };
const DROP = { reason: 'NETFILTER_DROP', at: 'nf_hook_slow' };

test('a packet is counted once however often it is told, as dropped when any telling says so, and a conversation once', () => {
  const tally = new Tally();
  tally.note(packet({ ...ENDS, id: 'a' }));
  tally.note(packet({ ...ENDS, id: 'b', drop: DROP }));
  tally.note(packet({ ...ENDS, id: 'a', amends: true, drop: DROP }));
  tally.note(packet({ ...ENDS, id: 'a', amends: true, drop: DROP }));
  tally.note(flow({ ...ENDS, id: 'f', node: 'host1', state: 'update' }));
  tally.note(flow({ ...ENDS, id: 'f', node: 'host1', state: 'close' }));
  tally.note({ v: 1, kind: 'lost', node: 'host1', stage: 'pod-rate', count: 7, from: '', to: '' });
  const { packets, dropped, flows, records } = tally;
  assert.deepEqual({ packets, dropped, flows, records }, { packets: 2, dropped: 2, flows: 1, records: 4 });
});
