import type { Cost } from '../../test/vm/cost.ts';
import { spread } from '../stats.ts';

/** Of a round: fewer say nothing. */
const MIN_RUNS = 50;

/**
 * Backend, traffic, program, runs, ns, and how many times the empty program's, by row. Only the empty program's time makes figures under emulation
 * comparable to any other machine's. Medians of rounds: the emulator is interrupted now and then in the middle of a run, which then takes
 * milliseconds.
 */
export function costRows(costs: readonly Cost[]): string[][] {
  const samples = new Map<string, Cost[]>();
  for (const cost of costs) {
    const { backend, traffic, program, runs } = cost;
    const key = [backend, program.endsWith('_empty') ? 'any' : traffic, program].join(' ');
    if (runs >= MIN_RUNS && /^(fentry|kprobe)_/.test(program)) samples.set(key, [...(samples.get(key) ?? []), cost]);
  }
  const perRun = (of: readonly Cost[]) => spread(of.map(({ runs, ns }) => ns / runs));
  return [...samples].map(([key, of]) => {
    const [backend = '', traffic = '', program = ''] = key.split(' ');
    const { median, low, high } = perRun(of);
    const times = median / perRun(samples.get(`${backend} any ${backend}_empty`) ?? of).median;
    const runs = of.reduce((sum, cost) => sum + cost.runs, 0);
    const ns = `${median.toFixed(0)} (${low.toFixed(0)} to ${high.toFixed(0)})`;
    return [backend, traffic, program, runs.toLocaleString('en-US'), ns, times.toFixed(1)];
  });
}
