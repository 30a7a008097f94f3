import type { LostStage } from '../../event/types.ts';
import type { MergeCounts } from './merge.ts';

/** What a follow came to, for the summary and for who waits in vain. */
export interface FollowStatus {
  agents: number;
  agentsUp: number;
  pods: number;
  addresses: number;
  /** Nodes of pods that use the node's network. */
  hostNetwork: string[];
  counts: MergeCounts;
  lost: Partial<Record<LostStage, number>>;
  /** Nodes that are not followed at this moment. */
  missing: string[];
  /** Nodes with a time of which nobody can say what was lost. */
  gaps: string[];
  /** Nodes that were not seen at all of their interfaces, if only for a time. */
  partly: string[];
  /** Packets of which less was captured than the filter reads, on the nodes and here, and up to where it reads them. */
  undecided: { packets: number; wantsBytes: number };
  /** As the agents have it. */
  filter: string | undefined;
}
