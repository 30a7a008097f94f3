import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import ipaddr from 'ipaddr.js';
import type { KernelTargets } from '../../../src/agent/kernel/target-maps.ts';
import { MOST_UNKNOWN, type Resolve } from '../../../src/agent/pipeline/follow-set.ts';
import type { TargetChange } from '../../../src/agent/pipeline/followers.ts';
import { ADDRESS } from '../../../src/event/layout.ts';
import type { Subscription } from '../../../src/event/target.ts';
import { addressText } from '../../../src/util/address.ts';
import { resolvedTo } from '../../support/resolved.ts';
import { type Calls, listener, openPipeline } from './pipeline-fixture.ts';

const textOf = (hex: string) => addressText(new DataView(Uint8Array.from(Buffer.from(hex, 'hex')).buffer), 0);
const gainedOf = (targets: KernelTargets | undefined) => [...(targets?.gained ?? [])].map(textOf).sort();

const [POD, OTHER, NEW] = ['10.244.1.2', '10.244.1.3', '10.244.1.4'];

function subscription(more: Partial<Subscription> = {}): Subscription {
  return { targets: [], addresses: [POD], units: 'flows', ...more };
}

/** What followers have come to, each time that the kernel is given targets because of a change. */
function gainedBy(t: TestContext, { pipeline, given }: ReturnType<typeof openPipeline>, change: TargetChange): string[][] {
  const count = given.length;
  pipeline.resolveAgain(change);
  t.mock.timers.tick(1000);
  return given.slice(count).map(gainedOf);
}

test('the kernel is told which addresses a follower has come to, and of none again when a set is resolved again', (t) => {
  let ofAll = [POD, OTHER];
  const resolve: Resolve = (targets) => resolvedTo({ addresses: targets.length > 0 ? ofAll : [] });
  const { pipeline, given } = openPipeline(t, { naming: { resolve } });
  const resolveAgain = () => {
    pipeline.resolveAgain({ kind: 'list' });
    t.mock.timers.tick(1000);
  };
  pipeline.follow(subscription({ targets: [{ kind: 'all' }], addresses: [] }), listener(), 'all');
  assert.deepEqual(gainedOf(given.at(-1)), [POD, OTHER]);
  const one = pipeline.follow(subscription(), listener(), 'all');
  assert.deepEqual(gainedOf(given.at(-1)), [POD]);
  const count = given.length;
  resolveAgain();
  assert.equal(given.length, count);
  ofAll = [POD, OTHER, NEW];
  resolveAgain();
  assert.deepEqual(gainedOf(given.at(-1)), [NEW]);
  one.update(subscription({ addresses: [POD, NEW] }), 'all');
  assert.deepEqual(gainedOf(given.at(-1)), [NEW]);
  one.update(subscription({ addresses: [POD, NEW], filter: { text: 'udp', revision: 1 } }), 'all');
  assert.deepEqual(gainedOf(given.at(-1)), [POD, NEW], 'by another filter what was told already may be told otherwise');
  one.close();
  assert.deepEqual(gainedOf(given.at(-1)), []);
});

test('who has addresses left out is told so, once, and nobody else is', (t) => {
  const { pipeline, given } = openPipeline(t, {
    naming: {
      resolve: () => resolvedTo(),
      placeOf: (ip) => (ip === OTHER ? 'outside' : 'unknown'),
    },
  });
  const [all, some] = [listener(), listener()];
  const addresses = Array.from({ length: MOST_UNKNOWN + 3 }, (_, n) => `198.18.${n >> 8}.${n & 255}`);
  pipeline.follow(subscription(), all, 'all');
  const follower = pipeline.follow(subscription({ addresses: [OTHER, ...addresses] }), some, new Set(['default']));
  follower.update(subscription({ addresses: [OTHER, ...addresses] }), new Set(['default']));
  const told = some.events.map((event) => event.kind === 'notice' && [event.code, event.text]);
  const text = 'addresses are not followed on this node: 3 that this node does not know the owner of, over 1024';
  assert.deepEqual(told, [['KTRACE_N_TARGETS_INCOMPLETE', text]]);
  assert.deepEqual(all.events, []);
  assert.equal(given.at(-1)?.addresses.size, MOST_UNKNOWN + 1);
});

