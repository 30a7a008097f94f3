import type { JudgingCost } from './judging.ts';
import type { Attach } from './programs/attach.ts';
import type { FilterCost } from './programs/filter-cost.ts';
import type { ProgramCost } from './programs/program-cost.ts';
import type { Spread } from './stats.ts';
import { table } from './table.ts';
import type { CaseResult } from './throughput.ts';
import type { DropStorm } from './traffic/drop-storm.ts';
import type { NewFlows } from './traffic/new-flows.ts';
import type { Delivery } from './user-space/delivery.ts';
import type { FilterChange } from './user-space/filter-change.ts';
import type { Newborn } from './user-space/newborn.ts';
import type { PipelineResult } from './user-space/pipeline-worker.ts';
import type { ResolvingCost } from './user-space/resolve-again.ts';
import type { Scale } from './user-space/scale.ts';

/** Everything that was measured; a part that was left out is absent. */
export interface Results {
  kernel: string;
  cores: number;
  isQuick: boolean;
  cases?: CaseResult[];
  /** What failed, and is missing therefore. */
  failed: string[];
  /** Of packets from node to node, in no tunnel. */
  node?: CaseResult[];
  /** Of a pod's packets to the world, behind its node's address, while another pod is followed. */
  world?: CaseResult[];
  drops?: DropStorm[];
  flows?: NewFlows[];
  newborn?: Newborn;
  programs?: ProgramCost[];
  filters?: FilterCost;
  judging?: JudgingCost;
  attach?: Attach;
  /** On a node with 240 pods more. */
  attachMany?: Attach;
  /** After ten minutes in which nobody has followed: the programs are loaded first. */
  attachUnloaded?: Attach;
  delivery?: Delivery;
  changing?: FilterChange;
  pipeline?: PipelineResult;
  resolving?: ResolvingCost;
  scale?: Scale;
}

/** One thing to reach, and whether it was. */
export interface Target {
  what: string;
  wanted: string;
  found: string;
  isReached: boolean;
}

const NOTHING_MATCHING = 'attached, nothing matching';
/** What every packet at a hook runs, whoever follows what. */
const DISPATCHERS = ['ktrace_in', 'ktrace_out', 'ktrace_l3_in', 'ktrace_l3_out'];

/**
 * The figures as text for people.
 * @param before what an earlier run has found of the things to reach
 */
export function reportText(results: Results, before: ReadonlyMap<string, string> = new Map()): string {
  const parts = [
    `Linux ${results.kernel}, ${results.cores} cores${results.isQuick ? ' (quick: few and short rounds, figures are rough)' : ''}`,
  ];
  if (results.cases !== undefined) parts.push(caseTable('Pod to pod across nodes', results.cases));
  if (results.node !== undefined) parts.push(caseTable('Node to node, in no tunnel', results.node));
  if (results.world !== undefined) parts.push(caseTable('Pod to the world, while another is followed', results.world));
  if (results.drops !== undefined) parts.push(dropTable(results.drops));
  if (results.flows !== undefined) parts.push(flowTable(results.flows));
  if (results.programs !== undefined) parts.push(programTable(results.programs));
  parts.push(otherTable(results), targetTable(targetsOf(results), before));
  if (results.failed.length > 0) parts.push(`Failed\n${table(results.failed.map((text) => [text]))}`);
  return `${parts.join('\n\n')}\n`;
}

