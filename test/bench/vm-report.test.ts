import assert from 'node:assert/strict';
import { test } from 'node:test';
import { costRows } from '../../bench/programs/vm-report.ts';

const cost = (traffic: string, program: string, runs: number, nsPerRun: number) => ({
  backend: 'fentry',
  traffic,
  program,
  runs,
  ns: runs * nsPerRun,
});

test('a program is told by the median of its rounds, relative to the empty one over all traffic; tc and what hardly ran are left out', () => {
  const costs = [
    ...[400, 100_000, 500].map((ns) => cost('pings', 'fentry_nat', 100, ns)),
    cost('pings', 'fentry_empty', 100, 100),
    cost('errors', 'fentry_empty', 100, 100),
    cost('pings', 'fentry_icmp_send', 3, 900),
    cost('pings', 'ktrace_in', 100, 900),
  ];
  assert.deepEqual(costRows(costs), [
    ['fentry', 'pings', 'fentry_nat', '300', '500 (450 to 50250)', '5.0'],
    ['fentry', 'any', 'fentry_empty', '200', '100 (100 to 100)', '1.0'],
  ]);
});
