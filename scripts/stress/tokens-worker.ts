/** Tokens of nobody, each shown once: `tokens-worker.ts DOORS`. */
import type { WebSocket } from 'ws';
import { junkToken } from './junk-token.ts';
import { count, type Doors, untilTold, urlsOf, visit } from './stranger.ts';

const AT_ONCE = 2;
/** More of them end the connection before the last is looked at. */
const TOKENS = 32;
const PATIENCE_MS = 10_000;
const QUESTION = { type: 'subscribe', targets: [{ kind: 'all' }] };

const counts: Record<string, number> = { 'tokens like ours': 0, 'other tokens': 0 };
const show = (url: string, isLikeOurs: boolean) => async () => {
  const say = (socket: WebSocket) => {
    // Of those like ours the first that may not be asked for ends the connection.
    for (let left = isLikeOurs ? 1 : TOKENS; left > 0; left--) {
      count(counts, isLikeOurs ? 'tokens like ours' : 'other tokens');
      socket.send(JSON.stringify({ type: 'auth', token: junkToken(isLikeOurs) }));
    }
    socket.send(JSON.stringify(QUESTION));
  };
  count(counts, `${isLikeOurs ? 'like ours' : 'other'}: ${await visit(url, say, PATIENCE_MS)}`);
};
const urls = urlsOf(JSON.parse(process.argv[2] ?? '') as Doors);
untilTold(
  counts,
  urls.flatMap((url) => [true, false].flatMap((isLikeOurs) => Array.from({ length: AT_ONCE }, () => show(url, isLikeOurs)))),
);
