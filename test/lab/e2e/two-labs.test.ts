import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { before } from '../../support/evidence.ts';
import { type KtraceProcess, startFollow } from '../../support/ktrace-process.ts';
import { assertNothingTwice, endpoints } from '../support/events.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

suite('two labs on one kernel, with the same names and addresses in both', { skip: SKIP }, () => {
  const names = [randomLabName(), randomLabName()] as const;
  const follows: KtraceProcess[] = [];
  let labs: [Lab, Lab];

  before(async () => {
    const busy = await labUp({ name: names[0], bound: true });
    labs = [busy, await labUp({ name: names[1], bound: true, traffic: false })];
    for (const lab of labs) follows.push(startFollow(lab, '-A', '-o', 'json', '--packets'));
  });
  after(async () => {
    await Promise.all(follows.map((one) => one.kill()));
    await Promise.all(names.map((name) => removeLab(name)));
  });

  test('each follower sees the packets of its own lab, and nothing of the other', async () => {
    const [busy, quiet] = follows as [KtraceProcess, KtraceProcess];
    const jdfgg = 'frontend-88237173-jdfgg';
    const master = labs[1].pod('redis-master-343230949-2qrp7');
    await busy.following();
    await busy.until(
      'packets and drops of the busy lab',
      () => busy.packets.length > 200 && busy.packets.some(({ drop }) => drop?.reason === 'NETFILTER_DROP'),
    );
    await quiet.following();
    assert.equal(quiet.packets.length, 0);
    await labs[1].exec(`pod/${jdfgg}`, ['ping', '-n', '-q', '-c', '5', '-i', '0.2', master.ip]);
    // A packet may be told again, as the same one.
    const answered = () => new Set(quiet.packets.filter(({ icmp }) => icmp?.rttUs !== undefined).map(({ id }) => id));
    await quiet.until('its own pings', () => answered().size === 5);
    for (const one of [busy, quiet]) assert.equal((await one.interrupt()).code, 130);
    const uids = labs.map((lab) => new Set(lab.pods.map(({ uid }) => uid)));
    for (const [index, one] of [busy, quiet].entries()) {
      for (const packet of one.packets) {
        for (const { pod } of endpoints(packet))
          assert.ok(pod === undefined || uids[index]?.has(pod.uid), JSON.stringify(packet));
      }
      assertNothingTwice(one.packets);
      assert.match(one.stderr, /\b0 lost\b/);
    }
    assert.equal(quiet.packets.filter(({ amends, icmp }) => amends === undefined && icmp?.id !== undefined).length, 10);
    assert.ok(quiet.packets.every(({ proto }) => proto === 'icmp' || proto === 'icmp6'));
  });
});
