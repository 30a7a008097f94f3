/**
 * Runs in a pod's namespace. `datagrams.ts serve IP PORTS answer|silent` reads what comes to so many ports from FIRST_PORT on, and says `listening`.
 * `datagrams.ts ask IP PORTS SOCKETS RATE SECONDS` sends one datagram from each of so many sockets to each of the ports, so that each is a conversation of its
 * own, so many a second, and says `sent COUNT answered COUNT seconds SECONDS`. Both end with their stdin.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

const FIRST_PORT = 20_000;
/** Datagrams go in as many bursts a second. */
const BURSTS = 200;
const ANSWERS_MS = 500;

const [mode, ip = '', ...rest] = process.argv.slice(2);
const ports = Number(rest[0]);
if (mode === 'serve') await serve(rest[1] === 'answer');
else await ask(Number(rest[1]), Number(rest[2]), Number(rest[3]));

async function serve(answers: boolean): Promise<void> {
  const sockets = await open(ports, (at) => FIRST_PORT + at, ip);
  for (const socket of sockets) socket.on('message', (_, from) => answers && socket.send('answer', from.port, from.address));
  process.stdout.write('listening\n');
  process.stdin.resume();
  await once(process.stdin, 'end');
  for (const socket of sockets) socket.close();
}

async function ask(count: number, rate: number, seconds: number): Promise<void> {
  const sockets = await open(count, () => 0);
  let answered = 0;
  for (const socket of sockets) socket.on('message', () => answered++);
  const total = Math.min(rate * seconds, count * ports);
  const beganMs = performance.now();
  let sent = 0;
  while (sent < total) {
    const due = Math.min(total, Math.ceil(((performance.now() - beganMs) / 1000) * rate));
    for (; sent < due; sent++) sockets[sent % count]?.send('question', FIRST_PORT + Math.floor(sent / count), ip);
    await delay(1000 / BURSTS);
  }
  const took = (performance.now() - beganMs) / 1000;
  await delay(ANSWERS_MS);
  process.stdout.write(`sent ${sent} answered ${answered} seconds ${took.toFixed(3)}\n`);
  for (const socket of sockets) socket.close();
}

async function open(count: number, port: (at: number) => number, address?: string): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () => createSocket('udp4'));
  await Promise.all(
    sockets.map((socket, at) => {
      const bound = once(socket, 'listening');
      socket.bind({ port: port(at), ...(address === undefined ? {} : { address }) });
      return bound;
    }),
  );
  return sockets;
}
