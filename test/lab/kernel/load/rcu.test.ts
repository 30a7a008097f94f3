import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, suite, test } from 'node:test';
import { identify } from '../../../../src/lab/machine/proc.ts';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { type Ask, TracedNode } from '../../support/traced-node.ts';

const VETHS = 250;
const KNOB = '/sys/kernel/rcu_expedited';
const MARK = '7589';

/** The machine's: an agent beside this test may have its mark there for as long as it attaches. */
const knob = (): string => readFileSync(KNOB, 'utf8').trim();

function isGuard(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'ktrace-guard';
  } catch {
    return false;
  }
}

suite('an agent killed while it attaches', { skip: SKIP }, () => {
  let net: Net;
  const found = SKIP ? '0' : knob();
  const skip = found !== '0' && found !== MARK && `somebody has set ${KNOB} to ${found}`;
  before(() => {
    net = twoNodes();
    net.add('crowd');
    const lines = Array.from(
      { length: VETHS },
      (_, n) => `link add v${n} type veth peer name p${n} netns ${net.of('crowd')}\nlink set v${n} up`,
    );
    execFileSync('ip', ['-n', net.of('node1'), '-batch', '-'], { input: lines.join('\n') });
  });
  after(() => {
    net?.close();
    if (!SKIP && !skip && knob() === MARK) writeFileSync(KNOB, '0');
  });

  const start = () => TracedNode.start(net, { node: 'node1', addresses: ['10.9.1.2'] });

  /** Gives it amid its work, with the process of its guard. */
  async function attaching(): Promise<{ node: TracedNode; guard: number }> {
    const node = await start();
    const { pid } = node.child;
    // Again and again: what takes a quarter of a second once is over before it is seen on a busy machine.
    for (const ask of Array<Ask[]>(50).fill(['follow', 'unfollow']).flat()) node.child.send(ask);
    const guard = await until('it attaches', () => {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
      return children.map(Number).find(isGuard);
    });
    return { node, guard };
  }

  test('leaves expedited grace periods as they were', { skip }, async () => {
    const { node, guard } = await attaching();
    await node.kill();
    // Its remains stay where the first process of a container does not take them.
    await until('its guard has ended', () => identify(guard) === undefined);
    await until('the mark is gone', () => knob() === '0');
  });

  test('together with its guard is put right by the next start', { skip }, async () => {
    const { node, guard } = await attaching();
    process.kill(guard, 'SIGKILL');
    await node.kill();
    // Killed between two of its attaches it would have left none.
    writeFileSync(KNOB, MARK);
    const next = await start();
    await until('the mark is gone', () => knob() === '0');
    await next.close();
  });

  test('is nobody’s hindrance: the next one attaches to all, and no guard is left', { skip }, async () => {
    const node = await start();
    const { pid } = node.child;
    const { attached, attachFailures } = await node.ask('follow');
    assert.deepEqual([attached, attachFailures], [VETHS + 3, 0]);
    assert.equal(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'), '');
    await node.close();
  });
});
