import { countText, manyText } from '../../util/many-text.ts';
import type { FollowStatus } from '../merge/follow-status.ts';
import type { MergeCounts } from '../merge/merge.ts';
import type { Tally } from '../merge/tally.ts';
import { escapeText } from './style/escape.ts';
import { followNodesText } from './target-text.ts';

/** What a follow or a dump came to. */
type Outcome = Pick<FollowStatus, 'counts' | 'lost' | 'agents' | 'missing' | 'gaps'> & Partial<Pick<FollowStatus, 'partly'>>;

/** One line on what a follow or a dump showed, and one on what became of each record that came: its counts add up. */
export function summaryText(outcome: Outcome, shown: Shown, seconds: number): string {
  return `${shownText(outcome, shown, seconds)}\n${recordsText(outcome.counts)}`;
}

type Shown = Pick<Tally, 'packets' | 'dropped' | 'flows'>;

function shownText({ lost, agents, missing, gaps, partly = [] }: Outcome, shown: Shown, seconds: number): string {
  const stages = Object.entries(lost).filter(([, count]) => count > 0);
  const total = stages.reduce((sum, [, count]) => sum + count, 0);
  const byStage = stages.map(([stage, count]) => `${escapeText(stage)} ${countText(count)}`).join(', ');
  const parts = [
    `${manyText(shown.packets, 'packet')}${shown.dropped > 0 ? ` (${countText(shown.dropped)} dropped)` : ''}`,
    manyText(shown.flows, 'flow'),
    total === 0 ? '0 lost' : `${countText(total)} lost (${byStage})`,
  ];
  const nodes = [
    `${manyText(agents, 'node')}, ${seconds.toFixed(1)} s`,
    ...(missing.length > 0 ? [`missing: ${missing.map(escapeText).join(', ')}`] : []),
    ...(partly.length > 0 ? [`not seen at all interfaces: ${partly.map(escapeText).join(', ')}`] : []),
    ...(gaps.length > 0 ? [`not known for a time: ${gaps.map(escapeText).join(', ')}`] : []),
  ];
  return `${parts.join(', ')}; ${nodes.join('; ')}`;
}

function recordsText(counts: MergeCounts): string {
  const undecided = counts.undecided > 0 ? ` (${countText(counts.undecided)} not decided, for want of captured bytes)` : '';
  const parts = [
    [counts.packets, 'of packets'],
    [counts.flows, 'of flows'],
    [counts.told - counts.packets - counts.flows, 'notices and losses'],
    [counts.joined, 'joined to another node’s'],
    [counts.duplicates, 'told by another node'],
    [counts.amended, 'told again'],
    [counts.filtered, `not matched by the filter${undecided}`],
    [counts.invalid, 'unreadable'],
  ] as const;
  const came = parts.filter(([count]) => count > 0).map(([count, what]) => `${countText(count)} ${what}`);
  return `${manyText(counts.captured, 'record')}${came.length === 0 ? '' : `: ${came.join(', ')}`}`;
}

/** Was something lost, or a node missing or not seen in full (`--strict`)? */
export function isIncomplete({ lost, missing, gaps, partly = [], counts }: Outcome): boolean {
  const nodes = missing.length + gaps.length + partly.length;
  return Object.values(lost).some((count) => count > 0) || nodes > 0 || counts.invalid > 0;
}

/** Why nothing was seen for a while, as far as the client can tell. `shown` counts what was printed of packets and conversations before. */
export function silenceText(
  { agents, agentsUp, pods, addresses, hostNetwork, counts, filter }: Omit<FollowStatus, 'undecided' | 'partly'>,
  seconds: number,
  shown: number,
): string {
  const facts = [
    agentsUp === agents ? manyText(agents, 'agent') : `${agentsUp} of ${agents} agents reached`,
    `${manyText(pods, 'pod')} resolved`,
    manyText(addresses, 'address', 'addresses'),
    `${manyText(counts.captured, 'record')} since the start`,
    ...(filter === undefined ? [] : [`filter "${escapeText(filter)}"`]),
  ];
  const why = reason(agentsUp, pods, addresses, hostNetwork, filter !== undefined);
  return `${shown > 0 ? 'nothing new' : 'no packet matched'} in ${seconds} s; ${facts.join(', ')}: ${why}`;
}

function reason(agentsUp: number, pods: number, addresses: number, hostNetwork: readonly string[], isFiltered: boolean): string {
  if (agentsUp === 0) return 'no agent is reached';
  if (addresses === 0 && hostNetwork.length > 0)
    return `these pods use their nodes' network: ${escapeText(followNodesText(hostNetwork))}`;
  if (addresses === 0) return pods === 0 ? 'no running pod is meant by these targets' : 'these pods have no address yet';
  if (pods === 0) return 'no running pod is meant by these targets, and nobody asks for their addresses';
  return isFiltered ? 'they send and receive nothing new that the filter matches' : 'they send and receive nothing new';
}
