import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withData } from '../../../src/agent/pipeline/hop-data.ts';
import { hop, packet } from '../../client/events.ts';

test('hops bear the bytes that a follower sees, where they are others than at the hop before', () => {
  const event = packet({
    id: 'a',
    src: { ip: '10.244.1.2' },
    dst: { ip: '10.244.3.2' },
    hops: [hop('host1', 'veth1', 'in', 0), hop('host1', 'cni0', 'in', 1), hop('host1', 'flannel.1', 'out', 2)],
  });
  const of = (...bytes: number[]) => ({ bytes: Uint8Array.from(bytes), headerBytes: 2 });
  const hopCaptured = [of(1, 64, 7, 8), of(1, 64, 7, 9), of(1, 63, 7, 8)];
  const data = (snapBytes: number) => withData({ event, hopCaptured }, snapBytes).hops.map((one) => one.data);
  const text = (...bytes: number[]) => Buffer.from(bytes).toString('base64');
  assert.deepEqual(data(0), [text(1, 64), undefined, text(1, 63)]);
  assert.deepEqual(data(3), [text(1, 64, 7), undefined, text(1, 63, 7)]);
  assert.deepEqual(data(4), [text(1, 64, 7, 8), text(1, 64, 7, 9), text(1, 63, 7, 8)]);
  assert.ok(
    event.hops.every((one) => one.data === undefined),
    'other followers are told the record as it was',
  );
});
