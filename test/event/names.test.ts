import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  dropReasonName,
  icmpName,
  isEchoReply,
  isEchoRequest,
  isIcmpError,
  protocolName,
  tcpFlagLetters,
} from '../../src/event/names.ts';

test('protocols have names, or their number', () => {
  assert.deepEqual([1, 6, 17, 58, 132, 47, 255].map(protocolName), ['icmp', 'tcp', 'udp', 'icmp6', 'sctp', '47', '255']);
});

test('TCP flags are written in the order F after S, then R P A U E C', () => {
  assert.deepEqual([0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0xc2, 0, 0xff].map(tcpFlagLetters), [
    'S',
    'SA',
    'A',
    'PA',
    'FA',
    'R',
    'RA',
    'SEC',
    '',
    'SFRPAUEC',
  ]);
});

test('ICMP messages are named by code where they are unreachable, else by type', () => {
  const table: [number, number, number, string][] = [
    [4, 8, 0, 'echo-request'],
    [4, 0, 0, 'echo-reply'],
    [4, 3, 3, 'port-unreachable'],
    [4, 3, 4, 'fragmentation-needed'],
    [4, 3, 15, 'unreachable'],
    [4, 11, 0, 'time-exceeded'],
    [4, 200, 0, 'type-200'],
    [6, 128, 0, 'echo-request'],
    [6, 129, 0, 'echo-reply'],
    [6, 1, 4, 'port-unreachable'],
    [6, 1, 9, 'unreachable'],
    [6, 2, 0, 'packet-too-big'],
    [6, 135, 0, 'neighbor-solicitation'],
    [6, 8, 0, 'type-8'],
  ];
  for (const [version, type, code, name] of table) assert.equal(icmpName(version, type, code), name);
});

test('errors, requests and replies are told apart by IP version', () => {
  assert.deepEqual(
    [3, 4, 5, 11, 12, 0, 8, 13].map((type) => isIcmpError(4, type)),
    [true, true, true, true, true, false, false, false],
  );
  assert.deepEqual(
    [1, 2, 3, 4, 127, 128, 129, 135].map((type) => isIcmpError(6, type)),
    [true, true, true, true, true, false, false, false],
  );
  assert.deepEqual([isEchoRequest(4, 8), isEchoRequest(6, 8), isEchoRequest(6, 128)], [true, false, true]);
  assert.deepEqual([isEchoReply(4, 0), isEchoReply(6, 0), isEchoReply(6, 129)], [true, false, true]);
});

test('a drop reason is named by the running kernel, else told by its number or subsystem', () => {
  const reasons = new Map([
    [6, 'SKB_DROP_REASON_NETFILTER_DROP'],
    [1, 'SKB_CONSUMED'],
  ]);
  assert.equal(dropReasonName(reasons, 6), 'NETFILTER_DROP');
  assert.equal(dropReasonName(reasons, 1), 'SKB_CONSUMED');
  assert.equal(dropReasonName(reasons, 250), 'REASON_250');
  assert.equal(dropReasonName(reasons, 0x3_0002), 'SUBSYSTEM_3_2');
});