/** What ktrace wants to reach, as far as it was measured. */
export function targetsOf(results: Results): Target[] {
  const targets: Target[] = [];
  const target = (what: string, wanted: string, found: string, isReached: boolean) =>
    targets.push({ what, wanted, found, isReached });
  const sideBySide = (name: string) => results.cases?.find((one) => one.name === name);
  /** What is left of the packets and of TCP without a tracer. */
  const share = (name: string, least: { packets: number; tcp?: number }) => {
    const found = sideBySide(name);
    if (found === undefined) return;
    const atLeast = (what: string, { median }: Spread, wanted: number) =>
      target(`${found.title}: ${what}`, `>= ${wanted * 100} % of baseline`, percent(median), median >= wanted);
    atLeast('packets/s', found.windowedRatio, least.packets);
    atLeast('packets/s, the receiver flooded', found.udpRatio, least.packets);
    if (least.tcp !== undefined) atLeast('TCP throughput', found.tcpRatio, least.tcp);
  };
  share('attached', { packets: 0.99, tcp: 0.995 });
  for (const { watching, program, overEmptyNs } of results.programs ?? []) {
    if (watching !== NOTHING_MATCHING || !DISPATCHERS.includes(program)) continue;
    target(`${watching}: ${program}`, '<= 8 ns over an empty program', `${overEmptyNs.toFixed(1)} ns`, overEmptyNs <= 8);
  }
  if (results.filters !== undefined) {
    const { simple, twentyTerms, simpleBytes, twentyTermsOfBytes } = results.filters;
    for (const [what, one, twenty] of [
      ['a packet that a filter of 20 terms leaves out', simple, twentyTerms],
      ['a segment that a filter of 20 terms on its bytes leaves out', simpleBytes, twentyTermsOfBytes],
    ] as const) {
      const found = `${twenty.median.toFixed(0)} ns against ${one.median.toFixed(0)} ns`;
      target(what, '<= 1.5 times a simple filter', found, twenty.median <= 1.5 * one.median);
    }
  }
  share('flows', { packets: 0.95, tcp: 0.98 });
  share('packets', { packets: 0.75 });
  share('recording', { packets: 0.9, tcp: 0.95 });
  const [flows, tcpdump] = [sideBySide('flows'), sideBySide('tcpdump')];
  if (flows !== undefined && tcpdump !== undefined) {
    for (const [what, ratio] of [
      ['packets/s', 'windowedRatio'],
      ['packets/s, the receiver flooded', 'udpRatio'],
    ] as const) {
      const [ours, theirs] = [flows[ratio].median, tcpdump[ratio].median];
      target(`follow one pod: ${what}`, 'ahead of tcpdump', `${percent(ours)} against ${percent(theirs)}`, ours > theirs);
    }
  }
  for (const [whose, all, caseName, least] of [
    ['packets/s of the nodes themselves while somebody follows', results.node, 'attached', 0.98],
    ['packets/s of another pod to the world while somebody follows', results.world, 'attached', 0.98],
    ['drops/s of a full socket while somebody follows', results.drops, 'one-node', 0.97],
  ] as const) {
    const attached = all?.find(({ name }) => name === caseName);
    if (attached === undefined) continue;
    const { median } = 'windowedRatio' in attached ? attached.windowedRatio : attached.ratio;
    target(whose, `>= ${least * 100} % of baseline`, percent(median), median >= least);
  }
  for (const { rate, sent, told, joined, counted, lost, accounted, agentCpuPercent } of results.flows ?? []) {
    const what = `${thousands(rate)} new conversations a second`;
    if (rate === 1000)
      target(`${what}: CPU of the busiest agent`, '<= 3 %', `${agentCpuPercent.toFixed(1)} %`, agentCpuPercent <= 3);
    const least = Math.min(told, joined, counted);
    const found = `${percent(least / sent)}, ${thousands(lost)} sightings told as lost`;
    // More than a table of flows holds need not all be told; that they are not, must be.
    if (rate < 12_000) target(`${what}: told, joined and counted`, '>= 99 %', found, least >= 0.99 * sent);
    else target(`${what}: told, or as lost`, '>= 99 % of all sightings', percent(accounted), accounted >= 0.99);
  }
  if (results.newborn !== undefined) {
    const { median } = results.newborn.untold;
    target('answered pings of a new pod that were not told', 'none', `${median.toFixed(0)} of 10 ms each`, median === 0);
  }
  if (results.attach !== undefined) {
    const { median } = results.attach.milliseconds;
    target('attached again when somebody follows', '<= 300 ms', `${median.toFixed(0)} ms`, median <= 300);
  }
  if (results.attachUnloaded !== undefined) {
    const { median } = results.attachUnloaded.milliseconds;
    target('… when nobody has for ten minutes', '<= 500 ms', `${median.toFixed(0)} ms`, median <= 500);
  }
  if (results.attachMany !== undefined) {
    const { interfaces, milliseconds } = results.attachMany;
    target(
      `attached again, ${interfaces} interfaces`,
      '<= 100 ms',
      `${milliseconds.median.toFixed(0)} ms`,
      milliseconds.median <= 100,
    );
  }
  if (results.pipeline !== undefined) {
    const { eventsPerSecond } = results.pipeline;
    target('user-space pipeline on one core', '>= 1,000,000 events/s', thousands(eventsPerSecond), eventsPerSecond >= 1e6);
  }
  if (results.delivery !== undefined) {
    const { client, line } = results.delivery;
    target('kernel to client, 99th percentile', '<= 20 ms', `${client.p99Ms.toFixed(1)} ms`, client.p99Ms <= 20);
    target('kernel to line, 99th percentile', '<= 60 ms', `${line.p99Ms.toFixed(1)} ms`, line.p99Ms <= 60);
  }
  if (results.changing !== undefined) {
    const { maxMs } = results.changing;
    target('a changed filter decides, the slowest of all changes', '<= 300 ms', `${maxMs.toFixed(0)} ms`, maxMs <= 300);
  }
  // The size that the target is for; a quick run takes a smaller one.
  if (results.scale !== undefined && results.scale.services >= 2000) {
    const { busyBytes } = results.scale;
    target('memory of an agent in a large cluster', '< 150 MB', megabytes(busyBytes), busyBytes < 150e6);
    const { idleBytes, afterBytes, gateBytes } = results.scale;
    target('… before anybody follows', '<= 95 MB', megabytes(idleBytes), idleBytes <= 95e6);
    target('… a minute after a flood', '<= 120 MB', megabytes(afterBytes), afterBytes <= 120e6);
    target('memory of a gate', '<= 60 MB', megabytes(gateBytes), gateBytes <= 60e6);
  }
  return targets;
}

