import { z } from 'zod';
import type { Resolved } from '../event/target.ts';
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
    kind: z.enum(['pod', 'deployment', 'statefulset', 'daemonset', 'job', 'service']),
    namespace: name,
    name,
  }),
  z.strictObject({ kind: z.enum(['node', 'namespace']), name }),
  z.strictObject({ kind: z.literal('selector'), namespace: name.exactOptional(), selector: z.string().min(1).max(1024) }),
  z.strictObject({ kind: z.literal('all') }),
]);

const address = z.union([z.ipv4(), z.ipv6()]);

/** Client → agent. */
export const clientMessageSchema = z.discriminatedUnion('type', [
  /** First, and again before the token ends. Tokens of several owners add up, a newer one takes the place of its owner's older one. */
  z.strictObject({ type: z.literal('auth'), token: z.string().max(16384) }),
  /** Starts following, or changes what is followed while it runs: the stream goes on, nothing in between is lost. */
  z.strictObject({
    type: z.literal('subscribe'),
    targets: z.array(targetSchema).min(1).max(256),
    addresses: z.array(address).max(65536).default([]),
    units: z.enum(['flows', 'packets']).default('flows'),
    /** Continue a stream whose connection broke: `seq` is the last batch that arrived. */
    resume: z.strictObject({ instance: z.string().max(64), session: z.string().max(64), seq: z.int().min(0) }).exactOptional(),
  }),
  /**
   * Lets the agent send this many events more on this connection (a new connection begins at none); `ack` is the last batch
   * that arrived, which the agent may then forget. Only after `subscribe`.
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
      hooks: { name: string; backend: string; state: string; reason?: string }[];
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
  /** Heartbeat, at least every 10 s when nothing else is sent; with the node's clock. */
  | { type: 'clock'; clock: string }
  /** The connection closes after this. */
  | { type: 'error'; code: string; message: string; hint?: string }
  /** The agent ends the session: it stops, or the client stalled. */
  | { type: 'bye'; reason: string };
