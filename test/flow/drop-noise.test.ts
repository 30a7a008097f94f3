import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sighting } from '../../src/event/sighting.ts';
import { noiseFilter } from '../../src/flow/drop-noise.ts';
import { sighting } from './sightings.ts';

/** Of each kernel the reasons that matter here, by their values there. */
const LINUX_6_1 = ['', 'SKB_DROP_REASON_NOT_SPECIFIED', 'SKB_DROP_REASON_NO_SOCKET'];
const LINUX_6_18 = [
  '',
  'SKB_CONSUMED',
  'SKB_DROP_REASON_NOT_SPECIFIED',
  'SKB_DROP_REASON_NO_SOCKET',
  'SKB_DROP_REASON_IPV6_NDISC_FRAG',
  'SKB_DROP_REASON_QUEUE_PURGE',
];

/** Whether it is noise that this kernel freed this packet there without a reason. */
function isNoiseAt(kernel: readonly string[], at: string, fields: Partial<Sighting> = {}): boolean {
  const knowsReceivers = kernel !== LINUX_6_1;
  const isNoise = noiseFilter({ dropReasons: new Map(kernel.entries()), knowsReceivers, symbol: () => at });
  const reason = kernel.indexOf('SKB_DROP_REASON_NOT_SPECIFIED');
  return isNoise(sighting({ hook: 'drop', drop: { reason, location: 1n }, ...fields }));
}

const ping6: Partial<Sighting> = { ipVersion: 6, proto: 58, icmp: { type: 128, code: 0, id: 1, seq: 1, mtu: 0 } };

test('a queue that is emptied with its socket is noise, whether the kernel has a reason for it or not', () => {
  for (const kernel of [LINUX_6_1, LINUX_6_18])
    for (const at of ['inet_sock_destruct', 'sk_stream_kill_queues', 'skb_queue_purge'])
      assert.equal(isNoiseAt(kernel, at), true, at);
});

test('what the stack drops without a reason is told', () => {
  for (const kernel of [LINUX_6_1, LINUX_6_18])
    for (const at of ['ip_error', 'ip6_pkt_drop', 'br_handle_frame']) assert.equal(isNoiseAt(kernel, at), false, at);
});

test('what TCP may have taken in is no drop, unless the kernel side knows the receiver and has left that out itself', () => {
  for (const at of ['tcp_v4_rcv', 'tcp_v6_rcv', 'unknown']) {
    assert.equal(isNoiseAt(LINUX_6_1, at, { proto: 6 }), true, at);
    assert.equal(isNoiseAt(LINUX_6_18, at, { proto: 6 }), false, at);
  }
});

test('where names are hidden, what else is dropped without a reason is told but for ICMPv6 that may have been taken', () => {
  for (const kernel of [LINUX_6_1, LINUX_6_18]) assert.equal(isNoiseAt(kernel, 'unknown', { proto: 17 }), false);
  assert.equal(isNoiseAt(LINUX_6_1, 'unknown', ping6), true);
  assert.equal(isNoiseAt(LINUX_6_18, 'unknown', ping6), false);
});

test('ICMPv6 that the stack has taken is noise on kernels that free all of it without a reason, and a drop on others', () => {
  assert.equal(isNoiseAt(LINUX_6_1, 'icmpv6_rcv', ping6), true);
  assert.equal(isNoiseAt(LINUX_6_18, 'icmpv6_rcv', ping6), false);
});

test('what is no drop is no noise', () => {
  const isNoise = noiseFilter({
    dropReasons: new Map(LINUX_6_1.entries()),
    knowsReceivers: false,
    symbol: () => 'inet_sock_destruct',
  });
  assert.equal(isNoise(sighting()), false);
});