function caseTable(what: string, cases: CaseResult[]): string {
  const rounds = cases[0]?.udpRatio.rounds ?? 0;
  const rows = cases.map((one) => [
    one.title,
    `${withSpread(one.tcpBitsPerSecond, (bits) => (bits / 1e9).toFixed(2))}`,
    percentSpread(one.tcpRatio),
    withSpread(one.windowedPerSecond, thousands),
    percentSpread(one.windowedRatio),
    withSpread(one.udpPacketsPerSecond, thousands),
    percentSpread(one.udpRatio),
    `${one.latencyP50Us.median.toFixed(0)} / ${one.latencyP99Us.median.toFixed(0)}`,
    percentSpread(one.latencyRatio),
    `${one.cpuPercent.median.toFixed(0)} %`,
    megabytes(one.agentResidentBytes),
  ]);
  const datagrams = ['64-byte UDP/s', 'of base', '… a flooded receiver', 'of base'];
  const heading = ['', 'TCP Gbit/s', 'of base', ...datagrams, 'p50 / p99 µs', 'p50 of base', 'CPU', 'agent RSS'];
  return `${what}, ${rounds} interleaved rounds: median (quartiles)\n${table([heading, ...rows])}`;
}

function dropTable(drops: DropStorm[]): string {
  const rows = drops.map(({ title, dropsPerSecond, ratio }) => [
    title,
    withSpread(dropsPerSecond, thousands),
    percentSpread(ratio),
  ]);
  return `Datagrams that a full socket drops\n${table([['', 'drops/s', 'of base'], ...rows])}`;
}

function flowTable(flows: NewFlows[]): string {
  const heading = [
    'new a second',
    'sent',
    'answered',
    'told',
    'joined',
    'end told with counts',
    'sightings told as lost',
    '… or told, of all',
    'busiest agent',
  ];
  const rows = flows.map((one) => {
    const share = (count: number) => `${thousands(count)} (${percent(count / one.sent)})`;
    return [
      thousands(one.sentPerSecond),
      thousands(one.sent),
      thousands(one.answered),
      ...[one.told, one.joined, one.counted].map(share),
      thousands(one.lost),
      percent(one.accounted),
      `${one.agentCpuPercent.toFixed(1)} %`,
    ];
  });
  return `New conversations of a followed pod with one on another node\n${table([heading, ...rows])}`;
}

function programTable(programs: ProgramCost[]): string {
  const rows = programs.map(({ watching, program, runs, nsPerRun, overEmptyNs }) => [
    watching,
    program,
    thousands(runs),
    withSpread(nsPerRun, (ns) => ns.toFixed(0)),
    overEmptyNs.toFixed(1),
  ]);
  const note = 'Nanoseconds per run, by the kernel\u2019s own count (which adds its measuring to every run)';
  return `${note}\n${table([['watching', 'program', 'runs', 'ns', 'over empty'], ...rows])}`;
}

