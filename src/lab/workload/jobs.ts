import { Resolver } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { CLUSTER_DNS } from '../plan/plan.ts';

/** Something a pod does again and again. A failure is part of the traffic, not of the program: nobody is told. */
export type Job = { everyMs: number } & (
  | {
      kind: 'redis';
      /** A name, looked up by DNS each time, or an address. */
      host: string;
      port: number;
      command: string[];
    }
  | { kind: 'http'; host: string; port: number }
  | { kind: 'https'; host: string; port: number; path: string; caFile: string }
  /** Opens a connection and closes it: to a port where nobody listens, or to one that is dropped on the way. */
  | { kind: 'connect'; host: string; port: number }
  | { kind: 'lookup'; host: string }
);

const TIMEOUT_MS = 900;

/** Does a job now and then every `everyMs`. */
export function startJob(job: Job): void {
  const once = () => void perform(job).catch(() => undefined);
  once();
  setInterval(once, job.everyMs);
}

async function perform(job: Job): Promise<unknown> {
  switch (job.kind) {
    case 'redis':
      return exchange(await addressOf(job.host), job.port, encodeCommand(job.command));
    case 'http':
      return exchange(await addressOf(job.host), job.port, `GET / HTTP/1.1\r\nhost: ${job.host}\r\nconnection: close\r\n\r\n`);
    case 'https':
      return fetchOnce(job.host, job.port, job.path, job.caFile);
    case 'connect':
      return exchange(job.host, job.port, '');
    default:
      return addressOf(job.host);
  }
}

/** A new resolver for each look-up: a new socket, thus a new flow, as from a process that starts. */
async function addressOf(host: string): Promise<string> {
  if (!/[a-z]/.test(host) || host.includes(':')) return host;
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: 1 });
  resolver.setServers([CLUSTER_DNS]);
  const [address] = await resolver.resolve4(host);
  return address ?? host;
}

/** Opens a connection, says `text`, waits for the first answer and closes. */
function exchange(host: string, port: number, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('timeout')));
    socket.once('error', reject);
    socket.once('close', () => resolve());
    socket.once('data', () => socket.end());
    socket.once('connect', () => (text === '' ? socket.end() : socket.write(text)));
  });
}

function fetchOnce(host: string, port: number, path: string, caFile: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest({ host, port, path, ca: caOf(caFile), agent: false, timeout: TIMEOUT_MS });
    request.on('timeout', () => request.destroy(new Error('timeout')));
    request.on('error', reject);
    request.on('response', (response) => response.resume().on('end', () => resolve()));
    request.end();
  });
}

/** A command as redis reads it: an array of bulk strings (RESP). */
function encodeCommand(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}

function caOf(file: string): string {
  const present = certificates.get(file) ?? readFileSync(file, 'utf8');
  certificates.set(file, present);
  return present;
}

const certificates = new Map<string, string>();
