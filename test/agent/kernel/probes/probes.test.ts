import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PROBES } from '../../../../src/agent/kernel/probes/probe-plan.ts';
import type { Probes } from '../../../../src/agent/kernel/probes/probes.ts';
import { EVERYTHING, NAT_IN_MODULE, openProbes, without } from './probes-fixture.ts';

const NAT_FUNCTIONS = ['nf_nat_manip_pkt', 'nf_nat_icmp_reply_translation', 'nf_nat_icmpv6_reply_translation'];

const hook = (probes: Probes, name: string) => probes.hooks().find((one) => one.name === name);

test('fentry is taken where the kernel allows it, and attached only while somebody follows', (t) => {
  const { probes, kernel } = openProbes(t);
  assert.deepEqual(hook(probes, 'nat'), { name: 'nat', backend: 'fentry', state: 'idle' });
  assert.equal(kernel.attached.size, 0);
  probes.setActive(true);
  assert.equal(kernel.attached.size, PROBES.length);
  assert.ok(probes.hooks().every(({ state }) => state === 'on'));
});

test('kprobes are taken where fentry is refused, and the reason is told', (t) => {
  const { probes } = openProbes(t, { refuses: { fentry: 'EPERM' } });
  const { backend, state, reason } = hook(probes, 'icmp-send') ?? {};
  assert.deepEqual([backend, state], ['kprobe', 'idle']);
  assert.match(reason ?? '', /fentry is refused \(EPERM\)/);
});

test('where neither can be had nothing is loaded, and every hook says why', (t) => {
  const { probes, kernel } = openProbes(t, { refuses: { fentry: 'EPERM', kprobe: 'ENODEV' } });
  assert.equal(kernel.opened.length, 0);
  assert.ok(
    probes.hooks().every(({ state, reason }) => state === 'unavailable' && /no kprobes \(CONFIG_KPROBES\)/.test(reason ?? '')),
  );
});

test('perf_event_open that is refused is told as such', (t) => {
  const { probes } = openProbes(t, { refuses: { fentry: 'EPERM', kprobe: 'EPERM' } });
  assert.match(hook(probes, 'nat')?.reason ?? '', /perf_event_open needs CAP_PERFMON .*, and a seccomp profile/);
});

test('a program that the verifier refuses is tried as a kprobe, then costs itself alone and shows the verifier’s last lines', (t) => {
  const { probes } = openProbes(t, { refuses: { fentry_nat: 'EACCES', fentry_icmp_send: 'EACCES', kprobe_icmp_send: 'EACCES' } });
  assert.deepEqual([hook(probes, 'nat')?.backend, hook(probes, 'nat')?.state], ['kprobe', 'idle']);
  assert.match(hook(probes, 'nat')?.reason ?? '', /load program fentry_nat/);
  const refused = hook(probes, 'icmp-send');
  assert.equal(refused?.state, 'unavailable');
  assert.match(refused?.reason ?? '', /load program kprobe_icmp_send: EACCES\nR1 invalid mem access\nprocessed 9 insns/);
  assert.equal(probes.hooks().filter(({ state }) => state === 'idle').length, PROBES.length - 1);
});

test('a probe that cannot be attached costs itself alone, and is attached when the next one follows', (t) => {
  const { probes, kernel } = openProbes(t, { refuses: { fentry: 'EPERM' }, attachRefuses: { kprobe_nat: 'EPERM' } });
  probes.setActive(true);
  assert.equal(kernel.attached.size, PROBES.length - 1);
  const { backend, state, reason } = hook(probes, 'nat') ?? {};
  assert.deepEqual([backend, state], ['none', 'unavailable']);
  assert.match(reason ?? '', /^attach kprobe_nat: EPERM: is perf_event_open refused/);
  assert.match(probes.lacking() ?? '', /^nat is not seen/);
  probes.setActive(false);
  assert.equal(hook(probes, 'nat')?.state, 'unavailable', 'nothing is known to have changed');
  kernel.attachRefuses = {};
  probes.setActive(true);
  assert.deepEqual([hook(probes, 'nat')?.state, hook(probes, 'nat')?.backend, probes.lacking()], ['on', 'kprobe', undefined]);
  assert.equal(kernel.opened.length, 1, 'it was loaded all the time');
});

