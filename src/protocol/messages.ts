import type { Incident } from '../event/incident.ts';
import type { NodeReport } from '../event/node-report.ts';
import type { RecordedService } from '../event/service.ts';
import type { AddressOwner, RecordedPod, Resolved, Target } from '../event/target.ts';
import type { KtraceEvent } from '../event/types.ts';

/**
 * The messages of `ktrace.v1`: JSON text frames, one message a frame. An agent takes a client's messages strictly as written
 * here; a client ignores messages and fields it does not know, which a newer agent may send (see `parse.ts`).
 *
 * A conversation: the agent says `hello`; the client says `auth` (where the agent asks for tokens) and `subscribe`; the agent
 * answers `subscribed`; the client gives `credit`; `events` flow. Any `error` is the end of the connection and of its session.
 */

/** Client → agent; `parse.ts` has the bounds of each field. */
export type ClientMessage =
  /** First, and again before the token ends. Tokens of several owners add up, a newer one takes the place of its owner's older one. */
  | { type: 'auth'; token: string }
  /** How the node is: what its kernel allows, what is attached. Answered once, by `doctor`; needs what following the node needs. */
  | { type: 'doctor' }
  /**
   * Starts following, or changes what is followed while it runs: the stream goes on, nothing in between is lost. Five at once, then one a second: of
   * those that come sooner the newest is taken then, and each has its answer.
   */
  | {
      type: 'subscribe';
      targets: Target[];
      /** Absent: none. */
      addresses: string[];
      /** Absent: `flows`. */
      units: 'flows' | 'packets';
      /** With each packet `headers`: what a capture is made of. */
      headers?: true;
      /**
       * Which of the targets' packets: a filter with addresses in place of hosts' names, else `error` KTRACE_E_FILTER. What no other node's part
       * can make match is not sent. What is sent bears `judged`: `revision`, a colon, and for each different term in the order of the filter
       * `1` true, `0` not true here, `x` not to be told from the captured bytes.
       */
      filter?: { text: string; revision: number };
      /** So many bytes of each packet, from the IP header on, the filter sees where the headers are fewer. Needs the right to payloads. */
      snapBytes?: number;
      /** Hops bear the bytes that were seen there: the first, and each where they are others. */
      data?: true;
      /** Continue a stream whose connection broke: `seq` is the last batch that arrived. */
      resume?: { instance: string; session: string; seq: number };
    }
  /** What the node has recorded of these targets: which pods, since when, where something is missing. Answered once, by `recorded`. */
  | {
      type: 'recorded';
      targets: Target[];
      /** Also the Services of these targets, or that had an endpoint among their pods, as they were between two times; an older agent refuses it. */
      services?: { sinceMs: number; untilMs: number };
    }
  /**
   * The records of these targets between two times, Unix milliseconds. `owners`: who had which address, as all nodes' `recorded` say. Answered by
   * `records` within the credits, then `dumped`. Takes the place of `subscribe` on its connection.
   */
  | {
      type: 'dump';
      targets: Target[];
      /** Absent: none. */
      owners: AddressOwner[];
      sinceMs: number;
      untilMs: number;
      filter?: { text: string; revision: number };
      /** Of these records what the node keeps of an incident, by its id, instead of what its recording still has. */
      incident?: string;
      after?: string;
    }
  /**
   * Lets the agent send this many events more on this connection (a new connection begins at none); `ack` is the last batch
   * that arrived, which the agent may then forget. Only after `subscribe` or `dump`.
   */
  | { type: 'credit'; events: number; ack?: number };

/** Agent → client. */
export type AgentMessage =
  | {
      type: 'hello';
      node: string;
      /** Changes at every start of the agent. */
      instance: string;
      version: string;
      /** Unix ns (decimal) of the node's clock at the moment of sending. */
      clock: string;
    }
  /**
   * Answer to `subscribe`, before any `events`. `session` names the stream for `resume`; `resumed` says whether it went on
   * (else it is new and begins at seq 1). After `resume` the next batch has the seq after the one that the client named,
   * and `missed` counts the events before it that were sent, did not arrive and are gone.
   */
  | { type: 'subscribed'; session: string; resumed: boolean; missed: number; resolved: Resolved }
  /** What the targets stand for has changed. */
  | { type: 'resolved'; resolved: Resolved }
  /**
   * `seq` begins at 1 and grows by 1. Every event costs one credit. Where the client was too slow a `lost` event of stage
   * `client-socket` stands in the place of the events that were cut.
   */
  | { type: 'events'; seq: number; events: KtraceEvent[] }
  /**
   * So many packets of this stream were not told because the filter reads bytes of them that were not captured, up to `wantsBytes` from the IP
   * header on. Since the stream began, as it grows; what is told with `judged` is not among it.
   */
  | { type: 'undecided'; packets: number; wantsBytes: number }
  | { type: 'doctor'; report: NodeReport }
  /** Unix milliseconds. `pods`: those of the targets that were this node's; `known`: some that were recorded and may be seen, by namespace/name. */
  | {
      type: 'recorded';
      fromMs: number;
      toMs: number;
      pods: RecordedPod[];
      known: string[];
      gaps: { fromMs: number; toMs: number }[];
      damaged: { name: string; at: number; bytes: number }[];
      /** UDP port of the node's VXLAN, where it has one; an older agent does not tell. */
      vxlanPort?: number;
      /** Until when there were records, within pods' shares and over them, that are deleted for room or for their age. */
      deleted?: { share?: number; excess?: number };
      /** Incidents of the targets' pods that may be seen; an older agent does not tell. */
      incidents?: Incident[];
      /** Those that may be seen, where it was asked for; so many more were too many for a message. */
      services?: RecordedService[];
      servicesCut?: number;
    }
  /** `after`, for `dump`, is where a transfer that breaks behind this message goes on; only the node's agents can read it. Every event costs one credit. */
  | { type: 'records'; after: string; events: KtraceEvent[] }
  /**
   * All has been told; `filtered` counts what the filter did not let pass of what may be seen. `undecided` packets among them have bytes that it reads,
   * up to `wantsBytes` from the IP header on, and that were not recorded; an older agent does not tell.
   */
  | {
      type: 'dumped';
      told: number;
      filtered: number;
      undecided?: number;
      wantsBytes?: number;
      damaged: { name: string; at: number; bytes: number }[];
    }
  /** Heartbeat, at least every 10 s when nothing else is sent; with the node's clock. */
  | { type: 'clock'; clock: string }
  /** The connection closes after this. */
  | { type: 'error'; code: string; message: string; hint?: string }
  /** The agent ends the session: it stops, or the client stalled. */
  | { type: 'bye'; reason: string };
