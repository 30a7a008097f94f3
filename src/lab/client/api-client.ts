import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { KtraceError, messageOf } from '../../util/errors.ts';
import { bodyText, sendRequest } from '../../util/http.ts';
import { readState } from '../machine/state.ts';
import { readTokens } from '../machine/tokens.ts';

const MOST_BYTES = 64 * 1024 * 1024;

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

async function send(directory: string, method: string, path: string, body: unknown): Promise<{ status: number; text: string }> {
  const response = await sendRequest(
    new URL(path, `https://127.0.0.1:${readState(directory)?.apiPort ?? 0}`),
    {
      method,
      ca: readFileSync(join(directory, 'ca.crt')),
      agent: false,
      headers: { authorization: `Bearer ${readTokens(directory).admin}`, 'content-type': 'application/json' },
    },
    body === undefined ? undefined : JSON.stringify(body),
  );
  return { status: response.statusCode ?? 0, text: await bodyText(response, MOST_BYTES) };
}
