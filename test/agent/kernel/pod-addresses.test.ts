import assert from 'node:assert/strict';
import { mock, type TestContext, test } from 'node:test';
import { PodAddresses } from '../../../src/agent/kernel/pod-addresses.ts';
import type { Link } from '../../../src/native/types.ts';

function start(t: TestContext) {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let nowMs = 1000;
  t.mock.method(performance, 'now', () => nowMs);
  const inside = new Map<number, string[]>();
  const read = mock.fn((link: Link) => inside.get(link.linkNetnsId) ?? []);
  const changed = mock.fn();
  const addresses = new PodAddresses({ read, changed });
  const pass = (ms: number): void => {
    for (let left = ms; left > 0; left -= 50) {
      nowMs += 50;
      t.mock.timers.tick(50);
    }
  };
  return { addresses, inside, read, changed, pass, now: () => nowMs };
}

const LINK = { ifindex: 7, link: 2, linkNetnsId: 3, name: 'veth1' } as Link;

test('a new pod’s addresses are asked for until they are there, and a second one that comes after the first', (t) => {
  const { addresses, inside, read, changed, pass, now } = start(t);
  addresses.watch(LINK, now());
  pass(200);
  assert.equal(changed.mock.callCount(), 0);
  inside.set(3, ['10.244.1.7']);
  pass(50);
  assert.deepEqual([changed.mock.callCount(), addresses.recent(now())], [1, ['10.244.1.7']]);
  inside.set(3, ['10.244.1.7', 'fd00::7']);
  pass(50);
  assert.deepEqual([changed.mock.callCount(), addresses.recent(now())], [2, ['10.244.1.7', 'fd00::7']]);
  assert.deepEqual([addresses.has('10.244.1.7'), addresses.has('fd00::7'), addresses.has('10.244.1.8')], [true, true, false]);
  // Then it is left alone, and new for a minute.
  pass(3000);
  const asked = read.mock.callCount();
  pass(1000);
  assert.equal(read.mock.callCount(), asked);
  assert.equal(addresses.recent(now()).length, 2);
  pass(60_000);
  assert.deepEqual([addresses.recent(now()).length, addresses.has('fd00::7')], [0, true]);
});

test('one without addresses is given up, and asked no more often than its packets make necessary', (t) => {
  const { addresses, read, pass, now } = start(t);
  addresses.watch(LINK, now());
  pass(11_000);
  const asked = read.mock.callCount();
  pass(5000);
  assert.equal(read.mock.callCount(), asked);
  for (let at = 0; at < 10; at++) addresses.of(LINK, now());
  assert.equal(read.mock.callCount(), asked + 1);
});

test('what leads to another pod now is asked anew, and what has gone is told', (t) => {
  const { addresses, inside, changed, now } = start(t);
  inside.set(3, ['10.244.1.7']).set(4, ['10.244.1.8']);
  assert.deepEqual(addresses.of(LINK, now()), ['10.244.1.7']);
  assert.deepEqual(addresses.of({ ...LINK, linkNetnsId: 4 }, now()), ['10.244.1.8']);
  assert.deepEqual([addresses.has('10.244.1.7'), addresses.has('10.244.1.8')], [false, true]);
  const before = changed.mock.callCount();
  addresses.forget(LINK.ifindex);
  assert.deepEqual([addresses.has('10.244.1.8'), changed.mock.callCount() - before], [false, 1]);
});

test('an address that two pods have, each in a range of its own, is a pod’s until the second has gone', (t) => {
  const { addresses, inside, now } = start(t);
  const other = { ...LINK, ifindex: 8, linkNetnsId: 4 };
  inside.set(3, ['10.244.1.7']).set(4, ['10.244.1.7']);
  for (const link of [LINK, other]) addresses.of(link, now());
  addresses.forget(LINK.ifindex);
  assert.equal(addresses.has('10.244.1.7'), true);
  addresses.forget(other.ifindex);
  assert.equal(addresses.has('10.244.1.7'), false);
});
