import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { rejectionResponse } from '../protocol/admission.ts';
import { STREAM_PATH } from '../protocol/constants.ts';
import { agentFault, agentSilent, rejectionOf } from './agent-request.ts';

/** What is read of an agent at once, into one buffer a connection: a new one for each read, as `data` has it, leaves holes in malloc's heap. */
const READ_BYTES = 65_536;

export interface RelayOptions {
  request: IncomingMessage;
  client: Duplex;
  /** What the client sent behind its request's head. */
  head: Buffer;
  socketPath: string;
  /** The agent must answer the handshake within this. */
  answerMs: number;
  /** When one side has ended, the other must within this. */
  halfClosedMs: number;
  onClosed(result: RelayResult): void;
}

export interface RelayResult {
  toAgentBytes: number;
  toClientBytes: number;
  /** Set when the agent could not be reached. */
  errorCode: string | undefined;
}

/**
 * Joins a client that asked for the websocket, and whose request was found good, to the agent: bytes both ways, each way as fast as
 * its reader takes them. `onClosed` is called once, when both sides are gone. Gives a function that cuts both.
 */
export function relay(options: RelayOptions): () => void {
  const { request, client, head, socketPath, answerMs, halfClosedMs, onClosed } = options;
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  const agent = connect({ path: socketPath, allowHalfOpen: true, onread: { buffer, callback: (bytes) => toClient(bytes) } });
  let errorCode: string | undefined;
  let halfClosedTimer: NodeJS.Timeout | undefined;

  const refuse = (error: ReturnType<typeof agentFault>): void => {
    errorCode = error.code;
    client.end(rejectionResponse(rejectionOf(error)), () => client.destroy());
    agent.destroy();
  };
  const answerTimer = setTimeout(() => refuse(agentSilent()), answerMs);
  const cut = (): void => {
    agent.destroy();
    client.destroy();
  };
  const halfClosed = (): void => {
    halfClosedTimer ??= setTimeout(cut, halfClosedMs);
  };

  /** Gives on what is in the buffer. False stops the reading of more until the client has taken it; of a client that is gone, for good. */
  const toClient = (bytes: number): boolean => {
    clearTimeout(answerTimer);
    if (!client.writable) {
      agent.destroy();
      return false;
    }
    let isStopped = false;
    client.write(buffer.subarray(0, bytes), () => isStopped && agent.resume());
    isStopped = client.writableLength > 0;
    return !isStopped;
  };

  agent.once('connect', () => {
    agent.write(requestHead(request));
    if (head.length > 0) agent.write(head);
    // `pipe` stops reading one side while the other does not take, and passes its end on.
    client.pipe(agent);
  });
  agent.on('error', (error) => (errorCode === undefined && agent.bytesRead === 0 ? refuse(agentFault(error)) : cut()));
  client.on('error', cut);
  // An agent that has no room left closes without a word.
  agent.once('end', () => (agent.bytesRead === 0 ? refuse(agentFault(new Error('it closed the connection'))) : client.end()));
  for (const side of [agent, client]) side.once('end', halfClosed).once('close', halfClosed);
  whenBothClosed(agent, client, () => {
    clearTimeout(answerTimer);
    clearTimeout(halfClosedTimer);
    onClosed({ toAgentBytes: agent.bytesWritten, toClientBytes: agent.bytesRead, errorCode });
  });
  return cut;
}

/** The head for the agent: only what the websocket handshake needs, whatever else the client sent. */
function requestHead({ headers }: IncomingMessage): string {
  const kept = ['sec-websocket-key', 'sec-websocket-version', 'sec-websocket-protocol'].flatMap((name) =>
    headers[name] === undefined ? [] : [`${name}: ${headers[name]}`],
  );
  return [`GET ${STREAM_PATH} HTTP/1.1`, 'Host: agent', 'Connection: Upgrade', 'Upgrade: websocket', ...kept, '', ''].join(
    '\r\n',
  );
}

/** A side that is gone takes the other along, once that has given out what it still holds. */
function whenBothClosed(agent: Socket, client: Duplex, then: () => void): void {
  let open = 2;
  const closed = (other: Duplex) => () => {
    open -= 1;
    if (open === 0) return then();
    other.end();
  };
  agent.once('close', closed(client));
  client.once('close', closed(agent));
}
