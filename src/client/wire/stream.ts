import type { Duplex } from 'node:stream';
import WebSocket from 'ws';
import { MAX_AGENT_FRAME_BYTES, STREAM_PATH, SUBPROTOCOL } from '../../protocol/constants.ts';
import type { AgentMessage, ClientMessage } from '../../protocol/messages.ts';
import { parseAgentMessage } from '../../protocol/parse.ts';
import { EXIT, KtraceError, messageOf } from '../../util/errors.ts';

export interface StreamHandler {
  /** The handshake was answered. */
  opened(): void;
  message(message: AgentMessage): void;
  /** Once, and nothing after it. */
  ended(error: KtraceError): void;
}

/** An answer that is no websocket is read so far. */
const MAX_REASON_CHARS = 4096;

/** The websocket `ktrace.v1` over a connection that stands already. */
export class Stream {
  readonly #socket: WebSocket;
  readonly #duplex: Duplex;
  readonly #handler: StreamHandler;
  #ended = false;

  constructor(duplex: Duplex, handler: StreamHandler) {
    this.#duplex = duplex;
    this.#handler = handler;
    this.#socket = new WebSocket(`ws://agent${STREAM_PATH}`, [SUBPROTOCOL], {
      // The connection comes from elsewhere; Node's types ask for a net.Socket and need only a Duplex.
      createConnection: () => duplex as never,
      perMessageDeflate: false,
      maxPayload: MAX_AGENT_FRAME_BYTES,
    });
    this.#listen();
    // It may have ended before anybody listened.
    if (duplex.destroyed) setImmediate(() => this.fail(asKtraceError(duplex.errored ?? new Error('the connection closed'))));
  }

  send(message: ClientMessage): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /** Says that nothing more is wanted, then closes. */
  async close(): Promise<void> {
    this.#ended = true;
    if (this.#socket.readyState === WebSocket.OPEN) {
      const closed = new Promise((resolve) => this.#socket.once('close', resolve));
      this.#socket.close(1000);
      const timer = setTimeout(() => this.#socket.terminate(), 500);
      await closed;
      clearTimeout(timer);
    } else this.#socket.terminate();
    this.#duplex.destroy();
  }

  /** Cuts the connection: without a closing handshake the agent keeps what was not acknowledged. */
  fail(error: KtraceError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.terminate();
    this.#duplex.destroy();
    this.#handler.ended(error);
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on('open', () => this.#handler.opened());
    socket.on('message', (data, isBinary) => {
      if (this.#ended) return;
      try {
        if (isBinary) throw new KtraceError('KTRACE_E_PROTOCOL', 'Expected a text frame, got a binary one');
        const message = parseAgentMessage(String(data));
        if (message !== undefined) this.#handler.message(message);
      } catch (error) {
        this.fail(asKtraceError(error));
      }
    });
    socket.on('unexpected-response', (_, response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        if (body.length < MAX_REASON_CHARS) body += text;
      });
      response.on('close', () => this.fail(notUpgraded(response.statusCode ?? 0, body)));
    });
    socket.on('error', (error) => this.fail(asKtraceError(error)));
    socket.on('close', (code) => this.fail(brokenOff(`the websocket closed (${code})`)));
    this.#duplex.on('error', (error) => this.fail(asKtraceError(error)));
    this.#duplex.on('close', () => this.fail(brokenOff('the connection closed')));
  }
}

/** Why an agent or gate of another version does not talk with us, in its words; undefined for another answer. */
function otherVersion(body: string): KtraceError | undefined {
  const { code, message } = parsed(body);
  if (code !== 'KTRACE_E_SUBPROTOCOL') return undefined;
  const wanted = /\bktrace\.v\d+\b/.exec(typeof message === 'string' ? message : '')?.[0] ?? 'another one';
  return new KtraceError('KTRACE_E_SUBPROTOCOL', `This client speaks ${SUBPROTOCOL}, the agent ${wanted}`, {
    hint: 'Use a client of the version that the agents have: ktrace status shows their image.',
  });
}

function parsed(body: string): { code?: unknown; message?: unknown } {
  try {
    return (JSON.parse(body) as object | null) ?? {};
  } catch {
    return {};
  }
}

/** The gate answers 502 to 504 for an agent that is not there (yet): that passes. */
function notUpgraded(status: number, body: string): KtraceError {
  if (status >= 502 && status <= 504)
    return brokenOff(`the gate is there, but its agent does not answer (HTTP status ${status})`);
  return (
    otherVersion(body) ??
    new KtraceError('KTRACE_E_PROTOCOL', `Expected a websocket of ktrace, got HTTP status ${status}`, {
      hint: 'Use the same version of ktrace on both sides.',
    })
  );
}

function asKtraceError(error: unknown): KtraceError {
  if (error instanceof KtraceError) return error;
  const isGarbage = /^WS_ERR|^HPE_/.test((error as NodeJS.ErrnoException).code ?? '');
  if (!isGarbage) return brokenOff(messageOf(error), error);
  return new KtraceError('KTRACE_E_PROTOCOL', `Expected a websocket of ktrace, got something else (${messageOf(error)})`, {
    cause: error,
    hint: 'Use the same version of ktrace on both sides.',
  });
}

function brokenOff(how: string, cause?: unknown): KtraceError {
  return new KtraceError('KTRACE_E_CONNECTION', `The connection to the agent broke: ${how}`, {
    ...(cause === undefined ? {} : { cause }),
    exitCode: EXIT.noAgent,
  });
}
