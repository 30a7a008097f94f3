import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { ADDRESS_BITS } from '../../../../src/agent/kernel/target-maps.ts';
import { type KernelSet, kernelTargets } from '../../../../src/agent/pipeline/follow-set.ts';
import { BODY, INTERFACE } from '../../../../src/event/layout.ts';
import { Assembly, type KernelProgram } from '../../../../src/filter/compile/ebpf-assembly.ts';
import { u32 } from '../../../../src/native/bytes.ts';
import { Bench, followed, isAccounted, LOOPBACK, OBJECT_PATH } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { ethernet, IPV4, ipv4, udp } from '../../support/packets.ts';

const [POD, OTHER, PEER] = ['10.9.1.2', '10.9.1.3', '198.18.0.7'];
const [MAP_LOOKUP, TAIL_CALL] = [1, 12];
const HEADERS = 28;
const PAYLOAD = 60;

/** A bench of these followers, and what is emitted of one datagram between a pod and its peer, of a flow of its own for each pod. */
function open(t: TestContext, ...sets: KernelSet[]) {
  const bench = new Bench(sets, [], { podRate: 1000 });
  t.after(() => bench.close());
  bench.tracer.object.mapUpdate('interfaces', u32(LOOPBACK), Buffer.concat([u32(INTERFACE.pod), u32(0)]));
  const send = (pod: string, peer = PEER) => {
    const packet = ethernet(
      IPV4,
      ipv4({ src: pod, dst: peer, proto: 17 }, udp({ sport: 4000, dport: 9 }, Buffer.alloc(PAYLOAD))),
    );
    return bench.run('ktrace_in', packet, LOOPBACK);
  };
  const follow = (next: KernelSet[], gained: string[] = []) => bench.tracer.targets.set(kernelTargets(next, [], gained));
  return { bench, send, follow };
}

const flows = (...addresses: string[]) => followed(addresses, { wantsEveryPacket: false, wantsBytes: false });

test('a target set that is set again tells nothing of a known flow, nor does one that another address comes to', {
  skip: SKIP,
}, (t) => {
  const { bench, send, follow } = open(t, flows(POD));
  assert.equal(send(POD).length, 1);
  for (let n = 0; n < 10; n++) {
    follow([flows(POD)]);
    assert.deepEqual(send(POD), []);
  }
  const addresses = [POD];
  for (let n = 0; n < 10; n++) {
    addresses.push(`10.9.3.${n}`);
    follow([flows(...addresses)]);
    assert.deepEqual(send(POD), []);
  }
  follow([flows(POD)]);
  assert.deepEqual(send(POD), []);
  follow([{ ...flows(POD), serviceAddresses: [{ ip: PEER, port: 9, proto: 'udp' }] }]);
  assert.deepEqual(send(POD), [], 'what leads to a pod is nobody’s who has come to it');
  const stats = bench.stats();
  assert.deepEqual([stats.matched, stats.emitted, stats.counted], [23, 1, 22]);
  assert.ok(isAccounted(stats));
});

test('a follower who comes to an address is told once of its flows, and of nobody else’s', { skip: SKIP }, (t) => {
  const { send, follow } = open(t, flows(POD, OTHER));
  assert.equal(send(POD).length + send(OTHER).length, 2);
  follow([flows(POD, OTHER), flows(POD)], [POD]);
  assert.equal(send(POD).length, 1);
  assert.equal(send(POD).length, 0);
  assert.equal(send(OTHER).length, 0);
  follow([flows(POD, OTHER), flows(POD, PEER)]);
  assert.equal(send(POD).length, 1, 'the flow’s other end is new to the kernel');
  assert.equal(send(POD).length, 0);
});

test('addresses that are added are followed at once, beside all others, and until a target set that lacks them', {
  skip: SKIP,
}, (t) => {
  const { bench, send, follow } = open(t, flows(POD));
  assert.equal(send(POD).length, 1);
  assert.deepEqual(send(OTHER), []);
  bench.tracer.targets.add([OTHER], ADDRESS_BITS.followed);
  assert.equal(send(OTHER).length, 1);
  assert.deepEqual(send(OTHER), []);
  assert.deepEqual(send(POD), [], 'what was followed goes on as it was');
  // The set that has it says nothing new of it.
  follow([flows(POD, OTHER)]);
  assert.deepEqual([...send(OTHER), ...send(POD)], []);
  follow([flows(POD)]);
  const { matched } = bench.stats();
  assert.deepEqual(send(OTHER, '198.18.0.8'), []);
  assert.equal(bench.stats().matched, matched);
});

