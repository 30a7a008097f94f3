/** A pod belongs to one of these by its owner; to a Deployment and a CronJob by that of its ReplicaSet or Job. */
export type WorkloadKind = 'deployment' | 'replicaset' | 'statefulset' | 'daemonset' | 'job' | 'cronjob';

/**
 * What to follow. Targets travel as selectors; every agent resolves them against the pods of its own node,
 * and against Services, which all agents know. A packet matches when one of its addresses — before or after
 * translation, inner when tunnelled, quoted in an ICMP error — is one of the targets'.
 */
export type Target =
  | { kind: 'pod' | 'service'; namespace: string; name: string }
  | { kind: WorkloadKind; namespace: string; name: string }
  | { kind: 'node' | 'namespace'; name: string }
  /** Kubernetes label selector text, e.g. `app=redis,role!=slave`; without `namespace` all namespaces. */
  | { kind: 'selector'; namespace?: string; selector: string }
  | { kind: 'all' };

/** A pod that a target stands for, as its own node's agent knows it. */
export interface ResolvedPod {
  namespace: string;
  name: string;
  uid: string;
  node: string;
  ips: string[];
  /** It uses its node's network: it has no address of its own, and its packets are its node's. */
  hostNetwork?: true;
}

/** What an agent made of a subscription's targets; told at the start and at every change. */
export interface Resolved {
  /** Pods of this agent's node. */
  pods: ResolvedPod[];
  /**
   * All addresses this agent follows for the targets, Services' and nodes' among them. The client hands the
   * union of all agents' addresses to every agent (`Subscription.addresses`), so that a node tells of a remote target's packets too.
   */
  addresses: string[];
  /** Indexes of the subscription's targets for which this agent knows no object; absent when there are none. */
  unresolved?: number[];
}

/** What a follower asks of one agent. */
export interface Subscription {
  targets: Target[];
  /** Addresses that other agents resolved for the same targets. */
  addresses: string[];
  /** `flows`: only sightings that say something new. `packets`: every one. */
  units: 'flows' | 'packets';
  /** With each packet the bytes of its headers, as in a recording. */
  headers?: true;
  /** Which of the targets' packets. `revision` names it in the records that were judged by it. */
  filter?: { text: string; revision: number };
  /** So many bytes of each packet are seen, from the IP header on, where its headers are fewer. Needs the right to payloads. */
  snapBytes?: number;
  /** Told with each hop are the bytes that were seen there. */
  data?: true;
}

/** Who had an address, and when, in Unix milliseconds; without `toMs` they have it still. */
export interface AddressOwner {
  ip: string;
  uid: string;
  fromMs: number;
  toMs?: number;
}

/** A pod of a node as its recording knows it. */
export interface RecordedPod {
  namespace: string;
  name: string;
  uid: string;
  ips: string[];
  fromMs: number;
  toMs?: number;
}

/** What is asked of a recording. */
export interface DumpRequest {
  targets: Target[];
  owners: AddressOwner[];
  /** Unix milliseconds, both included. */
  sinceMs: number;
  untilMs: number;
  filter?: { text: string; revision: number };
  /** What is kept of this incident, instead of the recording. */
  incident?: string;
  /** Where a broken transfer goes on, as the agent told it. */
  after?: string;
}