test('a probe that fentry does not take when it is attached is attached as a kprobe, and says why', (t) => {
  const { probes, kernel } = openProbes(t, { attachRefuses: { fentry_nat: 'E2BIG' } });
  probes.setActive(true);
  assert.equal(kernel.attached.size, PROBES.length);
  assert.deepEqual(hook(probes, 'nat'), { name: 'nat', backend: 'kprobe', state: 'on', reason: 'attach fentry_nat: E2BIG' });
  assert.deepEqual(kernel.opened.at(-1)?.only, ['kprobe_nat']);
  assert.equal(probes.lacking(), undefined);
  probes.setActive(false);
  probes.setActive(true);
  assert.deepEqual([hook(probes, 'nat')?.backend, kernel.opened.length, kernel.attached.size], ['kprobe', 2, PROBES.length]);
});

test('what there was no memory for is loaded when there is, and attached while somebody follows', (t) => {
  let nowMs = 0;
  const { probes, kernel } = openProbes(t, { refuses: { fentry_nat: 'ENOMEM' } }, { nowMs: () => nowMs });
  probes.setActive(true);
  assert.deepEqual([hook(probes, 'nat')?.state, kernel.attached.size], ['unavailable', 0]);
  assert.match(hook(probes, 'nat')?.reason ?? '', /ENOMEM/);
  assert.match(probes.lacking() ?? '', /ENOMEM/);
  const tries = kernel.opened.length;
  nowMs += 29_999;
  assert.deepEqual([probes.refresh(), kernel.opened.length], [false, tries], 'not all the time');
  nowMs += 1;
  assert.deepEqual([probes.refresh(), kernel.opened.length], [false, tries + 1], 'there is none yet');
  kernel.refuses = {};
  nowMs += 30_000;
  assert.equal(probes.refresh(), true);
  assert.deepEqual([hook(probes, 'nat')?.state, kernel.attached.size, probes.lacking()], ['on', PROBES.length, undefined]);
  assert.equal(probes.refresh(), false);
});

test('a program that nobody uses any more is unloaded, and what it has counted is kept', (t) => {
  const attachRefuses = Object.fromEntries(PROBES.map(({ name }) => [`fentry_${name.replaceAll('-', '_')}`, 'E2BIG']));
  const { probes, kernel } = openProbes(t, { attachRefuses });
  const [first] = kernel.opened;
  kernel.misses.set(first!, 3);
  probes.setActive(true);
  assert.ok(probes.hooks().every(({ backend, state }) => backend === 'kprobe' && state === 'on'));
  assert.deepEqual([kernel.misses.has(first!), kernel.misses.size, probes.recursionMisses()], [false, PROBES.length, 3]);
});

for (const [what, refusals, reason] of [
  ['loaded', { refuses: { kprobe_nat: 'EACCES' } }, /^attach fentry_nat: EBUSY\nload program kprobe_nat: EACCES\nR1 invalid/],
  [
    'attached',
    { attachRefuses: { kprobe_nat: 'EPERM' } },
    /^attach fentry_nat: EBUSY\nattach kprobe_nat: EPERM: is perf_event_open/,
  ],
  ['had at all', { refuses: { kprobe: 'ENODEV' } }, /^attach fentry_nat: EBUSY\nthis kernel has no kprobes/],
] as const) {
  test(`where a kprobe cannot be ${what} in place of a fentry, it costs itself alone, with both reasons, and is tried again`, (t) => {
    const attachRefuses = { fentry_nat: 'EBUSY', ...('attachRefuses' in refusals ? refusals.attachRefuses : {}) };
    const { probes, kernel } = openProbes(t, { ...refusals, attachRefuses });
    probes.setActive(true);
    assert.deepEqual([hook(probes, 'nat')?.state, kernel.attached.size], ['unavailable', PROBES.length - 1]);
    assert.match(hook(probes, 'nat')?.reason ?? '', reason);
    kernel.attachRefuses = {};
    probes.setActive(false);
    probes.setActive(true);
    assert.deepEqual([hook(probes, 'nat')?.state, kernel.attached.size], ['on', PROBES.length]);
  });
}

test('a function of a module that is loaded later is taken up, and attached while somebody follows', (t) => {
  const { probes, kernel } = openProbes(t, { functions: without(/^nf_nat/) });
  probes.setActive(true);
  assert.match(hook(probes, 'nat')?.reason ?? '', /its module is not loaded/);
  assert.equal(probes.refresh(), false);
  kernel.lists(EVERYTHING, ['nf_nat 57344 1 xt_nat, Live 0x0']);
  assert.equal(probes.refresh(), true);
  assert.deepEqual(hook(probes, 'nat'), { name: 'nat', backend: 'fentry', state: 'on' });
  assert.equal(kernel.attached.size, PROBES.length);
});

