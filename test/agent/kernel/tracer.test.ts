import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { kernelTargets } from '../../../src/agent/pipeline/follow-set.ts';
import { u32 } from '../../../src/native/bytes.ts';
import { temporaryDirectory } from '../serve/server-fixture.ts';
import { openTracer } from './tracer-fixture.ts';

test('drops that cannot be attached cost the drops alone, are told with the reason, and are tried again', (t) => {
  const { tracer, kernel } = openTracer(t);
  const drops = () => tracer.hooks().find(({ name }) => name === 'drops');
  assert.equal(drops()?.state, 'idle');
  kernel.refused.add('ktrace_drop');
  tracer.attachStack();
  assert.deepEqual([drops()?.state, drops()?.reason], ['unavailable', 'attach ktrace_drop: EBUSY']);
  assert.deepEqual(tracer.notices, [{ code: 'KTRACE_N_NO_DROPS', text: 'drops cannot be told: attach ktrace_drop: EBUSY' }]);
  tracer.detachStack();
  kernel.refused.clear();
  tracer.attachStack();
  assert.deepEqual([drops()?.state, tracer.notices], ['on', []]);
  tracer.detachStack();
  assert.deepEqual([...kernel.attached.values()], []);
});

test('an interface that the kernel does not let go of is detached from the other direction all the same', (t) => {
  const { tracer, kernel } = openTracer(t);
  tracer.attach(7, 'pod', true);
  assert.deepEqual([...kernel.attached.values()], ['ktrace_in 7', 'ktrace_out 7']);
  kernel.refused.add('ktrace_in 7');
  assert.throws(() => tracer.detach(7), /ktrace_in/);
  assert.deepEqual([tracer.isAttached(7), [...kernel.attached.values()]], [false, ['ktrace_in 7']]);
});

test('an interface of which one direction cannot be attached is left as it was', (t) => {
  const { tracer, kernel } = openTracer(t);
  kernel.refused.add('ktrace_out 7');
  assert.throws(() => tracer.attach(7, 'pod', true), /ktrace_out 7/);
  assert.deepEqual([[...kernel.attached], kernel.maps.get('interfaces')?.size], [[], 0]);
});

test('conntrack that comes after the programs is found when the kernel has new types, and read once they are loaded anew', async (t) => {
  const btfFolder = await temporaryDirectory(t);
  const { tracer, kernel } = openTracer(t, { btfFolder }, { structs: new Set() });
  const conntrack = () => tracer.hooks().find(({ name }) => name === 'conntrack')?.state;
  const cfg = () => kernel.objects.map(({ config }) => config?.['cfg_conntrack']?.[0]);
  assert.deepEqual([conntrack(), tracer.isOutdated(), cfg()], ['unavailable', false, [0]]);
  tracer.setPodNetns(77, true);
  tracer.setPodNetns(78, true);
  tracer.setPodNetns(78, false);
  tracer.setVxlanPorts([8472]);
  tracer.setGenevePorts([6081]);
  tracer.setIpTunnels(true);
  tracer.setUplinks([3, 5]);
  const set = { addresses: new Set(['10.9.1.2']), serviceAddresses: [] };
  const targets = kernelTargets([{ ...set, wantsEveryPacket: true, wantsBytes: false }], ['192.168.0.1']);
  tracer.targets.set(targets);
  tracer.attach(7, 'pod', true);
  tracer.attachStack();
  kernel.stats = 5n;
  const emitted = tracer.stats().emitted;
  writeFileSync(join(btfFolder, 'another'), '');
  assert.equal(tracer.isOutdated(), false, 'another module');
  kernel.structs.add('nf_conn');
  writeFileSync(join(btfFolder, 'nf_conntrack'), '');
  assert.equal(tracer.isOutdated(), true);
  tracer.reload(() => {
    assert.equal(kernel.attached.size, 3, 'until the new programs are loaded the old ones run');
    tracer.detach(7);
    tracer.detachStack();
  });
  assert.deepEqual([conntrack(), tracer.isOutdated(), tracer.notices, cfg()], ['on', false, [], [1]]);
  assert.deepEqual([...(kernel.maps.get('pod_netns')?.keys() ?? [])], ['4d000000']);
  assert.deepEqual(kernel.globals.get('vxlan_ports')?.slice(0, 4), Uint8Array.of(0x18, 0x21, 0, 0));
  assert.deepEqual(kernel.globals.get('geneve_ports'), Uint8Array.of(0xc1, 0x17, 0, 0));
  assert.deepEqual(kernel.globals.get('has_ip_tunnels'), u32(1));
  assert.deepEqual(kernel.globals.get('uplinks')?.slice(0, 12), Uint8Array.of(3, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0));
  assert.deepEqual([...(kernel.maps.get('bodies')?.keys() ?? [])].length, 11);
  assert.equal(tracer.stats().emitted, emitted, 'what was counted stays counted');
  tracer.targets.set(targets);
  assert.equal(kernel.maps.get('targets')?.size, 2);
  assert.deepEqual(
    [kernel.globals.get('target_bits'), kernel.globals.get('node_bits'), kernel.globals.get('every_packet')],
    [targets.bits, targets.nodeBits, u32(1)],
    'the same targets, and yet all of them are new to these programs',
  );
  tracer.attachStack();
  assert.deepEqual([...kernel.attached.values()], ['ktrace_drop']);
});