test('a set that is resolved again and is the same is not parsed, told or given again', (t) => {
  const addresses = Array.from({ length: 200 }, (_, n) => `fd00::1:${n.toString(16)}`);
  const serviceAddresses = addresses.map((ip) => ({ ip, port: 80, proto: 'tcp' as const }));
  const pods = [{ namespace: 'default', name: 'web', uid: 'u', node: 'host1', ips: [POD] }];
  let asked = 0;
  const resolve = () => {
    asked += 1;
    return resolvedTo(structuredClone({ pods, addresses, serviceAddresses }));
  };
  const { pipeline, given } = openPipeline(t, { naming: { resolve } });
  const sink = listener();
  pipeline.follow(subscription({ addresses }), sink, 'all');
  const [isValid, parse] = [t.mock.method(ipaddr, 'isValid'), t.mock.method(ipaddr, 'parse')];
  pipeline.resolveAgain({ kind: 'list' });
  t.mock.timers.tick(1000);
  assert.equal(asked, 2);
  assert.deepEqual([given.length, sink.resolvedCount], [1, 1]);
  pods[0]?.ips.push(OTHER);
  pipeline.resolveAgain({ kind: 'list' });
  t.mock.timers.tick(1000);
  assert.deepEqual([given.length, sink.resolvedCount], [2, 2]);
  assert.deepEqual([isValid.mock.callCount(), parse.mock.callCount()], [0, 0]);
});

test('the addresses that a client named are read once, however often they are resolved', (t) => {
  let reads = 0;
  const addresses = new Proxy([POD, OTHER], {
    get(target, key, receiver) {
      if (key === '0') reads += 1;
      return Reflect.get(target, key, receiver);
    },
  });
  const { pipeline } = openPipeline(t, { naming: { resolve: () => resolvedTo() } });
  pipeline.follow(subscription({ addresses }), listener(), 'all');
  for (let times = 0; times < 5; times++) {
    pipeline.resolveAgain({ kind: 'list' });
    t.mock.timers.tick(1000);
  }
  assert.equal(reads, 1);
});

test('what takes long to resolve is resolved less often', (t) => {
  let nowMs = 0;
  let asked = 0;
  const resolve = () => {
    asked += 1;
    nowMs += 100;
    return resolvedTo();
  };
  const { pipeline } = openPipeline(t, { naming: { resolve }, nowMs: () => nowMs });
  pipeline.follow(subscription(), listener(), 'all');
  const changes = (ms: number) => {
    for (let passed = 0; passed < ms; passed += 10) {
      pipeline.resolveAgain({ kind: 'list' });
      t.mock.timers.tick(10);
    }
    return asked;
  };
  assert.equal(changes(50), 2);
  assert.equal(changes(990), 2);
  assert.equal(changes(10), 3);
});

test('addresses inside new pods are followed at once where all pods are, however long resolving is put off, and told once', (t) => {
  let newborn: string[] = [];
  let nowMs = 0;
  const added: unknown[] = [];
  const opened = openPipeline(t, {
    naming: {
      resolve: (_, extra) => {
        nowMs += 100;
        return resolvedTo({ addresses: [POD, ...extra] });
      },
      placeOf: (ip) => (ip === NEW ? 'outside' : 'inside'),
    },
    interfaces: { newPodAddresses: () => newborn },
    targets: { add: (ips: string[], kinds: number) => added.push([ips, kinds]) },
    nowMs: () => nowMs,
  });
  const { pipeline, given } = opened;
  const everything = { targets: [{ kind: 'all' as const }], addresses: [] };
  pipeline.follow(subscription({ ...everything, units: 'packets' }), listener(), 'all');
  // Of these none follows all pods, or may see all of them.
  pipeline.follow(subscription(), listener(), 'all');
  pipeline.follow(subscription(everything), listener(), new Set(['default']));
  pipeline.resolveAgain({ kind: 'list' });
  t.mock.timers.tick(50);
  const count = given.length;
  newborn = [NEW];
  pipeline.resolveAgain({ kind: 'pod-addresses' });
  assert.deepEqual(added, [[[NEW], ADDRESS.followed | ADDRESS.every]]);
  pipeline.resolveAgain({ kind: 'pod-addresses' });
  assert.equal(added.length, 1, 'once');
  assert.equal(given.length, count, 'nothing is resolved yet');
  t.mock.timers.tick(10_000);
  assert.deepEqual(given.slice(count).map(gainedOf), [[]], 'it has come to nobody since');
  assert.ok(given.at(-1)?.addresses.size === 2);
});

