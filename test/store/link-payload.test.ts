import assert from 'node:assert/strict';
import { test } from 'node:test';
import { payloadOf } from '../../src/store/capture/link-payload.ts';

test('the tag of a captured frame is told, of two the outer one, and its priority is no part of the id', () => {
  const vlanOf = (...header: string[]) =>
    payloadOf({ layer: 'ethernet', bytes: Buffer.from(`${'00'.repeat(12)}${header.join('')}45`, 'hex') });
  assert.deepEqual(vlanOf('0800')?.vlan, undefined);
  assert.deepEqual(vlanOf('8100', 'a064', '0800')?.vlan, { id: 100 });
  assert.deepEqual(vlanOf('88a8', '0007', '8100', 'a064', '86dd')?.vlan, { id: 7 });
});
