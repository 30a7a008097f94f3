import { connect } from 'node:net';
import { DEFAULT_SOCKET } from '../protocol/constants.ts';
import { KtraceError } from '../util/errors.ts';
import { type Environment, type Flags, readSettings } from '../util/settings.ts';
import { checkSocketPath } from '../util/socket-path.ts';

/** Longer than any answer of a healthy agent takes, shorter than the manifests' probes wait. */
const ANSWER_MS = 4000;
const MAX_ANSWER_CHARS = 4096;

/**
 * `ktrace healthz [--ready]`: asks the agent over its unix socket whether it lives, or whether it is ready; the exit code is the answer.
 * What stands in its way is told on stderr. Probes run it again and again, so it loads next to nothing.
 * @throws KtraceError KTRACE_E_ARGUMENT; KTRACE_E_UNHEALTHY when there is no answer, or another one than 200
 */
export async function healthzCommand(flags: Flags, env: Environment = process.env): Promise<number> {
  const settings = readSettings(flags, env);
  const socket = checkSocketPath(settings.names('socket'), settings.text('socket') ?? DEFAULT_SOCKET);
  const answer = await ask(socket, flags['ready'] === true ? '/readyz' : '/healthz');
  const [head = '', body = ''] = answer.split('\r\n\r\n');
  if (/^HTTP\/1\.1 200 /.test(head)) return 0;
  throw unhealthy(`The agent at ${socket} answers ${reasonOf(head, body)}`);
}

/**
 * All that the agent answers; it closes the connection behind that. HTTP by hand, because loading a client takes longer than the
 * question, and 1.0, so that the body comes as it is.
 */
function ask(path: string, url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${ANSWER_MS} ms`)), ANSWER_MS);
    let text = '';
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(`GET ${url} HTTP/1.0\r\n\r\n`));
    socket.on('data', (chunk) => {
      if (text.length < MAX_ANSWER_CHARS) text += chunk;
    });
    socket.on('error', (error) => reject(unhealthy(`The agent at ${path} cannot be asked: ${error.message}`, error)));
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}

/** The agent's own words where it sent any, else the status line. */
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
