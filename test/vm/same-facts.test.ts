import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual, promisify } from 'node:util';
import { capability } from '../support/capability.ts';
import { before } from '../support/evidence.ts';
import { factsOf, type NodeReport, readReports } from './facts.ts';
import { imageOrSkip, type KernelImage } from './machine/kernel-image.ts';
import { KERNELS } from './machine/kernels.ts';
import { runInMachine } from './machine/machine.ts';
import { missing, NEEDED_HERE, NEEDED_TO_BOOT, NOT_ASKED_FOR, needs } from './machine/needed.ts';
import { writePlainScript } from './machine/plain-script.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCENARIO = fileURLToPath(new URL('inside/scenario.sh', import.meta.url));
const TC_PROGRAMS = ['ktrace_in', 'ktrace_out', 'ktrace_l3_in', 'ktrace_l3_out', 'ktrace_peer', 'ktrace_symbol'];
const BODIES = [
  'in',
  'out',
  'l3_in',
  'l3_out',
  'tagged_in',
  'tagged_out',
  'told',
  'untold',
  'untold_flow',
  'close_in',
  'close_out',
].map((name) => `body_${name}`);
/** What is always loaded; the programs on the kernel's functions come by themselves. */
const PROGRAMS = [...TC_PROGRAMS, ...BODIES, 'ktrace_drop'];
/** More than a month, so that a time of after it has another month. */
const CLOCK_JUMP_S = 40 * 86_400;
/** What must be told wherever it runs, besides being the same everywhere. */
const MUST_BE_TOLD = {
  host1: [
    /^tcp; S; request; 10\.244\.1\.2:\* → 10\.96\.0\.10:80; dnat 10\.96\.0\.10:80 → 10\.244\.2\.2:8080; in vethpod1, in cni0, out flannel\.1, out eth0 \(172\.18\.0\.1 → 172\.18\.0\.2\); forwarded$/,
    /^tcp; SA; reply; 10\.244\.2\.2:8080 → 10\.244\.1\.2:\*; dnat 10\.244\.2\.2:8080 → 10\.96\.0\.10:80; .*; delivered$/,
    /^icmp; echo-request; request; 10\.244\.1\.2 → 10\.244\.2\.2; in vethpod1, in cni0, out flannel\.1, out eth0 \(.*\); forwarded$/,
    /^icmp; echo-request; .*; in vethpod1, in cni0; dropped; IP_INHDR at ip_forward$/,
    /^icmp; echo-request; request; 10\.244\.1\.2 → 10\.244\.1\.1; in vethpod1, in cni0; delivered$/,
    /^udp; request; .* → 10\.96\.0\.10:53; dnat 10\.96\.0\.10:53 → 10\.244\.2\.2:5353; /,
    // Out through a masquerade, and the port unreachable about it from the uplink on.
    /^udp; request; 10\.244\.1\.2:\* → 172\.18\.0\.2:9; snat 10\.244\.1\.2:\* → 172\.18\.0\.1:\*; in vethpod1, in cni0, out eth0; forwarded$/,
    /^icmp; port-unreachable; reply; 172\.18\.0\.2 → 172\.18\.0\.1; snat 172\.18\.0\.1 → 10\.244\.1\.2; about udp 10\.244\.1\.2:\* → 172\.18\.0\.2:9; snat → 172\.18\.0\.1:\*; in eth0, out cni0, out vethpod1; delivered$/,
    // What no route leads on: freed without a reason, which is all that a kernel may say of a drop.
    /^udp; request; 10\.244\.1\.2:\* → 198\.51\.100\.7:9; in vethpod1, in cni0; dropped; NOT_SPECIFIED at ip_error$/,
    /^icmp; host-unreachable; .*; about udp 10\.244\.1\.2:\* → 198\.51\.100\.7:9; by host1; out cni0, out vethpod1; delivered$/,
    // A Service whose pod closed the port, and a path that is too narrow behind it: both about the Service, before and after translation.
    /^icmp; port-unreachable; .*; about udp 10\.244\.1\.2:\* → 10\.96\.0\.10:53; dnat → 10\.244\.2\.2:5353; in eth0 .*, out vethpod1; delivered$/,
    /^icmp; fragmentation-needed; .*; about udp 10\.244\.1\.2:\* → 10\.96\.0\.10:53; dnat → 10\.244\.2\.2:5353; mtu 1000; by host1; out cni0, out vethpod1; delivered$/,
    /^udp; .*; in vethpod1, in cni0; dropped; PKT_TOO_BIG at ip_forward$/,
    // Errors that another node makes about the Service's translation: behind the tunnel its time is over, or a rule prohibits it.
    /^icmp; time-exceeded; .*; about udp 10\.244\.1\.2:\* → 10\.96\.0\.10:53; dnat → 10\.244\.2\.2:5353; in eth0 .*, out vethpod1; delivered$/,
    /^icmp; admin-prohibited; .*; about udp 10\.244\.1\.2:\* → 10\.96\.0\.10:54; dnat → 10\.244\.2\.2:5454; in eth0 .*, out vethpod1; delivered$/,
    // The same by IPv6.
    /^icmp6; echo-request; request; fd00:244:1::2 → fd00:244:2::2; in vethpod1, in cni0, out flannel\.1, out eth0 \(.*\); forwarded$/,
    /^icmp6; echo-request; .*; in vethpod1, in cni0; dropped; \w+ at ip6_forward$/,
    /^icmp6; time-exceeded; .* about icmp6 fd00:244:1::2 → fd00:244:2::2; by host1; /,
    /^udp; request; fd00:244:1::2:\* → fd00:96::10:53; dnat fd00:96::10:53 → fd00:244:2::2:5353; /,
    /^icmp6; port-unreachable; .*; about udp fd00:244:1::2:\* → fd00:96::10:53; dnat → fd00:244:2::2:5353; in eth0 .*, out vethpod1; delivered$/,
    /^icmp6; packet-too-big; .*; about udp fd00:244:1::2:\* → fd00:96::10:53; dnat → fd00:244:2::2:5353; mtu 1280; by host1; out cni0, out vethpod1; delivered$/,
    /^icmp; time-exceeded; .* about icmp 10\.244\.1\.2 → 10\.244\.2\.2; by host1; /,
    // A pod to its own Service, the node itself to it, and a NodePort from outside.
    /^tcp; S; request; 10\.244\.1\.2:\* → 10\.96\.0\.11:80; dnat .* → 10\.244\.1\.2:8080; snat 10\.244\.1\.2:\* → 10\.244\.1\.1:\*; /,
    /^tcp; S; request; 172\.18\.0\.1:\* → .*; dnat 10\.96\.0\.11:80 → 10\.244\.1\.2:8080; out cni0, out vethpod1; delivered$/,
    /^tcp; S; request; 172\.18\.0\.2:\* → 172\.18\.0\.1:30080; dnat .* → 10\.244\.1\.2:8080; in eth0, out cni0, out vethpod1; delivered$/,
    /^tcp; SA; reply; 10\.244\.1\.2:8080 → 172\.18\.0\.2:\*; dnat 10\.244\.1\.2:8080 → 172\.18\.0\.1:30080; /,
  ],
  host2: [
    /^tcp; S; .* → 10\.244\.2\.2:81; .*; dropped; NETFILTER_DROP at (nft_do_chain|nf_hook_slow)$/,
    /^udp; .* → 10\.244\.2\.2:5353; .*out vethpod2; dropped; NO_SOCKET at \w+$/,
    /^icmp; port-unreachable; .*about udp .*; by host2; /,
    /^icmp; time-exceeded; .*about udp .*; by host2; /,
    /^icmp; admin-prohibited; .*about udp .*; by host2; /,
    /^icmp6; port-unreachable; .*about udp .*; by host2; /,
  ],
};

