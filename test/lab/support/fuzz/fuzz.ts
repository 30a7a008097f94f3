import { connect, type NetConnectOpts, type Socket } from 'node:net';
import { frame, hostileFrames, OPCODE, oddFrames, validMessage } from './hostile-frames.ts';
import { handshake, hostileRequest } from './hostile-requests.ts';
import { Random } from './random.ts';

/** What was sent, and what came of it. */
export interface FuzzCounts {
  connections: number;
  /** On those that became websockets. */
  frames: number;
  requests: number;
  /** Connections that were upgraded to a websocket. */
  upgraded: number;
  /** Other answers, by status; `none`: cut off without a word, or left before one. */
  refused: Record<string, number>;
}

export interface FuzzOptions {
  seed: number;
  frames: number;
  requests: number;
  /** Where the websocket is served. */
  streams: readonly [NetConnectOpts, ...NetConnectOpts[]];
  /** All HTTP servers. */
  servers: readonly [NetConnectOpts, ...NetConnectOpts[]];
  /** Connections at the same time. */
  concurrency: number;
}

/** How long a peer has to answer, or to close, before the next is tried. It judges nothing. */
const PATIENCE_MS = [5, 50, 500] as const;
const ANSWER_MS = 5_000;

/**
 * Sends frames and requests by chance, until as many of both were sent as asked for. Most connections speak sensibly for a while, so that what
 * is hostile meets a server in the middle of something.
 */
export async function fuzz(options: FuzzOptions): Promise<FuzzCounts> {
  const counts: FuzzCounts = { connections: 0, frames: 0, requests: 0, upgraded: 0, refused: {} };
  const worker = async (index: number): Promise<void> => {
    const random = new Random(options.seed + index);
    while (counts.frames < options.frames || counts.requests < options.requests) {
      counts.connections += 1;
      if (counts.frames < options.frames && !(counts.requests < options.requests && random.once(2))) {
        await fuzzFrames(random, random.pick(options.streams), counts);
      } else {
        counts.requests += 1;
        const answer = await talk(random, random.pick(options.servers), [hostileRequest(random)]);
        count(counts, answer);
      }
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, (_, index) => worker(index)));
  return counts;
}

async function fuzzFrames(random: Random, where: NetConnectOpts, counts: FuzzCounts): Promise<void> {
  const frames: Buffer[] = [];
  const say = (message: object) => frames.push(frame(random, { opcode: OPCODE.text, payload: JSON.stringify(message) }));
  if (random.once(3)) say(validMessage(random));
  // Credit is refused before it: without a subscription the rest of the connection would be read by nobody.
  if (!random.once(8)) {
    say({ type: 'subscribe', targets: [{ kind: 'pod', namespace: 'default', name: `p${random.below(5)}` }] });
    for (let left = random.below(60); left > 0; left -= 1) frames.push(...oddFrames(random));
  }
  frames.push(...hostileFrames(random));
  const head = Buffer.from(handshake(random));
  // At times all at once: what stands behind the head then reaches the server with it.
  const parts = random.once(4) ? [Buffer.concat([head, ...frames])] : [head, Buffer.concat(frames)];
  // Frames that met no websocket do not count.
  if (count(counts, await talk(random, where, parts)) === '101') counts.frames += frames.length;
}

function count(counts: FuzzCounts, answer: string): string {
  const status = /^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 'none';
  if (status === '101') counts.upgraded += 1;
  else counts.refused[status] = (counts.refused[status] ?? 0) + 1;
  return status;
}

/** Says one part after the other, each when something was answered to the one before, and leaves in one of several ways. Gives the answer's beginning. */
function talk(random: Random, where: NetConnectOpts, parts: Buffer[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(where);
    const left = [...parts];
    let answer = '';
    let timer = setTimeout(() => socket.destroy(), ANSWER_MS);
    const next = (): void => {
      const part = left.shift();
      if (part !== undefined) socket.write(part);
      if (left.length > 0) return;
      clearTimeout(timer);
      timer = setTimeout(() => leave(random, socket), random.pick(PATIENCE_MS));
    };
    socket.once('connect', next);
    socket.on('data', (chunk) => {
      if (answer.length < 64) answer += chunk.toString('latin1');
      if (left.length > 0) next();
    });
    socket.on('error', () => undefined);
    socket.once('end', () => socket.end());
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(answer);
    });
  });
}

function leave(random: Random, socket: Socket): void {
  // A unix socket cannot be reset.
  if (socket.remoteAddress !== undefined && random.once(3)) socket.resetAndDestroy();
  else socket.destroy();
}