function otherTable(results: Results): string {
  const { attach, attachMany, attachUnloaded, changing, delivery, filters, judging, newborn, pipeline, resolving, scale } =
    results;
  const rows: string[][] = [];
  for (const { interfaces, milliseconds } of [attach, attachMany].filter((one) => one !== undefined)) {
    rows.push([`attaching ${interfaces} interfaces`, `${withSpread(milliseconds, (ms) => ms.toFixed(1))} ms`]);
  }
  if (attachUnloaded !== undefined) {
    const { interfaces, milliseconds } = attachUnloaded;
    const ms = withSpread(milliseconds, (one) => one.toFixed(0));
    rows.push([`loading the programs and attaching ${interfaces} interfaces`, `${ms} ms`]);
  }
  if (newborn !== undefined) {
    const pings = withSpread(newborn.untold, (count) => count.toFixed(0));
    rows.push([
      `answered pings of a new pod before the first that both nodes tell, ${newborn.pods} pods`,
      `${pings}, 10 ms each`,
    ]);
  }
  if (delivery !== undefined) {
    for (const [to, { packets, p50Ms, p99Ms, maxMs }] of Object.entries(delivery)) {
      const figures = `p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms, max ${maxMs.toFixed(1)} ms`;
      rows.push([`kernel to ${to}, ${packets} pings`, figures]);
    }
  }
  if (changing !== undefined) {
    const { changes, p50Ms, maxMs } = changing;
    rows.push([`a changed filter decides, ${changes} changes`, `p50 ${p50Ms.toFixed(0)} ms, max ${maxMs.toFixed(0)} ms`]);
  }
  if (filters !== undefined) {
    const ns = (spread: Spread) => `${withSpread(spread, (value) => value.toFixed(0))} ns over an empty program`;
    rows.push(['a packet that nobody follows', ns(filters.stranger)]);
    rows.push(['a packet that is counted', ns(filters.counted)]);
    rows.push(['a packet that a simple filter leaves out', ns(filters.simple)]);
    rows.push(['a packet that a filter of 20 terms leaves out', ns(filters.twentyTerms)]);
    rows.push(['a segment that a simple filter on its bytes leaves out', ns(filters.simpleBytes)]);
    rows.push(['a segment that a filter of 20 terms on its bytes leaves out', ns(filters.twentyTermsOfBytes)]);
  }
  if (judging !== undefined) {
    const us = (spread: Spread) => `${withSpread(spread, (value) => (value / 1000).toFixed(1))} µs a record`;
    rows.push(['a filter of one address, asked in user space', us(judging.oneTerm)]);
    rows.push(['a filter of 20 addresses and Services, asked in user space', us(judging.twentyTerms)]);
  }
  if (pipeline !== undefined) {
    const { recorded, events, packetsTold, eventsPerSecond } = pipeline;
    const told = `${thousands(events)} events (${thousands(recorded)} recorded) became ${thousands(packetsTold)} packets`;
    rows.push(['pipeline, one core', `${thousands(eventsPerSecond)} events/s; ${told}`]);
  }
  if (resolving !== undefined) {
    const ms = (spread: Spread) => `${withSpread(spread, (value) => value.toFixed(1))} ms`;
    const among = `among ${thousands(resolving.endpoints)} endpoints, ${resolving.followers} followers`;
    rows.push([`a change that no follower is touched by, ${among}`, ms(resolving.ofNobody)]);
    rows.push(['a change that one of them is touched by', ms(resolving.ofOne)]);
    rows.push(['a change that all of them are touched by, each with all endpoints', ms(resolving.ofAll)]);
  }
  if (scale !== undefined) {
    const size = `${scale.pods} pods of its own, ${scale.services} Services, ${scale.endpoints} endpoints`;
    const busy = `${megabytes(scale.busyBytes)} at most under load, ${megabytes(scale.afterBytes)} a minute after`;
    rows.push([`agent with ${size}`, `${megabytes(scale.idleBytes)} idle, ${busy}`]);
    rows.push(['the largest gate', megabytes(scale.gateBytes)]);
  }
  return table(rows);
}

function targetTable(targets: Target[], before: ReadonlyMap<string, string>): string {
  const rows = targets.map(({ what, wanted, found, isReached }) => {
    const last = before.get(what);
    return [isReached ? 'reached' : 'NOT REACHED', what, wanted, found, ...(last === undefined ? [] : [`before: ${last}`])];
  });
  return `To reach\n${table(rows)}`;
}

function withSpread({ median, low, high }: Spread, text: (value: number) => string): string {
  return `${text(median)} (${text(low)} to ${text(high)})`;
}

function percentSpread({ median, low, high }: Spread): string {
  const of = (value: number) => (value * 100).toFixed(0);
  return `${percent(median)} (${of(low)} to ${of(high)})`;
}

function percent(ratio: number): string {
  return `${(ratio * 100).toFixed(1)} %`;
}

function thousands(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