test('a follower who comes while a packet is between matching and emitting is told of its flow', { skip: SKIP }, (t) => {
  const { bench, send, follow } = open(t, flows(POD, OTHER));
  assert.equal(send(OTHER).length, 1);
  bench.tracer.setFilter(nextTargetSet());
  // Of a flow that is new, and of one that is known and has changed.
  follow([flows(POD, OTHER)], [OTHER]);
  assert.equal(send(POD).length, 1);
  bench.tracer.setFilter(undefined);
  follow([flows(POD, OTHER)], [POD]);
  assert.equal(send(POD).length, 1, 'the set that came meanwhile is not what its first packet was matched against');
  bench.tracer.setFilter(nextTargetSet());
  follow([flows(POD, OTHER)], [OTHER]);
  assert.equal(send(OTHER).length, 1);
  bench.tracer.setFilter(undefined);
  follow([flows(POD, OTHER)], [OTHER]);
  assert.equal(send(OTHER).length, 1, 'nor what the packet was that told of the change');
  assert.deepEqual(send(POD), []);
  assert.ok(isAccounted(bench.stats()));
});

/** A filter that takes all, and in whose time the agent sets another target set. */
function nextTargetSet(): KernelProgram {
  const symbols = execFileSync('readelf', ['--syms', '--wide', OBJECT_PATH], { encoding: 'utf8' });
  const offset = Number.parseInt(/([0-9a-f]+)\s+4 OBJECT .* target_generation$/m.exec(symbols)?.[1] ?? '', 16);
  assert.ok(offset >= 0);
  const out = new Assembly(['.bss', 'bodies']);
  const isNone = out.label();
  out.move64(6, 1);
  out.storeNumber(10, -4, 0);
  out.move64(2, 10);
  out.add64(2, -4);
  out.loadMap(1, 0);
  out.call(MAP_LOOKUP);
  out.jump64('jeq', 0, 0, isNone);
  // Further than a load reaches.
  out.add64(0, offset);
  out.load(4, 1, 0, 0);
  out.alu32('add', 1, 1);
  out.store(4, 0, 0, 1);
  out.move64(1, 6);
  out.loadMap(2, 1);
  out.alu32('mov', 3, BODY.told);
  out.call(TAIL_CALL);
  out.place(isNone);
  out.alu32('mov', 0, 0);
  out.exit();
  return out.finish();
}

test('what is matched anew takes nothing of its pod’s rate', { skip: SKIP }, (t) => {
  const { bench, send, follow } = open(t, flows(POD));
  send(POD);
  const charged = () => bench.tracer.rates().toString('hex');
  const before = charged();
  assert.notEqual(before, '');
  follow([flows(POD, OTHER)]);
  assert.deepEqual(send(POD), []);
  assert.equal(charged(), before);
});

test('an address that is followed no more is nobody’s', { skip: SKIP }, (t) => {
  const { bench, send, follow } = open(t, flows(POD, OTHER));
  send(POD);
  follow([flows(OTHER)]);
  assert.deepEqual(send(POD), []);
  follow([flows(OTHER, POD)]);
  assert.equal(send(POD).length, 1);
  assert.equal(bench.flowEntries(), 1);
});

test('every packet of an address is emitted when a follower of it asks for that, and of no other address', {
  skip: SKIP,
}, (t) => {
  const { bench, send, follow } = open(t, flows(POD), followed([OTHER], { wantsBytes: false }));
  assert.equal(send(POD).length, 1);
  assert.deepEqual(send(POD), []);
  const nothingNew = () => send(OTHER).map((sighting) => sighting.nothingNew);
  assert.deepEqual([nothingNew(), nothingNew(), nothingNew()], [[false], [true], [true]]);
  follow([flows(POD, OTHER)]);
  assert.deepEqual(nothingNew(), []);
  follow([flows(POD, OTHER), followed([PEER])]);
  assert.deepEqual([nothingNew(), nothingNew()], [[false], [true]], 'the other end is enough');
  assert.ok(isAccounted(bench.stats()));
});

test('more than the headers is captured of an address when a follower of it asks for that, and of no other address', {
  skip: SKIP,
}, (t) => {
  const { bench, send } = open(t, flows(POD), followed([OTHER], { wantsEveryPacket: false }));
  bench.tracer.setSnapBytes(1500);
  const captured = (pod: string) => send(pod).map(({ data }) => data.length);
  assert.deepEqual([captured(POD), captured(OTHER)], [[HEADERS], [HEADERS + PAYLOAD]]);
});
