import type { FollowStatus } from './following.ts';
import { followNodesText } from './following-notice.ts';
import { escapeText } from './render/escape.ts';

/** What a follow or a dump came to. */
type Outcome = Pick<FollowStatus, 'counts' | 'lost' | 'agents' | 'missing' | 'gaps'> & Partial<Pick<FollowStatus, 'partly'>>;

/** One line on what a follow came to. `shown` counts what was printed of packets and conversations. */
export function summaryText({ counts, lost, agents, missing, gaps, partly = [] }: Outcome, shown: number): string {
  const stages = Object.entries(lost).filter(([, count]) => count > 0);
  const total = stages.reduce((sum, [, count]) => sum + count, 0);
  const byStage = stages.map(([stage, count]) => `${escapeText(stage)} ${count}`).join(', ');
  const parts = [
    `${counts.captured} captured`,
    `${shown} shown`,
    ...(counts.joined > 0 ? [`${counts.joined} joined to another node's`] : []),
    ...(counts.duplicates > 0 ? [`${counts.duplicates} told by another node`] : []),
    ...(counts.filtered > 0 ? [`${counts.filtered} not matched by the filter`] : []),
    ...(counts.undecided > 0 ? [`${counts.undecided} of them not decided, for want of captured bytes`] : []),
    ...(counts.invalid > 0 ? [`${counts.invalid} unreadable`] : []),
    total === 0 ? '0 lost' : `${total} lost (${byStage})`,
  ];
  const nodes = [
    `${agents} ${agents === 1 ? 'node' : 'nodes'}`,
    ...(missing.length > 0 ? [`missing: ${missing.map(escapeText).join(', ')}`] : []),
    ...(partly.length > 0 ? [`not seen at all interfaces: ${partly.map(escapeText).join(', ')}`] : []),
    ...(gaps.length > 0 ? [`not known for a time: ${gaps.map(escapeText).join(', ')}`] : []),
  ];
  return `${parts.join(', ')}; ${nodes.join('; ')}`;
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
    agentsUp === agents ? `${agents} ${agents === 1 ? 'agent' : 'agents'}` : `${agentsUp} of ${agents} agents reached`,
    `${pods} ${pods === 1 ? 'pod' : 'pods'} resolved`,
    `${addresses} ${addresses === 1 ? 'address' : 'addresses'}`,
    `${counts.captured} events since the start`,
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
