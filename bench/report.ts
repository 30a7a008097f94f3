import type { JudgingCost } from './judging.ts';
import type { Attach } from './programs/attach.ts';
import type { FilterCost } from './programs/filter-cost.ts';
import type { ProgramCost } from './programs/program-cost.ts';
import type { Spread } from './stats.ts';
import { table } from './table.ts';
import type { CaseResult } from './throughput.ts';
import type { Delivery } from './user-space/delivery.ts';
import type { FilterChange } from './user-space/filter-change.ts';
import type { PipelineResult } from './user-space/pipeline-worker.ts';
import type { ResolvingCost } from './user-space/resolve-again.ts';
import type { Scale } from './user-space/scale.ts';

/** Everything that was measured; a part that was left out is absent. */
export interface Results {
  kernel: string;
  cores: number;
  isQuick: boolean;
  cases?: CaseResult[];
  /** Of packets from node to node, in no tunnel. */
  node?: CaseResult[];
  programs?: ProgramCost[];
  filters?: FilterCost;
  judging?: JudgingCost;
  attach?: Attach;
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

/** The figures as text for people. */
export function reportText(results: Results): string {
  const parts = [
    `Linux ${results.kernel}, ${results.cores} cores${results.isQuick ? ' (quick: few and short rounds, figures are rough)' : ''}`,
  ];
  if (results.cases !== undefined) parts.push(caseTable('Pod to pod across nodes', results.cases));
  if (results.node !== undefined) parts.push(caseTable('Node to node, in no tunnel', results.node));
  if (results.programs !== undefined) parts.push(programTable(results.programs));
  parts.push(otherTable(results), targetTable(targetsOf(results)));
  return `${parts.join('\n\n')}\n`;
}

/** What ktrace wants to reach, as far as it was measured. */
export function targetsOf(results: Results): Target[] {
  const targets: Target[] = [];
  const target = (what: string, wanted: string, found: string, isReached: boolean) =>
    targets.push({ what, wanted, found, isReached });
  const [attached, flows, recording, tcpdump] = ['attached', 'flows', 'recording', 'tcpdump'].map((name) =>
    results.cases?.find((one) => one.name === name),
  );
  if (attached !== undefined) {
    target(
      'attached, nothing matching: packets/s',
      '>= 97 % of baseline',
      percent(attached.udpRatio.median),
      attached.udpRatio.median >= 0.97,
    );
  }
  for (const { watching, program, overEmptyNs } of results.programs ?? []) {
    if (watching !== NOTHING_MATCHING || !DISPATCHERS.includes(program)) continue;
    target(`${watching}: ${program}`, '<= 25 ns over an empty program', `${overEmptyNs.toFixed(1)} ns`, overEmptyNs <= 25);
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
  if (flows !== undefined)
    target('follow one pod: packets/s', '>= 90 % of baseline', percent(flows.udpRatio.median), flows.udpRatio.median >= 0.9);
  if (flows !== undefined && tcpdump !== undefined) {
    const found = `${percent(flows.udpRatio.median)} against ${percent(tcpdump.udpRatio.median)}`;
    target('follow one pod: packets/s', 'ahead of tcpdump', found, flows.udpRatio.median > tcpdump.udpRatio.median);
  }
  if (recording !== undefined) {
    const [tcp, udp] = [recording.tcpRatio.median, recording.udpRatio.median];
    target('recording all pods: TCP throughput', '>= 95 % of baseline', percent(tcp), tcp >= 0.95);
    target('recording all pods: packets/s', '>= 90 % of baseline', percent(udp), udp >= 0.9);
  }
  const ofNodes = results.node?.find(({ name }) => name === 'attached');
  if (ofNodes !== undefined) {
    const { median } = ofNodes.udpRatio;
    target('packets/s of the nodes themselves while somebody follows', '>= 98 % of baseline', percent(median), median >= 0.98);
  }
  if (results.attach !== undefined) {
    const { median } = results.attach.milliseconds;
    target('attached again when somebody follows', '<= 300 ms', `${median.toFixed(0)} ms`, median <= 300);
  }
  if (results.pipeline !== undefined) {
    const { eventsPerSecond } = results.pipeline;
    target('user-space pipeline on one core', '>= 200,000 events/s', thousands(eventsPerSecond), eventsPerSecond >= 200_000);
  }
  if (results.delivery !== undefined) {
    const { p99Ms } = results.delivery.client;
    target('kernel to client, 99th percentile', '< 100 ms', `${p99Ms.toFixed(1)} ms`, p99Ms < 100);
  }
  if (results.changing !== undefined) {
    const { maxMs } = results.changing;
    target('a changed filter decides, the slowest of all changes', '<= 300 ms', `${maxMs.toFixed(0)} ms`, maxMs <= 300);
  }
  // The size that the target is for; a quick run takes a smaller one.
  if (results.scale !== undefined && results.scale.services >= 2000) {
    const { busyBytes } = results.scale;
    target('memory of an agent in a large cluster', '< 150 MB', megabytes(busyBytes), busyBytes < 150e6);
  }
  return targets;
}

function caseTable(what: string, cases: CaseResult[]): string {
  const rounds = cases[0]?.udpRatio.rounds ?? 0;
  const rows = cases.map((one) => [
    one.title,
    `${withSpread(one.tcpBitsPerSecond, (bits) => (bits / 1e9).toFixed(2))}`,
    percentSpread(one.tcpRatio),
    withSpread(one.udpPacketsPerSecond, thousands),
    percentSpread(one.udpRatio),
    `${one.latencyP50Us.median.toFixed(0)} / ${one.latencyP99Us.median.toFixed(0)}`,
    percentSpread(one.latencyRatio),
    `${one.cpuPercent.median.toFixed(0)} %`,
    megabytes(one.agentResidentBytes),
  ]);
  const heading = ['', 'TCP Gbit/s', 'of base', '64-byte UDP/s', 'of base', 'p50 / p99 µs', 'p50 of base', 'CPU', 'agent RSS'];
  return `${what}, ${rounds} interleaved rounds: median (quartiles)\n${table([heading, ...rows])}`;
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

function otherTable({ attach, changing, delivery, filters, judging, pipeline, resolving, scale }: Results): string {
  const rows: string[][] = [];
  if (attach !== undefined) {
    rows.push([`attaching ${attach.interfaces} interfaces`, `${withSpread(attach.milliseconds, (ms) => ms.toFixed(1))} ms`]);
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
    rows.push([`agent with ${size}`, `${megabytes(scale.idleBytes)} idle, ${megabytes(scale.busyBytes)} at most under load`]);
  }
  return table(rows);
}

function targetTable(targets: Target[]): string {
  const rows = targets.map(({ what, wanted, found, isReached }) => [isReached ? 'reached' : 'NOT REACHED', what, wanted, found]);
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
