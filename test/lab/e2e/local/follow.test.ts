import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import type { PacketEvent } from '../../../../src/event/types.ts';
import type { Lab } from '../../../../src/lab/lab.ts';
import { namespaceOf } from '../../../../src/lab/machine/network.ts';
import { removeLab } from '../../../../src/lab/machine/remove.ts';
import { API_ADDRESS, API_PORT, nodeNamed } from '../../../../src/lab/plan/plan.ts';
import { before } from '../../../support/evidence.ts';
import { KtraceProcess } from '../../../support/ktrace-process.ts';
import { untilHolds } from '../../../support/until.ts';
import { labUp, randomLabName, SKIP } from '../../support/lab-fixture.ts';

const NODE = 'host3';
const MASTER = 'redis-master-343230949-2qrp7';

suite('ktrace follow --local on a node without an agent', { skip: SKIP }, () => {
  const name = randomLabName();
  const running: KtraceProcess[] = [];
  let lab: Lab;
  let kubeconfig = '';
  /** Where the clients make their folders, and nobody else. */
  const temporary = mkdtempSync(join(tmpdir(), 'ktrace-test-'));

  before(async () => {
    lab = await labUp({ name, bound: true, agents: false });
    kubeconfig = join(lab.directory, 'kubeconfig-of-nodes');
    const text = readFileSync(lab.kubeconfig, 'utf8').replaceAll(
      /https:\/\/127\.0\.0\.1:\d+/g,
      `https://${API_ADDRESS}:${API_PORT}`,
    );
    writeFileSync(kubeconfig, text, { mode: 0o600 });
  });
  after(async () => {
    await Promise.all(running.map((one) => one.kill()));
    await removeLab(name);
    rmSync(temporary, { recursive: true, force: true });
  });

  /** As root on the node. */
  const local = (...argv: string[]): KtraceProcess => {
    const before = ['ip', 'netns', 'exec', namespaceOf(name, nodeNamed(NODE))];
    const started = new KtraceProcess(['follow', '--local', '--kubeconfig', kubeconfig, '-o', 'json', ...argv], {
      before,
      env: { KTRACE_NODE: NODE, KTRACE_PROXY_MODE: 'iptables', TMPDIR: temporary },
    });
    running.push(started);
    return started;
  };
  const folders = (): string[] => readdirSync(temporary).filter((one) => one.startsWith('ktrace-local-'));
  const agents = (): string[] =>
    execFileSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line.includes('--with-parent') && line.includes(temporary));
  /** The programs go with the process that holds their links. */
  const leavesNothing = async (): Promise<void> => {
    await untilHolds('nothing is left', () => assert.deepEqual([...agents(), ...folders()], []));
  };

  test("tells the node's packets with their names, and leaves nothing behind", async () => {
    const follow = local(`pod/${MASTER}`);
    assert.deepEqual((await follow.following()).nodes, [NODE]);
    const isNamed = ({ src, dst }: PacketEvent) => [src, dst].some(({ pod }) => pod?.name === MASTER);
    await follow.until('packets with the name of the pod', () => follow.packets.filter(isNamed).length > 5);
    assert.equal((await follow.interrupt()).code, 130);
    assert.ok(follow.packets.every(({ nodes }) => nodes.join() === NODE));
    assert.deepEqual(
      follow.notices.filter(({ code }) => code !== 'KTRACE_N_NO_PROBES' && code !== 'KTRACE_N_FOLLOWING'),
      [],
    );
    assert.match(follow.stderr, /; 1 node, \d+\.\d s\n.* records: .*\n$/);
    await leavesNothing();
  });

  test('takes its agent along when it is interrupted, and when it is killed', async () => {
    const interrupted = local(`pod/${MASTER}`);
    await interrupted.following();
    assert.equal(agents().length, 1);
    const [folder = ''] = folders();
    assert.ok(!existsSync(join(temporary, folder, 'kubeconfig')), 'credentials lie about');
    assert.equal((await interrupted.interrupt()).code, 130);
    await leavesNothing();

    const killed = local(`pod/${MASTER}`);
    await killed.following();
    await killed.kill();
    await leavesNothing();
  });

  test('ends with the reason when its agent ends', async () => {
    const follow = local(`pod/${MASTER}`);
    await follow.following();
    process.kill(Number.parseInt(agents()[0] ?? '', 10), 'SIGKILL');
    assert.equal((await follow.ended).code, 1);
    assert.match(follow.stderr, /it ended with SIGKILL \[KTRACE_E_LOCAL_AGENT\]/);
    await leavesNothing();
  });

  test('says which nodes there are when this machine is none of them', async () => {
    const before = ['ip', 'netns', 'exec', namespaceOf(name, nodeNamed(NODE))];
    const follow = new KtraceProcess(['follow', '--local', '--kubeconfig', kubeconfig, `pod/${MASTER}`], {
      before,
      env: { KTRACE_NODE: 'host9' },
    });
    assert.equal((await follow.ended).code, 2);
    assert.match(
      follow.stderr,
      /got "host9" \[KTRACE_E_LOCAL_NODE\]\n {2}hint: KTRACE_NODE says which it is: host1, host2, host3/,
    );
  });
});
