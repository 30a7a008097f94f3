import { request } from 'node:http';
import type { Rejection } from '../protocol/admission.ts';
import { KtraceError, messageOf } from '../util/errors.ts';

/** The agent's answer to a plain request. */
export interface AgentAnswer {
  status: number;
  type: string;
  body: Buffer;
}

const MAX_BODY_BYTES = 8 * 1024 * 1024;

/**
 * Asks the agent for a page over its socket.
 * @throws KtraceError KTRACE_E_AGENT_DOWN when nobody answers at the socket, KTRACE_E_AGENT_SILENT when no whole answer comes in time
 */
export async function askAgent(socketPath: string, path: string, timeoutMs: number): Promise<AgentAnswer> {
  try {
    return await get(socketPath, path, timeoutMs);
  } catch (error) {
    throw agentFault(error);
  }
}

function get(socketPath: string, path: string, timeoutMs: number): Promise<AgentAnswer> {
  return new Promise((resolve, reject) => {
    const options = { socketPath, path, agent: false, signal: AbortSignal.timeout(timeoutMs) };
    const asked = request(options, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes > MAX_BODY_BYTES) response.destroy(new Error(`an answer of more than ${MAX_BODY_BYTES} bytes`));
      });
      response.once('error', reject);
      response.once('end', () => {
        const type = response.headers['content-type'] ?? 'text/plain';
        resolve({ status: response.statusCode ?? 502, type, body: Buffer.concat(chunks) });
      });
    });
    asked.once('error', reject);
    asked.end();
  });
}

/** Why the agent could not be asked, as an error that says what to do. */
export function agentFault(cause: unknown): KtraceError {
  const { code, name } = cause as NodeJS.ErrnoException;
  if (name === 'AbortError' || name === 'TimeoutError') return agentSilent();
  const isAway = code === 'ENOENT' || code === 'ECONNREFUSED';
  const why = isAway ? '' : ` (${code ?? messageOf(cause)})`;
  return new KtraceError('KTRACE_E_AGENT_DOWN', `The agent on this node is not running${why}`, {
    hint: "Look at the agent's pod on this node: kubectl -n ktrace-agents get pods -o wide, and its log.",
    cause,
  });
}

/** The agent took the connection and said nothing. */
export function agentSilent(): KtraceError {
  return new KtraceError('KTRACE_E_AGENT_SILENT', 'The agent on this node does not answer', {
    hint: "The agent may be stopped or starved of CPU: look at its pod's state and log.",
  });
}

/** The HTTP answer that tells of a fault. */
export function rejectionOf(error: KtraceError): Rejection {
  const status = error.code === 'KTRACE_E_AGENT_SILENT' ? 504 : 503;
  const { code, message, hint } = error;
  return { status, code, message, ...(hint === undefined ? {} : { hint }) };
}
