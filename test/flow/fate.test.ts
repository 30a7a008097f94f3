import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sighting } from '../../src/event/sighting.ts';
import { assembling, BRIDGE, netnsOf, OTHER_POD, POD, sighting, THIRD_POD, tuple, UPLINK } from './sightings.ts';

const [NOT_SPECIFIED, NETFILTER_DROP] = [2, 6];
const SOLICITATION = { type: 135, code: 0, id: 0, seq: 0, mtu: 0 };
/** Flooded: over IPv6 neighbour discovery, over IPv4 mDNS. */
const FLOODED: Partial<Sighting>[] = [
  { proto: 58, ipVersion: 6, icmp: SOLICITATION, ipId: 0, tuple: tuple('fd00::2', 0, 'ff02::1:ff00:3', 0) },
  { proto: 17, tuple: tuple('10.244.1.2', 5353, '224.0.0.251', 5353) },
];
const drop = (reason: number, netns: number, ifindex: number, skb: number): Partial<Sighting> => ({
  hook: 'drop',
  netns,
  ifindex,
  skb,
  drop: { reason, location: BigInt(reason) },
});
const atNode = (reason: number, ifindex = BRIDGE, skb = 1) => drop(reason, 1, ifindex, skb);
/** Inside a pod interfaces have numbers of their own. */
const inPod = (pod: number, reason: number, skb = pod) => drop(reason, netnsOf(pod), 2, skb);
const to = (pod: number): Partial<Sighting> => ({ ifindex: pod, hook: 'tc-out', skb: pod });

/** `verdict reason` of the one packet that all this was. */
function fate(packet: Partial<Sighting>, ...seen: Partial<Sighting>[]): string {
  const { assembler, told } = assembling();
  const way: Partial<Sighting>[] = [{ ifindex: POD, entry: true, skb: 1 }, ...seen];
  for (const [at, each] of way.entries()) assembler.add(sighting({ ...packet, timeNs: BigInt(1000 + at), ...each }), 0);
  assembler.flush();
  assert.equal(told.length, 1);
  const { event } = told[0]!;
  return event.drop === undefined ? event.verdict : `${event.verdict} ${event.drop.reason}`;
}

const toBridge = { ifindex: BRIDGE, skb: 1 };

for (const packet of FLOODED) {
  test(`what is flooded to ${packet.tuple?.dst} is delivered where a copy was taken`, () => {
    const others = [inPod(THIRD_POD, NOT_SPECIFIED), atNode(NOT_SPECIFIED)];
    assert.equal(fate(packet, to(OTHER_POD), to(THIRD_POD), toBridge, ...others), 'delivered');
    assert.equal(
      fate(packet, to(OTHER_POD), toBridge, atNode(NOT_SPECIFIED)),
      'delivered',
      'by one pod, with no use for it on the node',
    );
    const pods = [inPod(THIRD_POD, NOT_SPECIFIED), inPod(OTHER_POD, NOT_SPECIFIED)];
    assert.equal(fate(packet, to(OTHER_POD), to(THIRD_POD), toBridge, ...pods), 'delivered', 'by the node');
    assert.equal(
      fate(packet, to(OTHER_POD), to(THIRD_POD), atNode(NETFILTER_DROP, BRIDGE, 77)),
      'delivered',
      'a rule for a third pod',
    );
  });

  test(`what is flooded to ${packet.tuple?.dst} is dropped when each copy is`, () => {
    const others = [inPod(THIRD_POD, NOT_SPECIFIED), atNode(NOT_SPECIFIED)];
    const way = [to(OTHER_POD), to(THIRD_POD), toBridge];
    assert.equal(fate(packet, ...way, ...others, inPod(OTHER_POD, NOT_SPECIFIED)), 'dropped NOT_SPECIFIED');
    assert.equal(fate(packet, ...way, inPod(OTHER_POD, NETFILTER_DROP), ...others), 'dropped NETFILTER_DROP');
  });

  test(`of several drops of what is flooded to ${packet.tuple?.dst} the rule’s is told`, () => {
    const rules = [atNode(NETFILTER_DROP, OTHER_POD, 5), atNode(NETFILTER_DROP, THIRD_POD, 6)];
    assert.equal(fate(packet, ...rules, toBridge, atNode(NOT_SPECIFIED)), 'dropped NETFILTER_DROP');
    assert.equal(fate(packet, toBridge, atNode(NOT_SPECIFIED), ...rules), 'dropped NETFILTER_DROP');
  });
}

test('a copy that was dropped before its memory was another one’s does not drop that one', () => {
  const way = [atNode(NETFILTER_DROP, THIRD_POD, OTHER_POD), to(OTHER_POD), toBridge, atNode(NOT_SPECIFIED)];
  assert.equal(fate(FLOODED[0]!, ...way), 'delivered');
});

test('of two reasons the node’s is told before a pod’s, then the first', () => {
  assert.equal(fate({}, to(OTHER_POD), inPod(OTHER_POD, 3), atNode(NETFILTER_DROP, OTHER_POD)), 'dropped NETFILTER_DROP');
  assert.equal(fate({}, atNode(NETFILTER_DROP), atNode(3)), 'dropped NETFILTER_DROP');
});

test('a packet that goes to one is dropped by any drop', () => {
  assert.equal(fate({}, to(OTHER_POD), inPod(OTHER_POD, NOT_SPECIFIED)), 'dropped NOT_SPECIFIED');
  assert.equal(fate({}, to(OTHER_POD), atNode(NOT_SPECIFIED, OTHER_POD)), 'dropped NOT_SPECIFIED');
  assert.equal(fate({}, toBridge, { ifindex: UPLINK, hook: 'tc-out' }, atNode(NETFILTER_DROP, UPLINK)), 'dropped NETFILTER_DROP');
});

test('a frame to an address that the bridge has not learned is delivered to the pod whose it is', () => {
  assert.equal(fate({}, to(OTHER_POD), to(THIRD_POD), inPod(THIRD_POD, NOT_SPECIFIED)), 'delivered');
});
