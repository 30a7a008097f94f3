import {
  CLOCK_INTERVAL_MS,
  DEAD_AFTER_MS,
  HANDSHAKE_MS,
  LINGER_MS,
  MAX_BATCH_BYTES,
  MAX_BATCH_EVENTS,
  STALL_MS,
} from '../../protocol/constants.ts';

/** Every bound of the server. Bytes of events are lengths of their JSON. */
export interface Limits {
  /**
   * Connections at the same time of those who may see something; as many sessions, those that wait for their client to come back among them.
   * One account has at most half of these connections and a quarter of these sessions.
   */
  clients: number;
  /** Connections at the same time of whom it is not known yet whether they may see anything; the oldest leaves first. */
  strangers: number;
  /** Events that one session keeps for a client that is not reading. */
  queueEvents: number;
  /** The same in bytes; less when many sessions share `totalBytes`. */
  queueBytes: number;
  /** Sent and not acknowledged events that one session keeps for a resume; also bounded by its share of `totalBytes`. */
  sentBytes: number;
  /** All sessions together, queued and sent. */
  totalBytes: number;
  batchEvents: number;
  batchBytes: number;
  /** No more is handed to a websocket that holds this much which the kernel has not taken. */
  socketBytes: number;
  handshakeMs: number;
  /** Subscriptions that a connection may send at once; from then on, one in `subscribeMs`. Of those that come sooner the last one is taken then. */
  subscribes: number;
  subscribeMs: number;
  /** `recorded` that are answered at once on a connection; from then on, one in `recordedMs`. */
  recorded: number;
  recordedMs: number;
  clockMs: number;
  deadAfterMs: number;
  stallMs: number;
  lingerMs: number;
  /** How often the rights of a stream are checked again. */
  recheckMs: number;
  /** How long a stream goes on while its rights cannot be checked. */
  graceMs: number;
  /** After `bye` or `error`, the connection is cut when its closing takes longer. */
  closingMs: number;
}

export const DEFAULT_LIMITS: Limits = {
  clients: 32,
  strangers: 8,
  queueEvents: 8192,
  queueBytes: 8 * 1024 * 1024,
  sentBytes: 4 * 1024 * 1024,
  totalBytes: 48 * 1024 * 1024,
  batchEvents: MAX_BATCH_EVENTS,
  batchBytes: MAX_BATCH_BYTES,
  socketBytes: 512 * 1024,
  handshakeMs: HANDSHAKE_MS,
  subscribes: 5,
  subscribeMs: 1_000,
  recorded: 5,
  recordedMs: 1_000,
  clockMs: CLOCK_INTERVAL_MS,
  deadAfterMs: DEAD_AFTER_MS,
  stallMs: STALL_MS,
  lingerMs: LINGER_MS,
  recheckMs: 30_000,
  graceMs: 5 * 60_000,
  closingMs: 2_000,
};