const SKIP = needs(NEEDED_HERE);
/** fentry is what they have by themselves; by kprobe each runs once more, which is too long for every run. */
const MACHINES = KERNELS.flatMap((kernel) => [
  { kernel, backend: 'auto', skip: false },
  { kernel, backend: 'kprobe', skip: NOT_ASKED_FOR },
]);
const run = promisify(execFile);

describe('the same traffic, told on several kernels', { skip: SKIP }, () => {
  let native: Map<string, NodeReport>;
  let command: string[];
  before(async () => {
    const script = writePlainScript(ROOT, 'test/vm/inside/node.ts', join(ROOT, `build/vm.${process.pid}`));
    const addon = join(ROOT, 'native/build/Release/ktrace_native.node');
    command = ['env', `KTRACE_ADDON=${addon}`, process.execPath, script, join(ROOT, 'build/bpf/ktrace.bpf.o')];
    const { stdout } = await run(SCENARIO, [`v${randomBytes(4).toString('hex')}`, ...command], { maxBuffer: 64 << 20 });
    native = readReports(stdout.split('\n'));
  });
  after(() => rmSync(join(ROOT, `build/vm.${process.pid}`), { recursive: true, force: true }));
  describe("this machine's kernel", () => proveAll(() => native));

  for (const { kernel, backend, skip } of MACHINES) {
    describe(backend === 'auto' ? kernel.name : `${kernel.name}, by ${backend}`, { skip }, () => {
      let reports: Map<string, NodeReport>;
      let image: KernelImage | undefined;
      let reason = capability('vm', missing(NEEDED_TO_BOOT)) || undefined;
      before(async () => {
        if (reason !== undefined) return;
        image = await imageOrSkip(kernel, (why) => {
          reason = why;
        });
        if (image === undefined) return;
        reports = await runThere(image, command, backend);
      });
      proveAll(
        () => reports,
        () => reason,
      );
      /** Only there are the kernel's functions to be had. */
      const prove = (title: string, check: (reports: Map<string, NodeReport>) => void) =>
        it(title, (t) => {
          if (reason !== undefined) return t.skip(reason);
          check(reports);
        });
      prove('every kernel function is seen, by fentry or by kprobe', (all) => {
        for (const node of ['host1', 'host2']) {
          const probes = reportOf(all, node).ready.hooks.slice(3);
          assert.equal(probes.length, 10);
          for (const { name, backend: is, state, reason: why } of probes)
            assert.ok(
              state === 'on' && (backend === 'auto' ? is === 'fentry' || is === 'kprobe' : is === backend),
              `${name}: ${is} ${state} ${why ?? ''}`,
            );
        }
      });
      prove('every translation is seen when it happens, with its time', (all) => {
        const translations = reportOf(all, 'host1').packets.flatMap(({ nat = [], icmp }) =>
          icmp?.about === undefined ? nat : [],
        );
        assert.ok(translations.length >= 10);
        for (const one of translations) assert.ok(one.seenBy === 'kprobe' && one.atNs !== undefined, JSON.stringify(one));
      });
      prove('every translation says the hook of netfilter at which it is done', (all) => {
        const { packets } = reportOf(all, 'host1');
        const hooksOf = (dir: string, isOfNode: boolean): string[] => {
          const own = ({ ip }: { ip: string }) => ip === '172.18.0.1';
          const translated = packets.filter(
            ({ tcp, dir: is, src, dst }) =>
              tcp?.flags.includes('S') === true && is === dir && own(dir === 'reply' ? dst : src) === isOfNode,
          );
          return [...new Set(translated.flatMap(({ nat = [] }) => nat.map(({ kind, hook }) => `${kind} ${hook}`)))].sort();
        };
        assert.deepEqual(hooksOf('request', false), ['dnat prerouting', 'snat postrouting']);
        assert.deepEqual(hooksOf('request', true), ['dnat output']);
        assert.deepEqual(hooksOf('reply', true), ['dnat input']);
        assert.deepEqual(hooksOf('reply', false), ['dnat postrouting', 'snat prerouting']);
      });
      prove(
        'every translated connection is seen as it enters conntrack’s table, with its first packet and after its rewrites',
        (all) => {
          const firsts = reportOf(all, 'host1').packets.filter(
            ({ tcp, nat = [], verdict }) => tcp?.flags === 'S' && nat.length > 0 && verdict !== 'dropped',
          );
          assert.ok(firsts.length >= 3);
          for (const { nat = [] } of firsts)
            for (const { atNs = Infinity, confirmedAtNs = -1 } of nat) assert.ok(confirmedAtNs >= atNs, JSON.stringify(nat));
          const answers = reportOf(all, 'host1').packets.filter(({ tcp, nat = [] }) => tcp?.flags === 'SA' && nat.length > 0);
          assert.ok(answers.length > 0);
          for (const { nat = [] } of answers) for (const { confirmedAtNs } of nat) assert.equal(confirmedAtNs, undefined);
        },
      );
      prove('errors about translated flows are seen as NAT translates them, and as the kernel makes them', (all) => {
        const errors = reportOf(all, 'host1').packets.filter(({ icmp }) => icmp?.about?.nat !== undefined);
        assert.ok(errors.length >= 3);
        for (const { icmp } of errors)
          assert.ok(
            icmp?.about?.nat?.every(({ seenBy }) => seenBy === 'kprobe'),
            JSON.stringify(icmp),
          );
        const made = [...all.values()].flatMap(({ packets }) => packets.flatMap(({ icmp }) => icmp?.by ?? []));
        const told = (by: object) => made.some((one) => isDeepStrictEqual(one, { ...by, seenBy: 'kprobe' }));
        assert.ok(told({ node: 'host1', if: 'flannel.1' }), 'the tunnel that a datagram did not fit through');
        assert.ok(told({ node: 'host1', if: 'cni0' }), 'the bridge from which a packet came whose time was over');
        assert.ok(told({ node: 'host2', if: 'vethpod2', pod: '' }), 'the pod whose port is closed, which nobody names here');
      });
      prove('a ping is answered where the kernel was seen answering it', (all) => {
        const pings = reportOf(all, 'host2').packets.filter(({ icmp }) => icmp?.name === 'echo-request');
        assert.ok(pings.length > 0);
        for (const { verdict } of pings) assert.equal(verdict, 'answered');
      });
      prove('a ping that the kernel takes in and is told not to answer is delivered, not answered', (all) => {
        const pings = reportOf(all, 'host1').packets.filter(
          ({ icmp, dst }) => icmp?.name === 'echo-request' && dst.ip === '10.244.1.1',
        );
        assert.deepEqual(
          pings.map(({ verdict }) => verdict),
          ['delivered'],
        );
      });
      for (const node of ['host1', 'host2']) {
        it(`${node} tells the same facts as on this machine's kernel`, (t) => {
          if (reason !== undefined) return t.skip(reason);
          assert.deepEqual(facts(reports, node), facts(native, node));
        });
        it(`${node} follows a clock that is set forward, and no packet's way takes longer by it`, (t) => {
          if (reason !== undefined) return t.skip(reason);
          const { packets } = reportOf(reports, node);
          const timesMs = packets.map(({ time }) => Date.parse(time));
          const [first, last] = [Math.min(...timesMs), Math.max(...timesMs)];
          assert.ok(last - first > CLOCK_JUMP_S * 1000 && last - first < (CLOCK_JUMP_S + 300) * 1000, `${first} to ${last}`);
          for (const { hops } of packets) for (const { atNs } of hops) assert.ok(atNs >= 0 && atNs < 60e9, `${atNs} ns`);
        });
      }
    });
  }
});

