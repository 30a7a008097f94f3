import type { Lab } from '../src/lab/lab.ts';
import type { Case } from './cases.ts';
import type { Load } from './load.ts';
import { cpuSeconds, residentBytes } from './processes.ts';
import { interleaved, ratios, type Spread, spread } from './stats.ts';
import { agentPids } from './user-space/agents.ts';

/** What one case came to over all rounds. `…Ratio` is over the first case, round by round; above 1 is more. */
export interface CaseResult {
  name: string;
  title: string;
  tcpBitsPerSecond: Spread;
  tcpRatio: Spread;
  udpPacketsPerSecond: Spread;
  udpRatio: Spread;
  latencyP50Us: Spread;
  latencyRatio: Spread;
  latencyP99Us: Spread;
  /** Of one core, while the load ran: the agents', or the tcpdumps'. */
  cpuPercent: Spread;
  /** The largest agent. */
  agentResidentBytes: number;
  /** Lines of JSON that the follower read, of all rounds. */
  toldLines: number | undefined;
}

interface Round {
  tcp: number;
  udp: number;
  p50Us: number;
  p99Us: number;
  cpuPercent: number;
  resident: number;
  told: number | undefined;
}

/** The cases side by side, the first is what the others are held against: in each round every case once, in another order, each with its own start and end. */
export async function measureThroughput(
  lab: Lab,
  load: Load,
  options: { cases: readonly Case[]; rounds: number; seconds: number; requests: number; signal: AbortSignal },
  progress: (text: string) => void,
): Promise<CaseResult[]> {
  const { cases } = options;
  const rounds: Round[][] = cases.map(() => []);
  for (let round = 0; round < options.rounds; round++) {
    for (const at of interleaved(cases.length, round)) {
      const { title, start } = cases[at] as Case;
      options.signal.throwIfAborted();
      progress(`round ${round + 1} of ${options.rounds}: ${title}`);
      const watching = await start(lab);
      try {
        const told = watching.told();
        const began = { cpu: cpuSeconds(watching.pids), ms: performance.now() };
        const tcp = await load.tcp(options.seconds);
        const udp = await load.udp(options.seconds);
        const latency = await load.latency(options.requests);
        const seconds = (performance.now() - began.ms) / 1000;
        rounds[at]?.push({
          tcp,
          udp,
          ...latency,
          cpuPercent: ((cpuSeconds(watching.pids) - began.cpu) / seconds) * 100,
          resident: Math.max(...agentPids(lab).map(residentBytes)),
          told: told === undefined ? undefined : (watching.told() ?? 0) - told,
        });
      } finally {
        await watching.stop();
      }
    }
  }
  return cases.map(({ name, title }, at) => resultOf(name, title, rounds[at] ?? [], rounds[0] ?? []));
}

function resultOf(name: string, title: string, rounds: Round[], baseline: Round[]): CaseResult {
  const column = (of: Round[], key: 'tcp' | 'udp' | 'p50Us' | 'p99Us' | 'cpuPercent' | 'resident') =>
    of.map((round) => round[key]);
  const ratio = (key: 'tcp' | 'udp' | 'p50Us') => spread(ratios(column(rounds, key), column(baseline, key)));
  const told = rounds.flatMap((round) => round.told ?? []);
  return {
    name,
    title,
    tcpBitsPerSecond: spread(column(rounds, 'tcp')),
    tcpRatio: ratio('tcp'),
    udpPacketsPerSecond: spread(column(rounds, 'udp')),
    udpRatio: ratio('udp'),
    latencyP50Us: spread(column(rounds, 'p50Us')),
    latencyRatio: ratio('p50Us'),
    latencyP99Us: spread(column(rounds, 'p99Us')),
    cpuPercent: spread(column(rounds, 'cpuPercent')),
    agentResidentBytes: Math.max(...column(rounds, 'resident')),
    toldLines: told.length === 0 ? undefined : told.reduce((sum, lines) => sum + lines, 0),
  };
}
