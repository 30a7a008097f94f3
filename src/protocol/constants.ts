/** Names that agent, gate, client and the manifests share. */

/** The websocket subprotocol. */
export const SUBPROTOCOL = 'ktrace.v1';
/** Where the agent listens: a unix socket on a host path. It opens no TCP port. */
export const DEFAULT_SOCKET = '/run/ktrace/agent.sock';
/** The gate's port on its own loopback, reached by `pods/portforward`. */
export const GATE_PORT = 7471;
/** On that port, whether the gate lives, with an agent or without. */
export const GATE_HEALTH_PATH = '/gate/healthz';
/** The gate's port for Prometheus. */
export const METRICS_PORT = 7472;
/** The namespace that ktrace lives in by default. */
export const KTRACE_NAMESPACE = 'ktrace';
/**
 * The namespace of the agents. Not that of the gates: a grant lets people forward ports into every pod there, and an agent is on the host's
 * network, so that a port of it is one of the node's loopback.
 */
export function agentNamespace(ktraceNamespace: string): string {
  return `${ktraceNamespace}-agents`;
}
/** How a client finds the gates. */
export const GATE_SELECTOR = 'app.kubernetes.io/name=ktrace,app.kubernetes.io/component=gate';
/** Path of the websocket on the agent's and the gate's HTTP server. */
export const STREAM_PATH = '/v1/stream';

/** Largest frame an agent reads: a subscription with all the addresses it may carry fits in. */
export const MAX_CLIENT_FRAME_BYTES = 4 * 1024 * 1024;
/** Largest frame a client should read: a batch, or what a wide target resolved to. */
export const MAX_AGENT_FRAME_BYTES = 16 * 1024 * 1024;
/** Most events in one `events` message. */
export const MAX_BATCH_EVENTS = 512;
/** An `events` message is closed when its events' JSON has reached this; a single larger event travels alone. */
export const MAX_BATCH_BYTES = 256 * 1024;
/** A connection that neither follows nor dumps must ask for something this long after `hello` or the last answer, else it is closed. */
export const HANDSHAKE_MS = 10_000;
/** How often an agent tells its clock. */
export const CLOCK_INTERVAL_MS = 5_000;
/** Either side takes a peer for dead that gave no sign of life (message, ping or pong) for this long. */
export const DEAD_AFTER_MS = 30_000;
/** A client that has events or records waiting and takes none for this long is told `bye`. */
export const STALL_MS = 60_000;
/** How long a session outlives its broken connection. */
export const LINGER_MS = 60_000;

/** Websocket close codes of `ktrace.v1` (RFC 6455 section 7.4). */
export const CLOSE = {
  /** The client is done: its session ends at once. */
  normal: 1000,
  /** The agent stops. */
  goingAway: 1001,
  /** A message was not understood. */
  protocol: 1002,
  /** A binary frame. */
  unsupported: 1003,
  /** Not subscribed in time, not authorized, or stalled. */
  policy: 1008,
  /** A fault of the agent. */
  internal: 1011,
} as const;
