import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Listed, PacketList } from '../../src/flow/packet-list.ts';
import { fc } from '../support/fast-check.ts';

interface One extends Listed<One> {
  name: number;
}

const one = (name: number): One => ({ name, list: undefined, before: undefined, after: undefined, listedSightings: 0 });

function namesOf(list: PacketList<One>): number[] {
  const names: number[] = [];
  for (let at = list.oldest; at !== undefined; at = at.after) names.push(at.name);
  return names;
}

test('whatever is put into two lists and taken out, each has its own in their order, once, and knows how many sightings they are', () => {
  const step = fc.record({ name: fc.nat(9), list: fc.nat(1), adds: fc.boolean(), sightings: fc.integer({ min: 1, max: 5 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const all = Array.from({ length: 10 }, (_, name) => one(name));
      const lists = [new PacketList<One>(), new PacketList<One>()];
      let model: { name: number; list: number; sightings: number }[] = [];
      for (const { name, list, adds, sightings } of steps) {
        if (adds) {
          lists[list]!.add(all[name]!, sightings);
          model = [...model.filter((known) => known.name !== name), { name, list, sightings }];
        } else {
          lists[list]!.delete(all[name]!);
          model = model.filter((known) => known.name !== name || known.list !== list);
        }
        for (const [at, list] of lists.entries()) {
          const own = model.filter((known) => known.list === at);
          assert.deepEqual(
            namesOf(list),
            own.map((known) => known.name),
          );
          assert.deepEqual([list.size, list.sightings], [own.length, own.reduce((sum, known) => sum + known.sightings, 0)]);
        }
      }
    }),
  );
});