/** What every kernel must prove by itself. */
function proveAll(reports: () => Map<string, NodeReport>, whySkip: () => string | undefined = () => undefined): void {
  for (const [node, expected] of Object.entries(MUST_BE_TOLD)) {
    const prove = (title: string, check: (report: NodeReport) => void) =>
      it(`${node} ${title}`, (t) => {
        const reason = whySkip();
        if (reason !== undefined) return t.skip(reason);
        check(reportOf(reports(), node));
      });
    prove('loads every program, with conntrack, drop reasons and symbols', ({ load }) => {
      const loaded = new Map(load.programs.map(({ program, instructions }) => [program, instructions]));
      for (const program of PROGRAMS) assert.ok((loaded.get(program) ?? 0) > 0, `${program} is not loaded`);
      assert.deepEqual(load.notices, []);
      assert.ok(load.dropReasons > 50);
      assert.deepEqual([load.symbols.places >= 6, load.symbols.wrong], [true, []]);
    });
    prove('attaches to the veth, the bridge, the tunnel and the uplink, and to the drops', ({ ready }) => {
      assert.deepEqual({ attached: ready.attached, failures: ready.failures }, { attached: 4, failures: 0 });
      assert.deepEqual(
        ready.hooks.slice(0, 3).map(({ name, state }) => `${name} ${state}`),
        ['tc on', 'drops on', 'conntrack on'],
      );
    });
    prove('tells translations, hops and drops', (report) => {
      const told = factsOf(report);
      for (const fact of expected)
        assert.ok(
          told.some((line) => fact.test(line)),
          `${fact} is not in\n${told.join('\n')}`,
        );
    });
    prove('loses nothing', ({ counts: { stats, malformed, recursionMisses } }) => {
      assert.deepEqual(
        {
          lost: stats.lostRing + stats.lostScratch + stats.cut,
          malformed,
          recursionMisses,
          rest: stats.matched - stats.emitted - stats.counted - stats.cut - stats.filtered,
        },
        { lost: 0, malformed: 0, recursionMisses: 0, rest: 0 },
      );
    });
  }
}

async function runThere(image: KernelImage, command: readonly string[], backend: string): Promise<Map<string, NodeReport>> {
  const lines: string[] = [];
  const settings = [`KTRACE_CLOCK_JUMP_S=${CLOCK_JUMP_S}`, `KTRACE_PROBES=${backend}`];
  const code = await runInMachine(image, {
    command: ['env', ...settings, SCENARIO, 'vm', ...command].map((word) => `'${word}'`).join(' '),
    onLine: (line) => lines.push(line),
    limitMs: 280_000,
  });
  assert.equal(code, 0, lines.join('\n'));
  return readReports(lines);
}

function facts(reports: Map<string, NodeReport>, node: string): string[] {
  return factsOf(reportOf(reports, node));
}

function reportOf(reports: Map<string, NodeReport>, node: string): NodeReport {
  const report = reports.get(node);
  assert.ok(report, `${node} said nothing`);
  return report;
}