test('programs that cannot be loaded anew leave the old ones running', async (t) => {
  const btfFolder = await temporaryDirectory(t);
  const { tracer, kernel } = openTracer(t, { btfFolder }, { structs: new Set() });
  tracer.attach(7, 'pod', true);
  kernel.structs.add('nf_conn');
  writeFileSync(join(btfFolder, 'nf_conntrack'), '');
  assert.equal(tracer.isOutdated(), true);
  kernel.refused.add('open');
  assert.throws(() => tracer.reload(() => assert.fail('stopped')), { code: 'KTRACE_E_LOAD' });
  assert.deepEqual([kernel.attached.size, kernel.objects.length, tracer.isOutdated()], [2, 1, false]);
});

test('programs that are unloaded give everything back, and what is set meanwhile is set when they are loaded', (t) => {
  const { tracer, kernel } = openTracer(t, {}, { stats: 7n });
  tracer.attach(7, 'pod', true);
  tracer.attachStack();
  tracer.setPodNetns(77, true);
  tracer.setVxlanPorts([8472]);
  const { emitted } = tracer.stats();
  const hooks = tracer.hooks().map(({ name, backend }) => [name, backend]);
  tracer.unload();
  assert.deepEqual([tracer.isLoaded, kernel.objects, kernel.attached.size, tracer.attachedInterfaces], [false, [], 0, 0]);
  assert.deepEqual([emitted > 0, tracer.stats().emitted, tracer.recursionMisses()], [true, emitted, 0]);
  assert.deepEqual(
    tracer.hooks().map(({ name, backend }) => [name, backend]),
    hooks,
  );
  tracer.setPodNetns(77, false);
  tracer.setPodNetns(78, true);
  tracer.setGenevePorts([6081]);
  tracer.unload();
  assert.deepEqual([tracer.load(), tracer.load(), tracer.isLoaded, kernel.objects.length], [true, false, true, 1]);
  assert.deepEqual([...(kernel.maps.get('pod_netns')?.keys() ?? [])], ['4e000000']);
  assert.deepEqual(kernel.globals.get('vxlan_ports')?.slice(0, 4), Uint8Array.of(0x18, 0x21, 0, 0));
  assert.deepEqual(kernel.globals.get('geneve_ports'), Uint8Array.of(0xc1, 0x17, 0, 0));
  assert.deepEqual([...(kernel.maps.get('bodies')?.keys() ?? [])].length, 11);
  assert.equal(tracer.stats().emitted, emitted * 2, 'what the new programs count is counted on top of it');
  tracer.attachStack();
  assert.deepEqual([...kernel.attached.values()], ['ktrace_drop']);
});

test('programs that cannot be given what was set are not loaded: the next load gives them all of it', (t) => {
  const { tracer, kernel } = openTracer(t, {}, { stats: 7n });
  tracer.setPodNetns(77, true);
  tracer.setUplinks([3]);
  const { emitted } = tracer.stats();
  tracer.unload();
  kernel.stats = 0n;
  kernel.refused.add('update pod_netns');
  for (let again = 0; again < 2; again++) {
    assert.throws(() => tracer.load(), { code: 'ENOMEM' });
    assert.deepEqual([tracer.isLoaded, kernel.objects], [false, []]);
  }
  kernel.refused.clear();
  assert.equal(tracer.load(), true);
  assert.deepEqual([...(kernel.maps.get('pod_netns')?.keys() ?? [])], ['4d000000']);
  assert.deepEqual(kernel.globals.get('uplinks')?.slice(0, 4), Uint8Array.of(3, 0, 0, 0));
  assert.equal(tracer.stats().emitted, emitted);
});

test('conntrack that came while the programs were not loaded is read by those that are loaded, and what cannot be loaded is tried again', async (t) => {
  const btfFolder = await temporaryDirectory(t);
  const { tracer, kernel } = openTracer(t, { btfFolder }, { structs: new Set() });
  tracer.unload();
  kernel.structs.add('nf_conn');
  writeFileSync(join(btfFolder, 'nf_conntrack'), '');
  kernel.refused.add('open');
  assert.throws(() => tracer.load(), { code: 'KTRACE_E_LOAD' });
  assert.deepEqual([tracer.isLoaded, kernel.objects], [false, []]);
  kernel.refused.delete('open');
  assert.deepEqual([tracer.load(), tracer.isOutdated(), tracer.notices], [true, false, []]);
});
