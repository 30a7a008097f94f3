import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { NodeReport as DoctorReport } from '../../src/event/node-report.ts';
import type { PacketEvent } from '../../src/event/types.ts';
import { isAccounted } from '../lab/support/kernel.ts';
import { before } from '../support/evidence.ts';
import { type NodeReport, readReports } from './facts.ts';
import { imageOrSkip } from './machine/kernel-image.ts';
import { KERNELS } from './machine/kernels.ts';
import { runInMachine } from './machine/machine.ts';
import { NEEDED_HERE, NEEDED_TO_BOOT, needs } from './machine/needed.ts';
import { writePlainScript } from './machine/plain-script.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCRIPT = fileURLToPath(new URL('inside/probes.sh', import.meta.url));
const SKIP = needs([
  ...NEEDED_HERE,
  ...NEEDED_TO_BOOT,
  { command: 'cc', package: 'gcc' },
  { command: 'ipvsadm', package: 'ipvsadm' },
]);

for (const kernel of KERNELS) {
  describe(`the kernel's own functions on ${kernel.name}`, { skip: SKIP }, () => {
    const folder = join(ROOT, `build/vm-probes.${process.pid}`);
    let lines: string[];
    let reason: string | undefined;
    before(async () => {
      mkdirSync(folder, { recursive: true });
      const image = await imageOrSkip(kernel, (why) => {
        reason = why;
      });
      if (!image) return;
      lines = [];
      const code = await runInMachine(image, {
        command: [SCRIPT, 'vm', ...insideArguments(folder)].map((word) => `'${word}'`).join(' '),
        onLine: (line) => lines.push(line),
        limitMs: 280_000,
      });
      assert.equal(code, 0, lines.join('\n'));
    });
    after(() => rmSync(folder, { recursive: true, force: true }));

    const prove = (title: string, check: () => void) =>
      it(title, (t) => {
        if (reason !== undefined) return t.skip(reason);
        check();
      });
    const traced = (): NodeReport => {
      const report = readReports(lines).get('host1');
      assert.ok(report, 'host1 said nothing');
      return report;
    };
    const packet = (what: string, is: (packet: PacketEvent) => boolean): PacketEvent => {
      const found = traced().packets.find(is);
      assert.ok(
        found,
        `${what} was not told:\n${traced()
          .packets.map((one) => JSON.stringify(one))
          .join('\n')}`,
      );
      return found;
    };

    prove('conntrack is read from the start: its types are in the kernel’s own BTF before its module is loaded', () => {
      assert.ok(!lines.includes('nf_conntrack is loaded already'));
      const conntrack = traced().ready.hooks.find(({ name }) => name === 'conntrack');
      assert.deepEqual([conntrack?.state, conntrack?.reason], ['on', 'read at the tc hooks by probe reads']);
    });
    prove('are taken up when their module is loaded after the agent', () => {
      assert.ok(!lines.includes('nf_nat is loaded already'));
      const before = traced().ready.hooks.find(({ name }) => name === 'nat');
      assert.equal(before?.state, 'unavailable');
      assert.match(before?.reason ?? '', /no function nf_nat_manip_pkt: .*its module is not loaded/);
      for (const name of ['nat', 'nat-icmp']) {
        const after = traced().hooks?.find((hook) => hook.name === name);
        assert.ok(after?.state === 'on' && after.backend !== 'none', JSON.stringify(after));
      }
    });
    prove('tell the first translation after that', () => {
      const { nat } = packet('the SYN to the Service', ({ tcp, dst }) => tcp?.flags === 'S' && dst.ip === '10.96.0.10');
      assert.deepEqual(
        nat?.map(({ kind, after, seenBy }) => [kind, after.ip, after.port, seenBy]),
        [['dnat', '172.18.0.2', 8080, 'kprobe']],
      );
    });
    prove('what IPVS translates is told from its conntrack entry, there and back, in one record each', () => {
      const way = ({ hops }: PacketEvent) => hops.map(({ if: name, dir }) => `${dir} ${name}`);
      const nat = (told: PacketEvent) =>
        told.nat?.map(({ kind, before, after, seenBy }) => [kind, before.ip, before.port, after.ip, after.port, seenBy]);
      const syn = packet('the SYN to the Service', ({ tcp, dst }) => tcp?.flags === 'S' && dst.ip === '10.96.0.11');
      assert.deepEqual(nat(syn), [['dnat', '10.96.0.11', 80, '172.18.0.2', 8080, 'conntrack']]);
      assert.deepEqual(way(syn), ['in vethpod1', 'out eth0']);
      const answer = packet('its refusal', ({ tcp, dst }) => tcp?.flags === 'RA' && dst.port === syn.src.port);
      assert.deepEqual(nat(answer), [['dnat', '172.18.0.2', 8080, '10.96.0.11', 80, 'conntrack']]);
      assert.deepEqual([answer.dir, way(answer)], ['reply', ['in eth0', 'in tunl0', 'out vethpod1']]);
    });
    prove('a packet is followed into a tunnel of IPIP, and its answer out of it', () => {
      const way = ({ hops }: PacketEvent) =>
        hops.map(({ if: name, dir, tunnel }) => `${dir} ${name} ${tunnel?.kind ?? ''}`.trim());
      const ping = packet('the ping', ({ icmp, dst }) => icmp?.name === 'echo-request' && dst.ip === '10.244.2.1');
      assert.deepEqual(way(ping), ['in vethpod1', 'out tunl0', 'out eth0 ipip']);
      const answer = packet('its answer', ({ icmp, src }) => icmp?.name === 'echo-reply' && src.ip === '10.244.2.1');
      assert.deepEqual(way(answer), ['in eth0 ipip', 'in tunl0', 'out vethpod1']);
    });

    prove('are held to a rate, with what came in and was cut there, and all of it is accounted for', () => {
      const { stats } = readReports(lines).get('host3')?.counts ?? {};
      assert.ok(stats, 'host3 said nothing');
      assert.ok(isAccounted(stats), JSON.stringify(stats));
      // 1,500 requests taken in and answered, 1,500 answers taken in: each was a record of its own.
      assert.ok(stats.emitted < 1500 && stats.cut > 4500, JSON.stringify(stats));
    });

    const doctor = (name: string): { code: number; report: DoctorReport } => {
      const line = lines.find((one) => one.startsWith(`doctor ${name} `));
      const [, code = '', json = ''] = /^doctor \S+ (\d+) (\{.*\})$/.exec(line ?? '') ?? [];
      assert.notEqual(json, '', `doctor said nothing in case ${name}:\n${lines.join('\n')}`);
      return { code: Number(code), report: JSON.parse(json) as DoctorReport };
    };
    const states = ({ hooks }: DoctorReport) =>
      Object.fromEntries(hooks.map(({ name, backend, state }) => [name, `${backend} ${state}`]));

    prove('doctor finds everything on by fentry, and nothing lacking', () => {
      const { code, report } = doctor('everything');
      assert.deepEqual([code, report.works, report.lacks], [0, true, []]);
      assert.ok(
        report.hooks.slice(3).every(({ backend, state }) => backend === 'fentry' && state === 'on'),
        JSON.stringify(report.hooks),
      );
      assert.deepEqual(
        report.interfaces.map(({ name, kind, attached }) => [name, kind, attached]),
        [
          ['eth0', 'uplink', true],
          ['tunl0', 'tunnel', true],
          ['vethpod1', 'pod', true],
        ],
      );
    });
    prove('doctor finds everything on by kprobe where only that is asked for, and nothing lacking', () => {
      const { code, report } = doctor('by-kprobe');
      assert.deepEqual([code, report.works, report.lacks], [0, true, []]);
      assert.deepEqual(new Set(report.hooks.slice(3).map(({ backend, state }) => `${backend} ${state}`)), new Set(['kprobe on']));
    });
    prove(
      'without CAP_SYS_ADMIN what is in modules is lacking where kernel.perf_event_paranoid forbids kprobes, with both reasons',
      () => {
        const { code, report } = doctor('no-sys-admin');
        assert.deepEqual([code, report.lacks.length], [0, 4]);
        for (const { why, remedy } of report.lacks) {
          assert.match(
            why,
            /^load program fentry_nat\w* for \w+: .*\n(?:.*\n)*kprobe is refused to this process \(E\w+\): perf_event_open/,
          );
          assert.match(remedy, /perf_event_paranoid/);
        }
        assert.deepEqual([states(report)['nat'], states(report)['icmp-receive']], ['none unavailable', 'fentry on']);
        assert.deepEqual(
          report.capabilities.filter(({ has }) => has).map(({ name }) => name),
          ['BPF', 'PERFMON', 'NET_ADMIN'],
        );
      },
    );
    prove('without CAP_SYS_ADMIN what is in modules is seen by kprobe where that is allowed, and nothing is lacking', () => {
      const { code, report } = doctor('no-sys-admin-but-kprobes');
      assert.deepEqual([code, report.lacks], [0, []]);
      assert.deepEqual([states(report)['nat'], states(report)['icmp-receive']], ['kprobe on', 'fentry on']);
      assert.match(report.hooks.find(({ name }) => name === 'nat')?.reason ?? '', /load program fentry_nat/);
    });
    prove('with perf_event_open refused kprobes are lacking, with reason and remedy, and the main job works', () => {
      const { code, report } = doctor('no-perf-event-open');
      assert.deepEqual([code, report.works, report.lacks.length], [0, true, 10]);
      for (const { why, remedy } of report.lacks) {
        assert.match(why, /kprobe is refused to this process \(EPERM\): perf_event_open/);
        assert.match(remedy, /seccomp/);
      }
      assert.equal(states(report)['drops'], 'tracepoint on');
    });
    prove('a program that the verifier refuses is lacking alone, with the verifier’s last lines', () => {
      const { code, report } = doctor('refused-program');
      assert.deepEqual([code, report.works], [0, true]);
      assert.deepEqual(
        report.hooks.filter(({ state }) => state !== 'on').map(({ name }) => name),
        ['icmp-echo'],
      );
      assert.equal(report.lacks.length, 1);
      assert.match(
        report.lacks[0]?.why ?? '',
        /^load program kprobe_icmp_echo: .*\n(?:.*\n)*R\d invalid mem access 'scalar'\nprocessed \d+ insns/,
      );
    });
    prove('without CAP_PERFMON nothing works, and it says what is needed', () => {
      const { code, report } = doctor('no-perfmon');
      assert.deepEqual([code, report.works], [1, false]);
      assert.match(report.reason ?? '', /^Programs need the capabilities BPF, PERFMON, NET_ADMIN, and PERFMON is not there\n/);
      assert.ok(!report.capabilities.find(({ name }) => name === 'PERFMON')?.has);
    });
  });
}

