import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { KtraceEvent, PacketEvent } from '../../../src/event/types.ts';
import { ktraceEnvironment } from '../../../src/lab/agents.ts';
import { namespacesOf, removeLab } from '../../../src/lab/machine/remove.ts';
import { labDirectory } from '../../../src/lab/machine/state.ts';
import { SKIP } from '../support/lab-fixture.ts';

const OPTIONS = { skip: SKIP, timeout: 120_000 };

/** What the demo promises to show, each at least once. */
const PROMISED: Record<string, (packet: PacketEvent) => boolean> = {
  'an answered ping between two named pods': ({ icmp, src, dst }) =>
    icmp?.rttUs !== undefined && src.pod !== undefined && dst.pod !== undefined,
  'a translation to redis-master with endpoint and chains': ({ nat = [] }) =>
    nat.some(
      ({ kind, service, after, chains }) =>
        kind === 'dnat' &&
        service === 'default/redis-master' &&
        after.pod?.name === 'redis-master-343230949-2qrp7' &&
        chains?.includes('KUBE-SVC-GGJXVPNFZDFEEY5C') === true &&
        chains.some((chain) => chain.startsWith('KUBE-SEP-')),
    ),
  'hops over flannel.1 of two nodes': ({ hops }) =>
    new Set(hops.filter((hop) => hop.if === 'flannel.1').map(({ node }) => node)).size === 2,
  'a ping to a ClusterIP': (packet) => isToClusterIp(packet),
  'a drop with its reason': ({ drop, dst }) => drop?.reason === 'NETFILTER_DROP' && dst.port === 6380,
};

test('the demo prints only JSON lines, shows what it promises, loses nothing and takes everything down', OPTIONS, async () => {
  const missing = new Set(Object.keys(PROMISED));
  const events: KtraceEvent[] = [];
  const { code, err, lab } = await demo(['-o', 'json'], (line) => {
    const event = JSON.parse(line) as KtraceEvent;
    events.push(event);
    for (const what of missing) if (event.kind === 'packet' && PROMISED[what]?.(event) === true) missing.delete(what);
    return missing.size === 0;
  });
  assert.deepEqual([...missing], [], err);
  assert.equal(code, 0, err);
  for (const event of events) {
    assert.notEqual(event.kind, 'lost');
    if (event.kind === 'packet' && isToClusterIp(event)) assert.ok(!event.nat?.some(({ kind }) => kind === 'dnat'));
  }
  assert.deepEqual(namespacesOf(lab), []);
  assert.ok(!existsSync(labDirectory(lab)));
});

test('a demo that has a time ends by itself, with 0, also of a pod that is named', OPTIONS, async () => {
  const { code, err, lab } = await demo(['--for', '2s', 'pod/frontend-88237173-jdfgg'], () => false);
  assert.equal(code, 0, err);
  assert.match(err, /following 1 pod on/);
  assert.deepEqual(namespacesOf(lab), []);
});

test('a demo looks at its arguments before it brings a lab up', OPTIONS, async () => {
  const { code, err, lab } = await demo(['--for', 'soon'], () => false);
  assert.equal(code, 2, err);
  assert.match(
    err,
    /^ktrace: Expected a duration .* for --for, got "soon" \[KTRACE_E_ARGUMENT\]\n {2}See ktrace follow --help\n$/,
  );
  assert.deepEqual(namespacesOf(lab), []);
});

test('an interrupted demo takes its lab down and exits 0', OPTIONS, async () => {
  const { code, err, lab } = await demo([], () => true);
  assert.equal(code, 0, err);
  assert.match(err, /the lab is taken down/);
  assert.deepEqual(namespacesOf(lab), []);
});

function isToClusterIp({ icmp, dst }: PacketEvent): boolean {
  return icmp?.type === 8 && dst.ip === '10.96.0.63';
}

/** Runs a demo to its end; it is interrupted when it has printed a line that is enough. */
async function demo(
  argv: string[],
  isEnough: (line: string) => boolean,
): Promise<{ code: number | null; err: string; lab: string }> {
  // As `npm run demo` starts it when all is set up. The lab has its process in the name.
  const child = spawn(process.execPath, ['dist/lab/demo-main.js', ...argv], { env: { ...process.env, ...ktraceEnvironment() } });
  const lab = `demo${child.pid}`;
  let err = '';
  let isOver = false;
  createInterface({ input: child.stdout }).on('line', (line) => {
    // What is printed until it has ended has to be a line like any other.
    const isNow = isEnough(line);
    if (isNow && !isOver) child.kill('SIGINT');
    isOver ||= isNow;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  try {
    const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
    return { code, err, lab };
  } finally {
    await removeLab(lab);
  }
}
