import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PacketEvent } from '../../../src/event/types.ts';
import { assertNothingTwice } from './events.ts';

const RESET: PacketEvent = {
  v: 1,
  kind: 'packet',
  id: 'a',
  fingerprint: '6 0 7',
  time: '2026-11-22T08:45:00.123456789Z',
  nodes: ['host1'],
  proto: 'tcp',
  len: 40,
  dir: 'request',
  src: { ip: '10.244.1.2', port: 41512 },
  dst: { ip: '10.244.2.2', port: 443 },
  tcp: { flags: 'R', seq: 7, ack: 0 },
  hops: [{ node: 'host1', if: 'veth1', dir: 'in', atNs: 0 }],
  verdict: 'forwarded',
};

test('one sighting in two packets is told twice, also where their records begin at other hops', () => {
  const other = {
    ...RESET,
    id: 'b',
    time: '2026-11-22T08:45:00.123456700Z',
    hops: [{ ...RESET.hops[0], atNs: 89 }],
  } as PacketEvent;
  assert.throws(() => assertNothingTwice([RESET, other]), /one packet as two/);
});

test('two equal packets at other times are two packets', () => {
  assertNothingTwice([RESET, { ...RESET, id: 'b', time: '2026-11-22T08:45:00.123456790Z' }]);
});

test('an id comes again to amend only, and amends what was told', () => {
  assertNothingTwice([RESET, { ...RESET, amends: true }]);
  assert.throws(() => assertNothingTwice([RESET, RESET]), /told twice/);
  assert.throws(() => assertNothingTwice([RESET, { ...RESET, id: 'b', amends: true }]), /amends nothing/);
});
