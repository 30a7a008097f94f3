import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { NodeReport } from '../../src/event/node-report.ts';
import type { KtraceEvent, PacketEvent } from '../../src/event/types.ts';
import { before } from '../support/evidence.ts';
import { imageOrSkip } from './machine/kernel-image.ts';
import { KERNELS } from './machine/kernels.ts';
import { runInMachine } from './machine/machine.ts';
import { NEEDED_HERE, NEEDED_TO_BOOT, NOT_ASKED_FOR, needs } from './machine/needed.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCRIPT = fileURLToPath(new URL('inside/end-to-end.sh', import.meta.url));
const SKIP = NOT_ASKED_FOR || needs([...NEEDED_HERE, ...NEEDED_TO_BOOT]);
/** Each of the lab's conversations happens at least once in this time. */
const FOLLOWED_S = 20;
const NODES = ['host1', 'host2', 'host3'];

for (const kernel of KERNELS) {
  describe(`the lab with its agents on ${kernel.name}`, { skip: SKIP }, () => {
    const folder = join(ROOT, `build/vm-end-to-end.${process.pid}`);
    let lines: string[];
    let reason: string | undefined;
    before(async () => {
      const image = await imageOrSkip(kernel, (why) => {
        reason = why;
      });
      if (!image) return;
      build(folder);
      lines = [];
      const code = await runInMachine(image, {
        command: [SCRIPT, join(folder, 'bin/ktrace'), FOLLOWED_S].map((word) => `'${word}'`).join(' '),
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
    const those = (word: string): string[] =>
      lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
    const events = (): KtraceEvent[] => those('event').map((json) => JSON.parse(json) as KtraceEvent);
    const packet = (what: string, is: (packet: PacketEvent) => boolean): PacketEvent => {
      const packets = events().filter((event) => event.kind === 'packet');
      const found = packets.findLast(is);
      assert.ok(found, `${what} is not among ${packets.length} packets:\n${lines.join('\n')}`);
      return found;
    };

    prove('follows all three nodes, and loses nothing', () => {
      assert.match(those('said').join('\n'), /, 0 lost; 3 nodes, \d+\.\d s$/m);
      assert.deepEqual(
        events().flatMap((event) => (event.kind === 'notice' ? event.code : event.kind === 'lost' ? event.stage : [])),
        ['KTRACE_N_FOLLOWING'],
      );
    });
    prove('tells a connection to a Service over two nodes, named, with its translation as it happened', () => {
      const syn = packet(
        'the SYN to redis-master from another node, by IPv4',
        ({ tcp, src, dst, nodes }) =>
          tcp?.flags === 'S' && src.ip.includes('.') && dst.service?.name === 'redis-master' && nodes.length === 2,
      );
      assert.match(syn.src.pod?.name ?? '', /^(frontend|redis-slave)-/);
      assert.deepEqual(
        syn.nat?.map(({ kind, service, after: to, seenBy }) => [kind, service, to.pod?.name, seenBy]),
        [['dnat', 'default/redis-master', 'redis-master-343230949-2qrp7', 'kprobe']],
      );
      assert.equal(syn.verdict, 'delivered');
      const ways = syn.hops.map(({ node, if: name, dir }) => `${node} ${name.replace(/^veth.*/, 'veth')} ${dir}`);
      const [from, to] = syn.nodes;
      assert.deepEqual(ways, [
        ...['veth in', 'cni0 in', 'flannel.1 out', 'eth0 out'].map((hop) => `${from} ${hop}`),
        ...['eth0 in', 'flannel.1 in', 'cni0 out', 'veth out'].map((hop) => `${to} ${hop}`),
      ]);
    });
    prove('tells a ping that a pod’s kernel answered, and a connection that it refused', () => {
      packet('an answered ping', ({ icmp, verdict }) => icmp?.name === 'echo-request' && verdict === 'answered');
      const { drop } = packet('the refused SYN', ({ tcp, dst }) => tcp?.flags === 'S' && dst.port === 6390);
      assert.deepEqual([drop?.reason, drop?.at], ['NO_SOCKET', 'tcp_v4_rcv']);
    });
    prove('doctor asks the agents, and finds nothing lacking on any node', () => {
      const reports = those('doctor').map((json) => JSON.parse(json) as NodeReport);
      assert.deepEqual(reports.map(({ node }) => node).sort(), NODES);
      for (const { works, lacks, hooks } of reports) {
        assert.deepEqual([works, lacks], [true, []]);
        assert.equal(hooks.find(({ name }) => name === 'tc')?.backend, 'clsact');
        assert.equal(hooks.find(({ name }) => name === 'nat')?.backend, 'fentry');
      }
    });
    prove('is gone after lab down', () => assert.deepEqual(those('left'), []));
  });
}

/** The package as it is installed, of these sources: under emulation Node would take most of a minute to strip their types. */
function build(folder: string): void {
  mkdirSync(folder, { recursive: true });
  execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-p', 'tsconfig.build.json', '--outDir', join(folder, 'dist')], {
    cwd: ROOT,
  });
  for (const path of ['bin', 'package.json']) cpSync(join(ROOT, path), join(folder, path), { recursive: true });
  for (const path of ['build', 'native', 'node_modules']) symlinkSync(join(ROOT, path), join(folder, path));
}
