import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Figures } from '../../scripts/soak/figures.ts';
import { judge, type Timed } from '../../scripts/soak/verdict.ts';

const MIB = 1024 * 1024;
const AT_REST: Figures = { residentBytes: 100 * MIB, files: 50, maps: 13, programs: 11, links: 0 };
const NAME = 'agent-host1';

/** Twenty minutes, a sample every half minute. */
function busy(mibAt: (minutes: number) => number): Timed[] {
  return Array.from({ length: 41 }, (_, index) => ({
    minutes: index / 2,
    sample: { [NAME]: { ...AT_REST, residentBytes: mibAt(index / 2) * MIB } },
  }));
}

const rests = (after: Partial<Figures>) => [{ [NAME]: AT_REST }, { [NAME]: { ...AT_REST, ...after } }] as const;

test('memory that rises at first and breathes afterwards is flat', () => {
  const { problems, rows } = judge(
    rests({}),
    busy((minutes) => 100 + Math.min(minutes, 5) * 8 + Math.sin(minutes * 7) * 6),
  );
  assert.deepEqual(problems, []);
  assert.ok((rows[0]?.peakMib ?? 0) > 140);
});

test('memory that rises by a MiB a minute to the end is not', () => {
  const { problems, rows } = judge(
    rests({}),
    busy((minutes) => 100 + minutes + Math.sin(minutes * 7) * 3),
  );
  assert.equal(problems.length, 1);
  assert.match(problems[0] ?? '', /agent-host1 grows by (0\.9|1\.[01])\d MiB a minute/);
  assert.ok(Math.abs((rows[0]?.mibPerMinute ?? 0) - 1) < 0.2);
});

for (const what of ['files', 'maps', 'programs', 'links'] as const) {
  test(`one more of ${what} at rest than before is a leak`, () => {
    const { problems } = judge(
      rests({ [what]: AT_REST[what] + 1 }),
      busy(() => 100),
    );
    assert.deepEqual(problems, [`agent-host1 has ${AT_REST[what] + 1} ${what} at rest, and had ${AT_REST[what]}`]);
  });
}

test('a process that is gone is a problem, and a run too short judges no memory', () => {
  assert.deepEqual(
    judge(
      [{ [NAME]: AT_REST }, {}],
      busy(() => 100),
    ).problems,
    ['agent-host1 is gone'],
  );
  assert.deepEqual(judge(rests({}), busy((minutes) => 100 + minutes * 9).slice(0, 10)).problems, []);
});
