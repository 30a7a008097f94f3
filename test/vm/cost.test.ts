import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { before } from '../support/evidence.ts';
import { type Cost, type Counted, measureInMachine } from './cost.ts';
import { imageOrSkip } from './machine/kernel-image.ts';
import { KERNELS } from './machine/kernels.ts';
import { NEEDED_TO_BOOT, NOT_ASKED_FOR, needs } from './machine/needed.ts';

const SKIP = NOT_ASKED_FOR || needs([...NEEDED_TO_BOOT, { command: 'ping', package: 'iputils-ping' }]);
const PINGS = 300;

for (const kernel of KERNELS) {
  describe(`what the kernel's own functions cost on ${kernel.name}`, { skip: SKIP }, () => {
    let costs: Cost[] = [];
    let counted: Counted[] = [];
    let reason: string | undefined;
    before(async () => {
      const image = await imageOrSkip(kernel, (why) => {
        reason = why;
      });
      if (image === undefined) return;
      ({ costs, counted } = await measureInMachine(image, { rounds: 1, pings: PINGS }));
    });

    for (const backend of ['fentry', 'kprobe']) {
      const prove = (title: string, check: () => void) =>
        it(`by ${backend} ${title}`, (t) => {
          if (reason !== undefined) return t.skip(reason);
          check();
        });
      const runsOf = (traffic: string, name: string): number =>
        costs.find((cost) => cost.backend === backend && cost.traffic === traffic && cost.program === `${backend}_${name}`)
          ?.runs ?? Number.NaN;
      const statsOf = (traffic: string): Record<string, number> => {
        const found = counted.find((one) => one.backend === backend && one.traffic === traffic);
        assert.ok(found, `nothing was counted of ${traffic} by ${backend}`);
        return found.stats;
      };

      prove('nobody’s packets pass every program, and none looks further than at their addresses', () => {
        for (const [name, atLeast] of [
          ['nat', 2 * PINGS],
          ['icmp_receive', 2 * PINGS],
          ['icmp_echo', PINGS],
        ] as const) {
          const runs = runsOf('pings-of-nobody', name);
          assert.ok(runs >= atLeast, `${name} ran ${runs} times`);
        }
        // Each run that gets past the first look ends in one of these, whatever becomes of the packet then.
        for (const [name, count] of Object.entries(statsOf('pings-of-nobody'))) assert.equal(count, 0, name);
      });
      for (const traffic of ['masqueraded-of-nobody', 'service-of-nobody'])
        prove(`nobody’s packets are not parsed where NAT rewrites them: ${traffic}`, () => {
          const runs = runsOf(traffic, 'nat');
          assert.ok(runs >= 50, `nat ran ${runs} times`);
          // SYN, FIN and RST that come in are, to be remembered for the next hooks: one connection has a few.
          const { unmatched = Number.NaN } = statsOf(traffic);
          assert.ok(unmatched < 20, `${unmatched} parsed in vain, nat ran ${runs} times`);
        });
      prove('a followed pod’s packets are looked at, and each is accounted for', () => {
        const {
          matched = 0,
          emitted = 0,
          counted: known = 0,
          cut = 0,
          filtered = 0,
          lostRing = 0,
          lostScratch = 0,
        } = statsOf('pings-followed');
        assert.ok(runsOf('pings-followed', 'nat') >= 2 * PINGS);
        // Four hops of request and answer, two rewrites; the rest depends on how many namespaces see it.
        assert.ok(matched >= 6 * PINGS, `${matched} matched`);
        // An emulated reader may come too late for the ring: that is counted, like everything else that becomes of them.
        assert.equal(matched, emitted + known + cut + filtered + lostRing + lostScratch);
      });
      prove('errors of nobody’s are looked at for what they quote, and told of nobody', () => {
        // How many go out is ping's matter: it counts one whose sending fails as well (6 of 1,000 were missing once).
        assert.ok(runsOf('errors-of-nobody', 'icmp_send') > 0);
        assert.ok(runsOf('errors-of-nobody', 'nat_icmp') > 0);
        const { matched, emitted } = statsOf('errors-of-nobody');
        assert.deepEqual({ matched, emitted }, { matched: 0, emitted: 0 });
      });
    }
  });
}
