import type { Lab } from '../../src/lab/lab.ts';
import { loadNative } from '../../src/native/load.ts';
import { CASES } from '../cases.ts';
import type { Load } from '../load.ts';
import { programsOf } from '../processes.ts';
import { type Spread, spread } from '../stats.ts';
import { agentPids } from '../user-space/agents.ts';
import { startEmpty } from './empty.ts';

/** What one program costs in one case, while 64-byte datagrams flow. The kernel's own measuring is part of every figure. */
export interface ProgramCost {
  watching: string;
  program: string;
  runs: number;
  nsPerRun: Spread;
  /** Over the program that does nothing, in the same rounds. */
  overEmptyNs: number;
}

const MIN_RUNS = 1000;

/** Nanoseconds per run of each program: an empty one, then each case that attaches something; interleaved. */
export async function measureProgramCost(
  lab: Lab,
  load: Load,
  options: { rounds: number; seconds: number },
): Promise<ProgramCost[]> {
  const samples = new Map<string, { watching: string; program: string; runs: number; ns: number[] }>();
  const note = (watching: string, program: string, runs: number, ns: number) => {
    const sample = samples.get(`${watching} ${program}`) ?? { watching, program, runs: 0, ns: [] };
    sample.runs += runs;
    sample.ns.push(ns / runs);
    samples.set(`${watching} ${program}`, sample);
  };
  const statistics = loadNative().enableStats();
  try {
    for (let round = 0; round < options.rounds; round++) {
      await sampleEmpty(lab, load, options.seconds, note);
      for (const { name, title, start } of CASES) {
        if (['none', 'empty', 'client', 'followers', 'tcpdump'].includes(name)) continue;
        const watching = await start(lab);
        try {
          const names = await programNames(lab);
          const before = agentPids(lab).map(programsOf);
          await load.udp(options.seconds);
          const after = agentPids(lab).map(programsOf);
          for (const [program, { runs, ns }] of difference(before, after, names)) note(title, program, runs, ns);
        } finally {
          await watching.stop();
        }
      }
    }
  } finally {
    statistics.close();
  }
  const empty = samples.get('nothing ktrace_empty')?.ns ?? [];
  const base = empty.length === 0 ? Number.NaN : spread(empty).median;
  return [...samples.values()].map(({ ns, ...sample }) => {
    const nsPerRun = spread(ns);
    return { ...sample, nsPerRun, overEmptyNs: nsPerRun.median - base };
  });
}

type Note = (watching: string, program: string, runs: number, ns: number) => void;

/** The empty program where the agents' programs are: on every interface of the source's node. */
async function sampleEmpty(lab: Lab, load: Load, seconds: number, note: Note): Promise<void> {
  const empty = await startEmpty(lab, 'host1');
  try {
    const read = () => programsOf(empty.pid).get(empty.id) ?? { runs: 0, ns: 0 };
    const before = read();
    await load.udp(seconds);
    const after = read();
    if (after.runs - before.runs >= MIN_RUNS) note('nothing', 'ktrace_empty', after.runs - before.runs, after.ns - before.ns);
  } finally {
    await empty.stop();
  }
}

/** Names by id, from bpftool: the kernel cuts them at 15 bytes, the BTF has them whole. */
async function programNames(lab: Lab): Promise<Map<number, string>> {
  const programs = JSON.parse(await lab.exec('node/host1', ['bpftool', '--json', 'prog', 'show'])) as {
    id: number;
    name?: string;
  }[];
  return new Map(programs.map(({ id, name }) => [id, name ?? String(id)]));
}

function difference(
  before: Map<number, { runs: number; ns: number }>[],
  after: Map<number, { runs: number; ns: number }>[],
  names: Map<number, string>,
): Map<string, { runs: number; ns: number }> {
  const sums = new Map<string, { runs: number; ns: number }>();
  after.forEach((programs, agent) => {
    for (const [id, { runs, ns }] of programs) {
      const was = before[agent]?.get(id) ?? { runs: 0, ns: 0 };
      const name = names.get(id) ?? String(id);
      const sum = sums.get(name) ?? { runs: 0, ns: 0 };
      sums.set(name, { runs: sum.runs + runs - was.runs, ns: sum.ns + ns - was.ns });
    }
  });
  return new Map([...sums].filter(([, { runs }]) => runs >= MIN_RUNS));
}
