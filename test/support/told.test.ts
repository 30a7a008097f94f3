import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PacketEvent } from '../../src/event/types.ts';
import { packet } from '../client/events.ts';
import { folded, toldPacket } from './told.ts';

const PACKET = { src: { ip: '10.244.1.2' }, dst: { ip: '10.244.2.2' }, hops: [], nodes: ['host1'] };
const FIRST = packet({ ...PACKET, id: 'a' });
const LAST: PacketEvent = { ...FIRST, amends: true, nodes: ['host1', 'host2'], verdict: 'delivered' };
const OTHER = packet({ ...PACKET, id: 'b' });

test('a packet is known as it was told last, where it was told first', () => {
  assert.deepEqual(folded([FIRST, OTHER, LAST]), [LAST, OTHER]);
});

test('assertions wait for the telling that they hold for', async () => {
  const tellings = [FIRST];
  const wait = toldPacket(
    'a',
    () => tellings,
    ({ id }) => id === 'a',
    {
      check: ({ nodes }) => assert.equal(nodes.length, 2),
    },
  );
  setImmediate(() => tellings.push(OTHER, LAST));
  assert.equal(await wait, LAST);
});

test('the first that is so has to be as asserted: another one does not do in its place', async () => {
  const tellings = [FIRST, { ...LAST, id: 'c' }];
  const wait = toldPacket(
    'a',
    () => tellings,
    () => true,
    {
      check: ({ nodes }) => assert.equal(nodes.length, 2),
      timeoutMs: 20,
    },
  );
  await assert.rejects(wait, (error: Error) => {
    assert.match(
      error.message,
      /^a: a: not within|^a: Expected values to be strictly equal[\s\S]*it was told 1 times:\n\{.*"id":"a"/,
    );
    return true;
  });
});

test('what is over is not waited for', async () => {
  const wait = toldPacket(
    'a',
    () => [OTHER],
    ({ id }) => id === 'a',
    { over: () => 'it has ended' },
  );
  await assert.rejects(wait, /^Error: a: it has ended$/);
});
