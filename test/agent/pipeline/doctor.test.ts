import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Interfaces } from '../../../src/agent/kernel/interfaces.ts';
import type { Tracer } from '../../../src/agent/kernel/tracer.ts';
import { brokenNode, capabilities, diagnose } from '../../../src/agent/pipeline/doctor.ts';
import type { HookReport } from '../../../src/event/node-report.ts';
import { KtraceError } from '../../../src/util/errors.ts';
import { link, openInterfaces } from '../kernel/interfaces-fixture.ts';

const TC: HookReport = { name: 'tc', backend: 'tcx', state: 'on' };

function reportOf(hooks: HookReport[], given?: Interfaces) {
  const interfaces = given ?? { list: () => [{ name: 'veth1', kind: 'pod', attached: true }], lacking: () => undefined };
  return diagnose('host1', '0.1.0', {
    tracer: { hooks: () => hooks } as unknown as Tracer,
    interfaces: interfaces as unknown as Interfaces,
  });
}

test('capabilities are read from the effective set', () => {
  const has = (bits: string) =>
    capabilities(`Name:\tnode\nCapPrm:\t000001ffffffffff\nCapEff:\t${bits}\n`)
      .filter((one) => one.has)
      .map(({ name }) => name);
  assert.deepEqual(has('000001ffffffffff'), ['BPF', 'PERFMON', 'NET_ADMIN', 'SYS_ADMIN']);
  assert.deepEqual(has('000000c000001000'), ['BPF', 'PERFMON', 'NET_ADMIN']);
  assert.deepEqual(has('0000000000000000'), []);
});

test('a node with all hooks lacks nothing', () => {
  const report = reportOf([TC, { name: 'nat', backend: 'fentry', state: 'idle' }]);
  assert.deepEqual([report.works, report.lacks, report.reason], [true, [], undefined]);
});

for (const [hook, what, remedy] of [
  [{ name: 'nat', reason: 'this kernel has no kprobes (CONFIG_KPROBES)' }, /when NAT rewrites a packet/, /CONFIG_KPROBES/],
  [
    { name: 'icmp-send', reason: 'kprobe is refused to this process (EPERM): perf_event_open needs' },
    /ICMP error was made/,
    /CAP_PERFMON/,
  ],
  [
    { name: 'nat', reason: 'the kernel has no function nf_nat_manip_pkt: its module is not loaded (nf_nat)' },
    /NAT rewrites/,
    /when the module is loaded/,
  ],
  [
    { name: 'icmp-receive', reason: 'the kernel has no function icmp_rcv: it has another name here, or' },
    /took an ICMP message in/,
    /report the reason/,
  ],
  [
    { name: 'nat', reason: 'nf_nat_manip_pkt of module nf_nat has no type information (BTF), so' },
    /NAT rewrites/,
    /DEBUG_INFO_BTF_MODULES/,
  ],
  [{ name: 'nat', reason: 'load program kprobe_nat: EACCES\nR1 invalid' }, /NAT rewrites/, /report the reason/],
  [{ name: 'drops', reason: 'no reasons' }, /packets that the kernel drops/, /5\.17/],
  [{ name: 'conntrack', reason: 'not in BTF' }, /translations/, /nf_conntrack/],
] as const) {
  test(`without ${hook.name} (${hook.reason.split('\n')[0]}) it says what cannot be told, why, and what would change that`, () => {
    const { lacks, works } = reportOf([TC, { ...hook, backend: 'none', state: 'unavailable' }]);
    assert.equal(works, true);
    assert.equal(lacks.length, 1);
    assert.match(lacks[0]?.what ?? '', what);
    assert.equal(lacks[0]?.why, hook.reason);
    assert.match(lacks[0]?.remedy ?? '', remedy);
  });
}

for (const isActive of [true, false]) {
  test(`a node without interfaces does not work, whether or not somebody follows (${isActive})`, (t) => {
    const { interfaces } = openInterfaces(t);
    interfaces.setActive(isActive);
    const { works, reason } = reportOf([TC], interfaces);
    assert.equal(works, false);
    assert.match(reason ?? '', /^no interface of a pod network and no uplink is known on this node/);
  });
}

/** What a node says of itself where these interfaces are refused. */
function reportWhere(t: TestContext, refused: readonly number[], isActive = true) {
  const links = [7, 8].map((ifindex) => link({ ifindex, name: `veth${ifindex}` }));
  const { interfaces } = openInterfaces(t, { links, refusals: new Map(refused.map((ifindex) => [ifindex, 'ENOMEM'])) });
  interfaces.setActive(isActive);
  return reportOf([TC], interfaces);
}

test('a node where no interface can be attached does not work, and says why', (t) => {
  const { works, reason, lacks } = reportWhere(t, [7, 8]);
  assert.deepEqual(
    [works, reason, lacks],
    [false, "no packet is seen at any interface of this node: 2 pods' interfaces: ENOMEM", []],
  );
});

test('a node where some interface cannot be attached works, and lacks the packets there', (t) => {
  const { works, reason, lacks } = reportWhere(t, [7]);
  assert.deepEqual([works, reason, lacks.length], [true, undefined, 1]);
  assert.deepEqual([lacks[0]?.what, lacks[0]?.why], ['packets at veth7', "1 pod's interface: ENOMEM"]);
  assert.match(lacks[0]?.remedy ?? '', /goes on trying/);
});

test('of a node where nobody follows, and nothing is attached, it is not said that it does not work', (t) => {
  const { works, reason, lacks } = reportWhere(t, [7, 8], false);
  assert.deepEqual([works, reason, lacks], [true, undefined, []]);
});

test('a node whose programs cannot be loaded does not work, and says why', () => {
  const reasonOf = (error: unknown) => brokenNode('host1', '0.1.0', false, error).reason?.replace(/^Programs need .*\n/, '');
  const { works, kernel } = brokenNode('host1', '0.1.0', false, new Error('no'));
  assert.deepEqual([works, kernel.btf, reasonOf(new Error('ENOMEM'))], [false, false, 'ENOMEM']);
  const noBtf = new KtraceError('KTRACE_E_NO_BTF', 'This kernel has no BTF', { hint: 'Use one that has' });
  assert.equal(reasonOf(noBtf), 'This kernel has no BTF\nUse one that has');
});
