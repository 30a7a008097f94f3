/** Idle sockets, and frames of 4 MiB, of nobody: `sockets-worker.ts DOORS`. */
import { setTimeout as delay } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import { MAX_CLIENT_FRAME_BYTES } from '../../src/protocol/constants.ts';
import { junkToken } from './junk-token.ts';
import { count, type Doors, untilTold, urlsOf, visit } from './stranger.ts';

const IDLE = 32;
const SENDERS = 2;
const PIECE = 64 * 1024;
/** An agent keeps who says nothing for ten seconds. */
const IDLE_MS = 60_000;
const FRAME_MS = 5_000;
/** Whoever was pushed out comes again, but not so fast that being idle becomes something else. */
const PAUSE_MS = 1000;

const frame = Buffer.alloc(MAX_CLIENT_FRAME_BYTES, '{"type":"subscribe"}');
/** In one, in many pieces, and behind a token that must be asked for first. */
const WAYS: readonly ((socket: WebSocket) => void)[] = [
  (socket) => socket.send(frame, { binary: false }, () => undefined),
  (socket) => {
    for (let at = 0; at < frame.length; at += PIECE) {
      socket.send(frame.subarray(at, at + PIECE), { binary: false, fin: at + PIECE >= frame.length }, () => undefined);
    }
  },
  (socket) => {
    socket.send(JSON.stringify({ type: 'auth', token: junkToken(true) }));
    socket.send(frame, { binary: false }, () => undefined);
  },
];

const counts: Record<string, number> = { 'idle sockets': 0, 'frames of 4 MiB': 0 };
const idle = (url: string) => async () => {
  count(counts, 'idle sockets');
  count(counts, `idle: ${await visit(url, () => undefined, IDLE_MS)}`);
  await delay(PAUSE_MS);
};
let next = 0;
const send = (url: string) => async () => {
  const say = WAYS[next++ % WAYS.length] as (typeof WAYS)[number];
  const outcome = await visit(
    url,
    (socket) => {
      count(counts, 'frames of 4 MiB');
      say(socket);
    },
    FRAME_MS,
  );
  count(counts, `frame: ${outcome}`);
};
const urls = urlsOf(JSON.parse(process.argv[2] ?? '') as Doors);
untilTold(
  counts,
  urls.flatMap((url) => [...Array.from({ length: IDLE }, () => idle(url)), ...Array.from({ length: SENDERS }, () => send(url))]),
);
