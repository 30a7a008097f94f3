import type { Lab } from '../src/lab/lab.ts';
import type { Load } from './load.ts';
import { cpuSeconds, residentBytes } from './processes.ts';
import { measureSideBySide, type SideBySide } from './side-by-side.ts';
import { ratios, type Spread, spread } from './stats.ts';
import { agentPids } from './user-space/agents.ts';

/** What one case came to over all rounds. `…Ratio` is over the first case, round by round; above 1 is more. */
export interface CaseResult {
  name: string;
  title: string;
  tcpBitsPerSecond: Spread;
  tcpRatio: Spread;
  /** Of a receiver that is flooded. */
  udpPacketsPerSecond: Spread;
  udpRatio: Spread;
  /** Of one that keeps up. */
  windowedPerSecond: Spread;
  windowedRatio: Spread;
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
  windowed: number;
  p50Us: number;
  p99Us: number;
  cpuPercent: number;
  resident: number;
  told: number | undefined;
}

/** The cases side by side. A case of which no round came about together with the first case's is left out. */
export async function measureThroughput(
  lab: Lab,
  load: Load,
  options: SideBySide & { seconds: number; requests: number },
): Promise<CaseResult[]> {
  const rounds = await measureSideBySide(lab, options, async (watching): Promise<Round> => {
    const told = watching.told();
    const began = { cpu: cpuSeconds(watching.pids), ms: performance.now() };
    const tcp = await load.tcp(options.seconds);
    const udp = await load.udp(options.seconds);
    const windowed = await load.windowed(options.seconds);
    const latency = await load.latency(options.requests);
    const seconds = (performance.now() - began.ms) / 1000;
    return {
      tcp,
      udp,
      windowed,
      ...latency,
      cpuPercent: ((cpuSeconds(watching.pids) - began.cpu) / seconds) * 100,
      resident: Math.max(...agentPids(lab).map(residentBytes)),
      told: told === undefined ? undefined : (watching.told() ?? 0) - told,
    };
  });
  return options.cases.flatMap(({ name, title }, at) => resultOf(name, title, rounds[at] ?? [], rounds[0] ?? []) ?? []);
}

type Rounds = readonly (Round | undefined)[];

function resultOf(name: string, title: string, all: Rounds, baseline: Rounds): CaseResult | undefined {
  const rounds = all.filter((round) => round !== undefined);
  type Key = 'tcp' | 'udp' | 'windowed' | 'p50Us' | 'p99Us' | 'cpuPercent' | 'resident';
  const inOrder = (of: Rounds, key: Key) => Array.from(of, (round) => round?.[key]);
  const column = (of: readonly Round[], key: Key) => of.map((round) => round[key]);
  if (ratios(inOrder(all, 'udp'), inOrder(baseline, 'udp')).length === 0) return undefined;
  const ratio = (key: Key) => spread(ratios(inOrder(all, key), inOrder(baseline, key)));
  const told = rounds.flatMap((round) => round.told ?? []);
  return {
    name,
    title,
    tcpBitsPerSecond: spread(column(rounds, 'tcp')),
    tcpRatio: ratio('tcp'),
    udpPacketsPerSecond: spread(column(rounds, 'udp')),
    udpRatio: ratio('udp'),
    windowedPerSecond: spread(column(rounds, 'windowed')),
    windowedRatio: ratio('windowed'),
    latencyP50Us: spread(column(rounds, 'p50Us')),
    latencyRatio: ratio('p50Us'),
    latencyP99Us: spread(column(rounds, 'p99Us')),
    cpuPercent: spread(column(rounds, 'cpuPercent')),
    agentResidentBytes: Math.max(...column(rounds, 'resident')),
    toldLines: told.length === 0 ? undefined : told.reduce((sum, lines) => sum + lines, 0),
  };
}
