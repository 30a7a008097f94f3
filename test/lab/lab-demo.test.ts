import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import type { KtraceEvent, PacketEvent } from '../../src/event/types.ts';
import { ktraceCommand, ktraceEnvironment } from '../../src/lab/agents.ts';
import { namespacesOf, removeLab } from '../../src/lab/remove.ts';
import { labDirectory } from '../../src/lab/state.ts';
import { SKIP } from './lab-fixture.ts';

const OPTIONS = { skip: SKIP, timeout: 120_000 };

test('the demo prints only JSON lines, shows what it promises, loses nothing and takes everything down', OPTIONS, async () => {
  const { code, out, err, lab } = await demo(['--for', '12s', '-o', 'json']);
  assert.equal(code, 0, err);
  const events = out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as KtraceEvent);
  const packets = events.filter((event) => event.kind === 'packet');
  const some = (what: string, match: (packet: PacketEvent) => unknown) => assert.ok(packets.some(match), `${what}\n${err}`);
  some(
    'an answered ping between two named pods',
    (packet) => packet.icmp?.rttUs !== undefined && packet.src.pod && packet.dst.pod,
  );
  some('a translation to redis-master with endpoint and chains', (packet) =>
    packet.nat?.some(
      (nat) =>
        nat.kind === 'dnat' &&
        nat.service === 'default/redis-master' &&
        nat.after.pod?.name === 'redis-master-343230949-2qrp7' &&
        nat.chains?.includes('KUBE-SVC-GGJXVPNFZDFEEY5C') &&
        nat.chains.some((chain) => chain.startsWith('KUBE-SEP-')),
    ),
  );
  some(
    'hops over flannel.1 of two nodes',
    (packet) => new Set(packet.hops.filter((hop) => hop.if === 'flannel.1').map((hop) => hop.node)).size === 2,
  );
  const toService = packets.filter((packet) => packet.icmp?.type === 8 && packet.dst.ip === '10.96.0.63');
  assert.ok(toService.length > 0, 'a ping to a ClusterIP');
  assert.ok(toService.every((packet) => !packet.nat?.some((nat) => nat.kind === 'dnat')));
  some('a drop with its reason', (packet) => packet.drop?.reason === 'NETFILTER_DROP' && packet.dst.port === 6380);
  assert.deepEqual(
    events.filter((event) => event.kind === 'lost'),
    [],
  );
  assert.deepEqual(namespacesOf(lab), []);
  assert.ok(!existsSync(labDirectory(lab)));
});

test('an interrupted demo takes its lab down and exits 0', OPTIONS, async () => {
  const { code, err, lab } = await demo([], 'following');
  assert.equal(code, 0, err);
  assert.match(err, /the lab is taken down/);
  assert.deepEqual(namespacesOf(lab), []);
});

/** Runs a demo to its end; with `interruptAt` it is interrupted when its talk says so and data has come. */
async function demo(
  argv: string[],
  interruptAt?: string,
): Promise<{ code: number | null; out: string; err: string; lab: string }> {
  const child = spawn(ktraceCommand(), ['demo', ...argv], { env: { ...process.env, ...ktraceEnvironment() } });
  // bin/ktrace runs the command in its own process under this Node, so the lab's name is known.
  const lab = `demo${child.pid}`;
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (interruptAt !== undefined && out === '' && err.includes(interruptAt)) child.kill('SIGINT');
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  try {
    const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
    return { code, out, err, lab };
  } finally {
    await removeLab(lab);
  }
}
