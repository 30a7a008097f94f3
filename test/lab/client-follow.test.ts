import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { after, before, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { KtraceEvent, NoticeEvent, PacketEvent } from '../../src/event/types.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { removeLab } from '../../src/lab/remove.ts';
import { labUp } from '../../src/lab/up.ts';
import { randomLabName, SKIP, until as untilWithin } from './lab-fixture.ts';

const KTRACE = fileURLToPath(new URL('../../bin/ktrace', import.meta.url));
const SKEWS = { host1: 480, host2: -500, host3: 20 };

/** Long enough for an agent to start while other tests run. */
const PATIENCE_MS = 40_000;

/** A `ktrace follow -o json` that runs, and what it has printed. */
class Follow {
  readonly events: KtraceEvent[] = [];
  stderr = '';
  readonly closed: Promise<number | null>;
  readonly #child: ChildProcess;

  constructor(lab: Lab, argv: string[]) {
    const child = spawn(process.execPath, [KTRACE, 'follow', '--kubeconfig', lab.kubeconfig, '-o', 'json', ...argv]);
    let rest = '';
    child.stdout.on('data', (chunk) => {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.events.push(JSON.parse(line) as KtraceEvent);
    });
    child.stderr.on('data', (chunk) => {
      this.stderr += chunk;
    });
    this.closed = new Promise((resolve) => child.on('close', resolve));
    this.#child = child;
  }

  packets(from = 0): PacketEvent[] {
    return this.events.slice(from).filter((event): event is PacketEvent => event.kind === 'packet');
  }

  notices(code: string): NoticeEvent[] {
    return this.events.filter((event): event is NoticeEvent => event.kind === 'notice' && event.code === code);
  }

  async interrupt(): Promise<number | null> {
    this.#child.kill('SIGINT');
    return this.closed;
  }
}

suite('a follow of all pods of a lab whose nodes disagree about the time', { skip: SKIP, timeout: 180_000 }, () => {
  const name = randomLabName();
  let lab: Lab;
  let follow: Follow;

  before(async () => {
    lab = await labUp({ name, bound: true });
    await Promise.all(Object.entries(SKEWS).map(([node, ms]) => lab.restartAgent(node, ['--clock-skew-ms', String(ms)])));
    follow = new Follow(lab, ['-A']);
  });
  after(async () => {
    await follow?.interrupt();
    await removeLab(name);
  });

  test("the nodes' parts of a packet are one record, with hops in order and times on one line", async () => {
    const across = () => follow.packets().filter(({ nodes, icmp }) => nodes.length === 2 && icmp?.name === 'echo-request');
    await until('three pings across nodes', () => across().length >= 3);
    for (const { hops, time } of across()) {
      assert.deepEqual(
        hops.map(({ atNs }) => atNs),
        hops.map(({ atNs }) => atNs).sort((a, b) => a - b),
      );
      assert.ok(
        hops.some((hop) => hop.tunnel !== undefined && hop.dir === 'out') &&
          hops.some((hop) => hop.tunnel !== undefined && hop.dir === 'in'),
      );
      assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
    }
    const translated = () =>
      follow
        .packets()
        .find(({ nodes, nat }) => nodes.length === 2 && nat?.some(({ service }) => service?.endsWith('redis-master')));
    await until('a translation to redis-master', () => translated() !== undefined);
    const answered = () =>
      follow.packets().some(({ icmp, nodes }) => nodes.length === 2 && icmp?.rttUs !== undefined && icmp.rttUs < 200_000);
    await until('a round trip seen across nodes', answered);
  });

  test('no record is told twice, and what a node alone tells has no other part', async () => {
    await until('two hundred packets', () => follow.packets().length > 200);
    const told = follow.packets().filter(({ amends }) => amends !== true);
    assert.equal(new Set(told.map(({ id }) => id)).size, told.length);
    // The first ones may have been seen before the nodes knew of each other's addresses.
    const settled = told.slice(50);
    assert.ok(settled.length > 0);
    const alone = settled.filter(({ nodes }) => nodes.length === 1);
    const fingerprints = new Map(alone.map((event) => [`${event.fingerprint} ${event.src.ip} ${event.dst.ip}`, event]));
    assert.equal(fingerprints.size, alone.length);
  });

  test('an agent that is killed and started again is followed again, and the gap is told', async () => {
    await lab.killAgent('host2');
    await until('host2 is told to be away', () => follow.notices('KTRACE_N_AGENT_DOWN').some(({ node }) => node === 'host2'));
    await lab.startAgent('host2', ['--clock-skew-ms', String(SKEWS.host2)]);
    await until('host2 is told to be started anew', () =>
      follow.notices('KTRACE_N_AGENT_RESTARTED').some(({ node }) => node === 'host2'),
    );
    const from = follow.events.length;
    await until('a packet through host2 and another node', () =>
      follow.packets(from).some(({ nodes }) => nodes.includes('host2') && nodes.length > 1),
    );
  });

  test('an API server that stops takes nothing: all goes on where it broke', async () => {
    await lab.stopApi();
    await until('all connections broke', () => new Set(follow.notices('KTRACE_N_AGENT_DOWN').map(({ node }) => node)).size === 3);
    await lab.startApi();
    await until(
      'all connections stand again',
      () => new Set(follow.notices('KTRACE_N_AGENT_BACK').map(({ node }) => node)).size === 3,
    );
    assert.deepEqual(
      follow.events.filter(({ kind }) => kind === 'lost'),
      [],
    );
    const from = follow.events.length;
    await until('packets go on', () => follow.packets(from).length > 10);
  });

  test('an interrupt ends it with the summary', async () => {
    assert.equal(await follow.interrupt(), 130);
    assert.match(follow.stderr, /\d+ captured, \d+ shown, .*0 lost; 3 nodes; not known for a time: host2\n$/);
  });
});

function until(what: string, holds: () => boolean): Promise<unknown> {
  return untilWithin(what, holds, PATIENCE_MS);
}
