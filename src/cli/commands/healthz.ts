import { connect } from 'node:net';
import type { Command } from '@commander-js/extra-typings';
import { DEFAULT_SOCKET, GATE_HEALTH_PATH, GATE_PORT } from '../../protocol/constants.ts';
import { KtraceError } from '../../util/errors.ts';
import { type Environment, type Flags, readSettings } from '../../util/settings.ts';
import { checkSocketPath } from '../../util/socket-path.ts';
import type { Done } from '../options/command.ts';

/** Longer than any answer of a healthy agent takes, shorter than the manifests' probes wait. */
const ANSWER_MS = 4000;
const MAX_ANSWER_CHARS = 4096;

/** Whom to ask, and for what. */
interface Asked {
  who: string;
  where: { path: string } | { host: string; port: number };
  livePath: string;
}

/** `ktrace healthz`. */
export function addHealthz(program: Command, done: Done): void {
  program
    .command('healthz')
    .description('ask the agent of this node whether it lives: exit code 0 or 1; for probes')
    .option('--gate', 'ask the gate of this pod instead')
    .option('--port <port>', "the gate's port on loopback (KTRACE_GATE_PORT)")
    .option('--socket <path>', "the agent's unix socket (KTRACE_SOCKET)")
    .option('--ready', 'ask whether the agent is ready instead')
    .action(async (flags) => done(await askHealth(flags)));
}

/**
 * Asks the agent over its unix socket, or the gate over its own loopback, whether it lives, or whether the
 * agent is ready; the exit code is the answer. What stands in its way is told on stderr. Probes run it again and again, so it loads next to nothing.
 * @throws KtraceError KTRACE_E_ARGUMENT; KTRACE_E_UNHEALTHY when there is no answer, or another one than 200
 */
export async function askHealth(flags: Flags, env: Environment = process.env): Promise<number> {
  const asked = flags['gate'] === true ? gateOf(flags, env) : agentOf(flags, env);
  const answer = await ask(asked, flags['ready'] === true ? '/readyz' : asked.livePath);
  const [head = '', body = ''] = answer.split('\r\n\r\n');
  if (/^HTTP\/1\.1 200 /.test(head)) return 0;
  throw unhealthy(`${asked.who} answers ${reasonOf(head, body)}`);
}

function agentOf(flags: Flags, env: Environment): Asked {
  const settings = readSettings(flags, env);
  const path = checkSocketPath(settings.names('socket'), settings.text('socket') ?? DEFAULT_SOCKET);
  return { who: `The agent at ${path}`, where: { path }, livePath: '/healthz' };
}

function gateOf(flags: Flags, env: Environment): Asked {
  const port = readSettings(flags, env, 'KTRACE_GATE_').integer('port', 1, 65535) ?? GATE_PORT;
  return { who: `The gate at port ${port}`, where: { host: '127.0.0.1', port }, livePath: GATE_HEALTH_PATH };
}

/**
 * All that is answered; the connection is closed behind that. HTTP by hand, because loading a client takes longer than the
 * question, and 1.0, so that the body comes as it is.
 */
function ask({ who, where }: Asked, url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(where);
    const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${ANSWER_MS} ms`)), ANSWER_MS);
    let text = '';
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(`GET ${url} HTTP/1.0\r\n\r\n`));
    socket.on('data', (chunk) => {
      if (text.length < MAX_ANSWER_CHARS) text += chunk;
    });
    socket.on('error', (error) => reject(unhealthy(`${who} cannot be asked: ${error.message}`, error)));
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}

/** Its own words where it sent any, else the status line. */
function reasonOf(head: string, body: string): string {
  try {
    const { message } = JSON.parse(body) as { message?: unknown };
    if (typeof message === 'string') return message;
  } catch {
    // Not JSON: the status line tells it.
  }
  return head.split('\r\n')[0] || 'nothing';
}

function unhealthy(message: string, cause?: unknown): KtraceError {
  return new KtraceError('KTRACE_E_UNHEALTHY', message, cause === undefined ? {} : { cause });
}