/** The scripts, the object, one of whose programs no verifier takes, and what takes a system call away. */
function insideArguments(folder: string): string[] {
  const addon = join(ROOT, 'native/build/Release/ktrace_native.node');
  const script = (entry: string) =>
    `env KTRACE_ADDON=${addon} ${process.execPath} ${writePlainScript(ROOT, `test/vm/inside/${entry}`, join(folder, 'scripts'))}`;
  const refuse = join(folder, 'refuse-perf-event-open');
  execFileSync('cc', ['-o', refuse, join(ROOT, 'test/vm/inside/refuse-perf-event-open.c')]);
  return [script('node.ts'), script('doctor.ts'), join(ROOT, 'build/bpf/ktrace.bpf.o'), refusedObject(folder), refuse];
}

function refusedObject(folder: string): string {
  const sources = join(folder, 'bpf');
  cpSync(join(ROOT, 'bpf'), sources, { recursive: true });
  const file = join(sources, 'ktrace.bpf.c');
  const own = 'PROBE(icmp_echo, BODY_ICMP_ECHO)';
  const text = readFileSync(file, 'utf8');
  assert.ok(text.includes(own));
  // A kernel address read as if it were the program's own memory.
  const refused =
    '#define BODY_REFUSED(arg, at) (*(int *)(unsigned long)bpf_ktime_get_ns() + (int)at[0])\nPROBE(icmp_echo, BODY_REFUSED)';
  writeFileSync(file, text.replace(own, refused));
  execFileSync(join(sources, 'build.sh'), [join(folder, 'object')]);
  return join(folder, 'object/ktrace.bpf.o');
}