/** A line of /proc/modules. */
const natModule = (state = 'Live', address = '0xffffffffc0a00000') => `nf_nat 57344 1 xt_nat, ${state} ${address}`;

test('a module that is seen while it is loaded is waited for: its types and its functions are not there yet', (t) => {
  for (const early of [{ untyped: new Set(NAT_FUNCTIONS) }, { refuses: { fentry_nat: 'ENXIO', kprobe: 'EPERM' } }]) {
    const { probes, kernel } = openProbes(t, { functions: without(/^nf_nat/), ...early });
    kernel.lists(NAT_IN_MODULE, [natModule('Loading')]);
    probes.refresh();
    assert.equal(hook(probes, 'nat')?.state, 'unavailable');
    assert.equal(probes.lacking(), undefined);
    kernel.untyped.clear();
    kernel.refuses = {};
    kernel.lists(NAT_IN_MODULE, [natModule()]);
    assert.equal(probes.refresh(), true);
    assert.deepEqual(hook(probes, 'nat'), { name: 'nat', backend: 'fentry', state: 'idle' });
  }
});

test('use counts of modules change all the time: nothing is looked for again', (t) => {
  const { probes, kernel } = openProbes(t, { functions: without(/^icmp_rcv$/) });
  kernel.lists(EVERYTHING, [natModule()]);
  assert.equal(probes.refresh(), true);
  kernel.lists(without(/icmp_echo/), [natModule().replace(' 1 ', ' 2 ')]);
  assert.equal(probes.refresh(), false);
});

for (const [what, between] of [
  ['comes again', [] as string[]],
  ['has come again when it is looked for', undefined],
] as const) {
  test(`a module that goes and ${what} is attached anew, and nothing is left of what was in it`, (t) => {
    const { probes, kernel } = openProbes(t, { functions: without(/^nf_nat/), refuses: { fentry: 'EPERM' } });
    probes.setActive(true);
    kernel.lists(NAT_IN_MODULE, [natModule()]);
    probes.refresh();
    assert.equal(hook(probes, 'nat')?.state, 'on');
    const before = kernel.opened.at(-1)!;
    kernel.misses.set(before, 7);
    if (between !== undefined) {
      kernel.lists(without(/^nf_nat/), between);
      assert.equal(probes.refresh(), true);
      assert.match(hook(probes, 'nat')?.reason ?? '', /its module is not loaded/);
      assert.deepEqual([hook(probes, 'nat')?.state, kernel.attached.has('kprobe_nat')], ['unavailable', false]);
    }
    kernel.lists(NAT_IN_MODULE, [natModule('Live', '0xffffffffc0b00000')]);
    probes.refresh();
    assert.deepEqual([hook(probes, 'nat')?.state, kernel.attached.size], ['on', PROBES.length]);
    assert.ok(kernel.opened.at(-1) !== before && !kernel.misses.has(before));
    assert.equal(probes.recursionMisses(), 7, 'what it has counted is not forgotten');
    probes.setActive(false);
    assert.equal(kernel.attached.size, 0);
  });
}

for (const [what, functions, lacking] of [
  ['everything', EVERYTHING, undefined],
  ['no NAT', without(/^nf_nat/), undefined],
  ['no conntrack', without(/nf_(nat|conntrack)/), undefined],
  ['no IPv6', without(/6/), undefined],
  ['NAT, but no IPv6', without(/icmp.*6|ipv6/), undefined],
  ['ICMP under another name', without(/^icmp_rcv$/), /^icmp-receive is not seen.* no function icmp_rcv: it has another name/],
  ['NAT under another name', without(/^nf_nat_manip_pkt$/), /^nat is not seen.* no function nf_nat_manip_pkt: it has another/],
  ['two under another name', without(/^(icmp_rcv|icmp6_send)$/), /^icmp6-send, icmp-receive are not seen/],
  ['a clone', [...without(/^icmp_rcv$/), 'icmp_rcv.isra.0'], /^icmp-receive is not seen.* only icmp_rcv\.isra\.0/],
] as const) {
  test(`of a kernel with ${what} it is told what is not seen, but not what never happens there`, (t) => {
    const text = openProbes(t, { functions }).probes.lacking();
    if (lacking === undefined) assert.equal(text, undefined);
    else assert.match(text ?? '', lacking);
  });
}

test('switched off, no probe is loaded', (t) => {
  const { probes, kernel } = openProbes(t, {}, { backend: 'none' });
  assert.equal(kernel.opened.length, 0);
  assert.match(hook(probes, 'nat')?.reason ?? '', /switched off by --probes/);
});
