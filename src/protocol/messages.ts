import { z } from 'zod';
import type { Incident } from '../event/incident.ts';
import { CAPTURE } from '../event/layout.ts';
import type { NodeReport } from '../event/node-report.ts';
import type { RecordedService } from '../event/service.ts';
import type { RecordedPod, Resolved } from '../event/target.ts';
import type { KtraceEvent } from '../event/types.ts';

/**
 * The messages of `ktrace.v1`: JSON text frames, one message a frame. An agent takes a client's messages strictly as written
 * here; a client ignores messages and fields it does not know, which a newer agent may send (see `parse.ts`).
 *
 * A conversation: the agent says `hello`; the client says `auth` (where the agent asks for tokens) and `subscribe`; the agent
 * answers `subscribed`; the client gives `credit`; `events` flow. Any `error` is the end of the connection and of its session.
 */

const name = z.string().min(1).max(253);
const targetSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.enum(['pod', 'deployment', 'replicaset', 'statefulset', 'daemonset', 'job', 'cronjob', 'service']),
    namespace: name,
    name,
  }),
  z.strictObject({ kind: z.enum(['node', 'namespace']), name }),
  z.strictObject({ kind: z.literal('selector'), namespace: name.exactOptional(), selector: z.string().min(1).max(1024) }),
  z.strictObject({ kind: z.literal('all') }),
]);

const address = z.union([z.ipv4(), z.ipv6()]);
const unixMs = z.number().min(0).max(8_640_000_000_000_000);
const filter = z.strictObject({ text: z.string().min(1).max(8192), revision: z.int().min(0).max(0xffff_ffff) });

const MOST_LISTED = 65_536;

/** So long a list is not looked at behind the first item that is wrong. */
function longList<Item>(item: z.ZodType<Item>) {
  return z.unknown().transform((value, context): Item[] => {
    const refuse = (message: string, path: PropertyKey[] = []) => {
      context.issues.push({ code: 'custom', input: value, message, path });
      return z.NEVER;
    };
    if (!Array.isArray(value) || value.length > MOST_LISTED) return refuse(`Expected an array of at most ${MOST_LISTED}`);
    const items: Item[] = [];
    for (const [at, one] of value.entries()) {
      const { data, error } = item.safeParse(one);
      if (error) return refuse(error.issues[0]?.message ?? '', [at, ...(error.issues[0]?.path ?? [])]);
      items.push(data);
    }
    return items;
  });
}

/** Client → agent. */
export const clientMessageSchema = z.discriminatedUnion('type', [
  /** First, and again before the token ends. Tokens of several owners add up, a newer one takes the place of its owner's older one. */
  z.strictObject({ type: z.literal('auth'), token: z.string().max(16384) }),
  /** How the node is: what its kernel allows, what is attached. Answered once, by `doctor`; needs what following the node needs. */
  z.strictObject({ type: z.literal('doctor') }),
  /**
   * Starts following, or changes what is followed while it runs: the stream goes on, nothing in between is lost. Five at once, then one a second: of
   * those that come sooner the newest is taken then, and each has its answer.
   */
  z.strictObject({
    type: z.literal('subscribe'),
    targets: z.array(targetSchema).min(1).max(256),
    addresses: longList(address).default([]),
    units: z.enum(['flows', 'packets']).default('flows'),
    /** With each packet `headers`: what a capture is made of. */
    headers: z.literal(true).exactOptional(),
    /**
     * Which of the targets' packets: a filter with addresses in place of hosts' names, else `error` KTRACE_E_FILTER. What no other node's part
     * can make match is not sent. What is sent bears `judged`: `revision`, a colon, and for each different term in the order of the filter
     * `1` true, `0` not true here, `x` not to be told from the captured bytes.
     */
    filter: filter.exactOptional(),
    /** So many bytes of each packet, from the IP header on, the filter sees where the headers are fewer. Needs the right to payloads. */
    snapBytes: z.int().min(1).max(CAPTURE.most).exactOptional(),
    /** Hops bear the bytes that were seen there: the first, and each where they are others. */
    data: z.literal(true).exactOptional(),
    /** Continue a stream whose connection broke: `seq` is the last batch that arrived. */
    resume: z.strictObject({ instance: z.string().max(64), session: z.string().max(64), seq: z.int().min(0) }).exactOptional(),
  }),
  /** What the node has recorded of these targets: which pods, since when, where something is missing. Answered once, by `recorded`. */
  z.strictObject({
    type: z.literal('recorded'),
    targets: z.array(targetSchema).min(1).max(256),
    /** Also the Services of these targets, or that had an endpoint among their pods, as they were between two times; an older agent refuses it. */
    services: z.strictObject({ sinceMs: unixMs, untilMs: unixMs }).exactOptional(),
  }),
  /**
   * The records of these targets between two times, Unix milliseconds. `owners`: who had which address, as all nodes' `recorded` say. Answered by
   * `records` within the credits, then `dumped`. Takes the place of `subscribe` on its connection.
   */
  z.strictObject({
    type: z.literal('dump'),
    targets: z.array(targetSchema).min(1).max(256),
    owners: longList(z.strictObject({ ip: address, uid: name, fromMs: unixMs, toMs: unixMs.exactOptional() })).default([]),
    sinceMs: unixMs,
    untilMs: unixMs,
    filter: filter.exactOptional(),
    /** Of these records what the node keeps of an incident, by its id, instead of what its recording still has. */
    incident: z.string().min(1).max(64).exactOptional(),
    after: z.string().max(256).exactOptional(),
  }),
  /**
   * Lets the agent send this many events more on this connection (a new connection begins at none); `ack` is the last batch
   * that arrived, which the agent may then forget. Only after `subscribe` or `dump`.
   */
  z.strictObject({ type: z.literal('credit'), events: z.int().min(0).max(1_000_000), ack: z.int().min(0).exactOptional() }),
]);
export type ClientMessage = z.infer<typeof clientMessageSchema>;

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