test('one whose targets cannot be resolved keeps nothing from the others, and is resolved with the next change, whatever it is', (t) => {
  let addresses = [POD];
  let isBroken = false;
  const resolve: Resolve = (targets) => {
    if (targets.length === 0 && isBroken) throw new Error('E1');
    return resolvedTo({ addresses: targets.length > 0 ? addresses : addresses.slice(1) });
  };
  const opened = openPipeline(t, { naming: { resolve } });
  const { pipeline } = opened;
  pipeline.follow(subscription({ targets: [], addresses: [OTHER] }), listener(), 'all');
  pipeline.follow(subscription({ targets: [{ kind: 'node', name: 'host1' }], addresses: [] }), listener(), 'all');
  const gained = (change: TargetChange) => gainedBy(t, opened, change);
  addresses = [POD, NEW];
  isBroken = true;
  assert.deepEqual(gained({ kind: 'list' }), [[NEW]]);
  assert.equal(pipeline.guard.failures.get('targets'), 1);
  isBroken = false;
  assert.deepEqual(gained({ kind: 'pod-addresses' }), [[NEW]]);
  assert.deepEqual(gained({ kind: 'list' }), []);
});

test('a change that a failing step kept from the kernel is given to it the next time, though nothing has changed since', (t) => {
  let addresses = [POD];
  let isBroken = false;
  const opened = openPipeline(t, {
    naming: { resolve: () => resolvedTo({ addresses }) },
    tracer: { setSnapBytes: () => isBroken && assert.fail('E1') },
  });
  const { pipeline } = opened;
  pipeline.follow(subscription({ targets: [{ kind: 'all' }], addresses: [] }), listener(), 'all');
  const gained = (change: TargetChange) => gainedBy(t, opened, change);
  addresses = [POD, NEW];
  isBroken = true;
  assert.deepEqual(gained({ kind: 'list' }), []);
  isBroken = false;
  assert.deepEqual(gained({ kind: 'pod-addresses' }), [[NEW]]);
  assert.deepEqual(gained({ kind: 'list' }), []);
});

test('another address that each host has for itself is nothing for the kernel, another one of the node is', (t) => {
  let ownAddresses = new Set(['192.168.0.1']);
  const interfaces = {
    get ownAddresses() {
      return ownAddresses;
    },
  };
  const { pipeline, given } = openPipeline(t, { interfaces: interfaces as unknown as Calls });
  pipeline.follow(subscription(), listener(), 'all');
  const givenFor = (ips: string[]) => {
    const count = given.length;
    ownAddresses = new Set(ips);
    pipeline.resolveAgain({ kind: 'own-addresses', ips });
    t.mock.timers.tick(1000);
    return given.length - count;
  };
  assert.equal(givenFor(['192.168.0.1', 'fe80::1']), 0);
  assert.equal(givenFor(['192.168.0.1', 'fe80::1', '172.17.0.1']), 1);
  assert.equal(givenFor(['172.17.0.1', 'fe80::2']), 1);
});

test('followers of one account share its part of the kernel’s tables', (t) => {
  const many = (count: number, net: number) => Array.from({ length: count }, (_, n) => `198.${net}.${n >> 8}.${n & 255}`);
  const resolve: Resolve = (_, extra) => resolvedTo({ addresses: [...extra] });
  const { pipeline } = openPipeline(t, { naming: { resolve }, targetRoom: 1000 });
  for (let n = 0; n < 4; n += 1) {
    pipeline.follow(subscription({ addresses: many(900, n) }), { ...listener(), identity: 'often' }, 'all');
  }
  const sink = { ...listener(), identity: 'once' };
  pipeline.follow(subscription({ addresses: many(500, 9) }), sink, 'all');
  assert.deepEqual(sink.events, [], 'nothing is left out');
});
