import { WebSocket } from 'ws';
import { STREAM_PATH, SUBPROTOCOL } from '../../src/protocol/constants.ts';

/** What a worker is told on its command line, as JSON. */
export interface Doors {
  /** The agent's own socket. */
  socketPath: string;
  /** The gate's port on the loopback of its pod, where the worker runs. */
  port: number;
}

export function urlsOf({ socketPath, port }: Doors): [agent: string, gate: string] {
  return [`ws+unix:${socketPath}:${STREAM_PATH}`, `ws://127.0.0.1:${port}${STREAM_PATH}`];
}

/**
 * One connection of somebody without a good token: says something when the agent has said `hello`, and stays until it is closed, or for
 * `patienceMs`. Gives the code of the agent's `error`, else what became of the connection.
 */
export function visit(url: string, say: (socket: WebSocket) => void, patienceMs: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, SUBPROTOCOL, { perMessageDeflate: false });
    const timer = setTimeout(() => socket.terminate(), patienceMs);
    let outcome = 'cut';
    socket.on('message', (data) => {
      const message = JSON.parse(String(data)) as { type: string; code?: string };
      if (message.type === 'hello') say(socket);
      if (message.type === 'error') outcome = message.code ?? 'error';
    });
    socket.on('unexpected-response', (request, response) => {
      outcome = `HTTP ${response.statusCode}`;
      request.destroy();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(outcome);
    });
  });
}

/** Goes on with all of these until SIGTERM, then prints the counts as one line of JSON and ends. */
export function untilTold(counts: Record<string, number>, loops: readonly (() => Promise<void>)[]): void {
  for (const loop of loops) {
    void (async () => {
      for (;;) await loop();
    })();
  }
  process.on('SIGTERM', () => process.stdout.write(`${JSON.stringify(counts)}\n`, () => process.exit(0)));
  // Whoever started this is gone, and nobody is left to end it.
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && process.exit(1), 1000);
}

export function count(counts: Record<string, number>, what: string): void {
  counts[what] = (counts[what] ?? 0) + 1;
}
