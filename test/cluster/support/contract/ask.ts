import type { IncomingMessage } from 'node:http';
import { type RequestOptions, request as send } from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import { WebSocket } from 'ws';

/** What an API server said to one request, with nothing of how it was carried. */
export interface Answer {
  status: number;
  /** The content type without parameters; empty where there is none. */
  type: string;
  /** JSON where it is JSON, the events of a watch, the frames of a port-forward, else text. */
  body: unknown;
}

export interface Ask {
  method?: string;
  path: string;
  body?: unknown;
  type?: string;
  /** In place of the kubeconfig's own credentials; `null`: none at all. */
  token?: string | null;
  accept?: string;
}

/** An API server as its clients reach it, asked without any library that would mend or hide what it says. */
export class ApiUnderTest {
  readonly #config: KubeConfig;
  readonly #server: string;

  constructor(config: KubeConfig) {
    this.#config = config;
    this.#server = config.getCurrentCluster()?.server.replace(/\/+$/, '') ?? '';
  }

  async ask({ method = 'GET', path, body, type = 'application/json', token, accept = 'application/json' }: Ask): Promise<Answer> {
    const sent = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
    const headers = { accept, ...(sent === undefined ? {} : { 'content-type': type }) };
    const options = { method, headers: { ...headers, 'content-length': Buffer.byteLength(sent ?? '') } };
    const response = await this.#send(path, options, token, sent);
    const text = await textOf(response);
    return { status: response.statusCode ?? 0, type: typeOf(response), body: parsed(text) };
  }

  /** The events of a watch until the server ends it, or `isEnough`. `onOpen` is called once the server has accepted it. */
  async watch(path: string, isEnough: (events: unknown[]) => boolean, onOpen?: () => Promise<unknown>): Promise<Answer> {
    const response = await this.#send(path, { method: 'GET', headers: { accept: 'application/json' } }, undefined, undefined);
    const events: unknown[] = [];
    const opened = onOpen?.();
    let rest = '';
    response.setEncoding('utf8');
    for await (const chunk of response as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      events.push(...lines.filter((line) => line !== '').map(parsed));
      if (isEnough(events)) break;
    }
    response.destroy();
    await opened;
    const isStream = response.statusCode === 200;
    // A refusal is one object.
    const body = isStream ? events : (events[0] ?? parsed(rest));
    return { status: response.statusCode ?? 0, type: typeOf(response), body };
  }

  /**
   * A websocket of `pods/portforward`: sends a text once both channels have said their port, and gives what came by channel, and the
   * subprotocol; or the answer that came in place of a websocket.
   */
  async forward(path: string, text: string, token?: string | null): Promise<Answer> {
    const options = await this.#options({ headers: {} }, token);
    const url = `${this.#server.replace(/^http/, 'ws')}${path}`;
    const socket = new WebSocket(url, ['v4.channel.k8s.io'], {
      ...(options as object),
      headers: options.headers as Record<string, string>,
    });
    const frames: Buffer[] = [];
    return new Promise((resolve, reject) => {
      socket.on('unexpected-response', (_, response) => {
        const answer = (body: string): Answer => ({
          status: response.statusCode ?? 0,
          type: typeOf(response),
          body: parsed(body),
        });
        textOf(response).then((body) => resolve(answer(body)), reject);
      });
      socket.on('message', (data: Buffer) => {
        frames.push(data);
        if (frames.length === 2 && text !== '') socket.send(Buffer.concat([Buffer.from([0]), Buffer.from(text)]));
      });
      socket.on('error', reject);
      socket.on('close', (code) => resolve({ status: 101, type: socket.protocol, body: { ...channels(frames), code } }));
    });
  }

  async #options(options: RequestOptions, token: string | null | undefined): Promise<RequestOptions> {
    // The library adds to the headers that it is given.
    const given: RequestOptions = { ...options, headers: { ...options.headers } };
    await this.#config.applyToHTTPSOptions(given);
    if (token === undefined) return given;
    // Another one's: what the library put there of ours goes.
    const { ca, rejectUnauthorized } = given as { ca?: Buffer; rejectUnauthorized?: boolean };
    const cluster = this.#config.getCurrentCluster();
    const authority = ca ?? (cluster?.caData === undefined ? undefined : Buffer.from(cluster.caData, 'base64'));
    const headers = { ...options.headers, ...(token === null ? {} : { authorization: `Bearer ${token}` }) };
    return { ...options, headers, ...(authority === undefined ? { rejectUnauthorized } : { ca: authority }) } as RequestOptions;
  }

  async #send(path: string, wanted: RequestOptions, token: Ask['token'], sent: string | undefined): Promise<IncomingMessage> {
    const options = await this.#options(wanted, token);
    return new Promise((resolve, reject) => {
      const request = send(new URL(this.#server + path), options, resolve);
      request.on('error', reject);
      request.end(sent);
    });
  }
}

/** Each channel's port, then what it carried. */
function channels(frames: readonly Buffer[]): Record<string, unknown> {
  const of = (channel: number) => frames.filter((frame) => frame[0] === channel).map((frame) => frame.subarray(1));
  return Object.fromEntries(
    [0, 1].map((channel) => {
      const [port, ...rest] = of(channel);
      const name = channel === 0 ? 'data' : 'error';
      return [name, { portBytes: port?.length ?? 0, text: Buffer.concat(rest).toString('latin1') }];
    }),
  );
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

function typeOf(response: IncomingMessage): string {
  return response.headers['content-type']?.split(';')[0] ?? '';
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
