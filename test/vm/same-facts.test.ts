import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { factsOf, type NodeReport, readReports } from './facts.ts';
import { type KernelImage, kernelImage } from './kernel-image.ts';
import { KERNELS } from './kernels.ts';
import { runInMachine } from './machine.ts';
import { writePlainScript } from './plain-script.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCENARIO = fileURLToPath(new URL('inside/scenario.sh', import.meta.url));
const TC_PROGRAMS = ['ktrace_ingress', 'ktrace_egress', 'ktrace_l3_in', 'ktrace_l3_out', 'ktrace_peer'];
const PROGRAMS = [...TC_PROGRAMS, 'body_ingress', 'body_egress', 'body_l3_in', 'body_l3_out', 'ktrace_drop'];
/** What must be told wherever it runs, besides being the same everywhere. */
const MUST_BE_TOLD = {
  host1: [
    /^tcp; S; request; 10\.244\.1\.2:\* → 10\.96\.0\.10:80; dnat 10\.96\.0\.10:80 → 10\.244\.2\.2:8080; in vethpod1, in cni0, out flannel\.1, out eth0 \(172\.18\.0\.1 → 172\.18\.0\.2\); forwarded$/,
    /^tcp; SA; reply; 10\.244\.2\.2:8080 → 10\.244\.1\.2:\*; dnat 10\.244\.2\.2:8080 → 10\.96\.0\.10:80; .*; delivered$/,
    /^icmp; echo-request; request; 10\.244\.1\.2 → 10\.244\.2\.2; in vethpod1, in cni0, out flannel\.1, out eth0 \(.*\); forwarded$/,
    /^icmp; echo-request; .*; in vethpod1, in cni0; dropped; IP_INHDR at ip_forward$/,
    /^udp; request; .* → 10\.96\.0\.10:53; dnat 10\.96\.0\.10:53 → 10\.244\.2\.2:5353; /,
  ],
  host2: [
    /^tcp; S; .* → 10\.244\.2\.2:81; .*; dropped; NETFILTER_DROP at (nft_do_chain|nf_hook_slow)$/,
    /^udp; .* → 10\.244\.2\.2:5353; .*out vethpod2; dropped; NO_SOCKET at \w+$/,
    /^icmp; port-unreachable; .*about udp /,
  ],
};

const NEEDED_HERE = [{ command: 'busybox', package: 'busybox-static' }];
const NEEDED_TO_BOOT = [
  { command: 'qemu-system-x86_64', package: 'qemu-system-x86' },
  { command: 'cpio', package: 'cpio' },
  { command: 'depmod', package: 'kmod' },
];

const SKIP = process.getuid?.() === 0 ? missing(NEEDED_HERE) : 'needs root: network namespaces, and all files for the guest';
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

  for (const kernel of KERNELS) {
    describe(kernel.name, () => {
      let reports: Map<string, NodeReport>;
      let image: KernelImage;
      let reason = missing(NEEDED_TO_BOOT) || undefined;
      before(async () => {
        if (reason !== undefined) return;
        try {
          image = await kernelImage(kernel);
        } catch (error) {
          reason = `apt has no ${kernel.package} to give: ${String(error)}`;
          return;
        }
        reports = await runThere(image, command);
      });
      proveAll(
        () => reports,
        () => reason,
      );
      for (const node of ['host1', 'host2']) {
        it(`${node} tells the same facts as on this machine's kernel`, (t) => {
          if (reason !== undefined) return t.skip(reason);
          assert.deepEqual(facts(reports, node), facts(native, node));
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
      assert.ok(load.dropReasons > 50 && load.hasSymbols);
    });
    prove('attaches to the veth, the bridge, the tunnel and the uplink, and to the drops', ({ ready }) => {
      assert.deepEqual({ attached: ready.attached, failures: ready.failures }, { attached: 4, failures: 0 });
      assert.deepEqual(
        ready.hooks.map(({ name, state }) => `${name} ${state}`),
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
          lost: stats.lostRing + stats.lostScratch,
          malformed,
          recursionMisses,
          rest: stats.matched - stats.emitted - stats.counted,
        },
        { lost: 0, malformed: 0, recursionMisses: 0, rest: 0 },
      );
    });
  }
}

async function runThere(image: KernelImage, command: readonly string[]): Promise<Map<string, NodeReport>> {
  const lines: string[] = [];
  const code = await runInMachine(image, {
    command: [SCENARIO, 'vm', ...command].map((word) => `'${word}'`).join(' '),
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

/** What must be installed first, in a sentence; false: nothing. */
function missing(needed: { command: string; package: string }[]): string | false {
  const lacking = needed.filter(({ command }) => spawnSync(command, ['--help'], { stdio: 'ignore' }).error !== undefined);
  return lacking.length > 0 && `needs ${lacking.map((needs) => needs.package).join(', ')}: apt-get install it`;
}
