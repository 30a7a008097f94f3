import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { KtraceError, messageOf } from '../../util/errors.ts';
import { readState } from '../machine/state.ts';
import { readTokens } from '../machine/tokens.ts';

/**
 * One request to a lab's API server as its admin; gives the answer's JSON.
 *
 * @throws KtraceError `KTRACE_E_LAB_API` with the server's own message
 */
export async function callApi<T>(directory: string, method: string, path: string, body?: unknown): Promise<T> {
  const { status, text } = await ask(directory, method, path, body);
  const answer = JSON.parse(text) as T & { message?: string };
  if (status >= 300) throw new KtraceError('KTRACE_E_LAB_API', `${method} ${path}: ${answer.message ?? status}`);
  return answer;
}

/**
 * What a lab's API server counts: `apiserver_request_total` of reviews, as Prometheus reads it.
 *
 * @throws KtraceError `KTRACE_E_LAB_API`
 */
export async function apiMetrics(directory: string): Promise<string> {
  return (await ask(directory, 'GET', '/metrics')).text;
}

async function ask(directory: string, method: string, path: string, body?: unknown): Promise<{ status: number; text: string }> {
  return send(directory, method, path, body).catch((cause: unknown) => {
    throw new KtraceError('KTRACE_E_LAB_API', `The lab's API server does not answer: ${messageOf(cause)}`, { cause });
  });
}

function send(directory: string, method: string, path: string, body: unknown): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({
      host: '127.0.0.1',
      port: readState(directory)?.apiPort ?? 0,
      path,
      method,
      ca: readFileSync(join(directory, 'ca.crt')),
      agent: false,
      headers: { authorization: `Bearer ${readTokens(directory).admin}`, 'content-type': 'application/json' },
    });
    asked.on('error', reject);
    asked.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
