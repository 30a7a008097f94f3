import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withoutAddress } from '../../../src/agent/access/hidden-address.ts';
import type { KtraceEvent, PacketEvent } from '../../../src/event/types.ts';

const droppedAt = (at: string) => ({ kind: 'packet', drop: { reason: 'NO_SOCKET', at, if: 'eth0' } }) as unknown as PacketEvent;

test('a record that holds an address of the kernel is told without it', () => {
  const shown = withoutAddress(droppedAt('0xffffffff81a2b3c4'));
  assert.deepEqual(shown, droppedAt('unknown'));
});

test('every other record is told as it is', () => {
  for (const event of [droppedAt('nft_do_chain'), { kind: 'packet' } as KtraceEvent, { kind: 'flow' } as KtraceEvent])
    assert.equal(withoutAddress(event), event);
});
