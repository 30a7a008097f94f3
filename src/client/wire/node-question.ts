import type { Duplex } from 'node:stream';
import type { NodeReport } from '../../event/node-report.ts';
import type { Target } from '../../event/target.ts';
import type { AgentMessage, ClientMessage } from '../../protocol/messages.ts';
import { EXIT, KtraceError, messageOf } from '../../util/errors.ts';
import { Stream } from './stream.ts';

/** To reach the agent, and for its answer: two questions to the API server are in it. */
const ANSWER_MS = 10_000;
/** Reading who owned what of a day takes longer. */
const RECORDED_MS = 30_000;

/** How an agent is reached, and by whom. */
export interface NodeAccess {
  node: string;
  dial(signal: AbortSignal): Promise<Duplex>;
  tokens(): readonly string[];
  interrupt: AbortSignal;
}

/** What a node has recorded of some targets. */
export type RecordedAnswer = Extract<AgentMessage, { type: 'recorded' }>;

/**
 * Asks a node's agent for its report, and leaves.
 * @throws KtraceError KTRACE_E_NOT_AUTHORIZED (exit 4) when it refuses, KTRACE_E_CONNECTION, KTRACE_E_STALLED or KTRACE_E_PROTOCOL
 */
export function askNode(access: NodeAccess): Promise<NodeReport> {
  const { node } = access;
  return ask(access, { type: 'doctor' }, ANSWER_MS, (message) => {
    if (message.type === 'error') throw refused(node, message);
    return message.type === 'doctor' ? message.report : undefined;
  });
}

/**
 * Asks a node's agent what it has recorded of these targets, where `services` is given of Services, too; an older agent tells none. Throws as
 * {@link askNode} does, and KTRACE_E_NOT_RECORDING.
 */
export async function askRecorded(
  access: NodeAccess,
  targets: Target[],
  services?: { sinceMs: number; untilMs: number },
): Promise<RecordedAnswer> {
  const { node } = access;
  const question = { type: 'recorded', targets } as const;
  const put = (message: ClientMessage): Promise<RecordedAnswer> =>
    ask(access, message, RECORDED_MS, (answer) => {
      if (answer.type === 'error') throw agentRefusal(node, answer);
      return answer.type === 'recorded' ? answer : undefined;
    });
  if (services === undefined) return put(question);
  try {
    return await put({ ...question, services: { sinceMs: services.sinceMs, untilMs: services.untilMs } });
  } catch (error) {
    // Agents refuse what they do not know.
    if (error instanceof KtraceError && error.code === 'KTRACE_E_PROTOCOL') return put(question);
    throw error;
  }
}

/** What an agent said against us, as an error. */
export function agentRefusal(
  node: string,
  { code, message, hint }: { code: string; message: string; hint?: string },
): KtraceError {
  const known = /^KTRACE_E_[A-Z0-9_]{1,60}$/.test(code) ? (code as `KTRACE_E_${string}`) : 'KTRACE_E_PROTOCOL';
  return new KtraceError(known, `The agent of node ${node} refused: ${message}`, {
    ...(typeof hint === 'string' ? { hint } : {}),
    exitCode: /AUTHORIZED|FORBIDDEN/.test(known) ? EXIT.notAuthorized : EXIT.failure,
  });
}

async function ask<T>(
  { node, dial, tokens, interrupt }: NodeAccess,
  question: ClientMessage,
  withinMs: number,
  answerOf: (message: AgentMessage) => T | undefined,
): Promise<T> {
  const signal = AbortSignal.any([interrupt, AbortSignal.timeout(withinMs)]);
  const answer = Promise.withResolvers<T>();
  const giveUp = () => answer.reject(silent(node, withinMs));
  signal.addEventListener('abort', giveUp, { once: true });
  answer.promise.catch(() => undefined);
  let stream: Stream | undefined;
  try {
    const dialled = dial(signal);
    // Who gave up waiting still closes what comes late.
    dialled.then((duplex) => signal.aborted && duplex.destroy()).catch(() => undefined);
    const duplex = await Promise.race([dialled, answer.promise.then(() => Promise.reject(silent(node, withinMs)))]);
    stream = new Stream(duplex, {
      opened: () => undefined,
      message(message) {
        if (message.type === 'hello') {
          for (const token of tokens()) stream?.send({ type: 'auth', token });
          stream?.send(question);
          return;
        }
        const found = answerOf(message);
        if (found !== undefined) answer.resolve(found);
      },
      ended: (error) => answer.reject(error),
    });
    return await answer.promise;
  } catch (error) {
    if (error instanceof KtraceError) throw error;
    throw new KtraceError('KTRACE_E_CONNECTION', `The gate of node ${node} cannot be reached: ${messageOf(error)}`, {
      cause: error,
      exitCode: EXIT.noAgent,
    });
  } finally {
    signal.removeEventListener('abort', giveUp);
    await stream?.close();
  }
}

function silent(node: string, ms: number): KtraceError {
  return new KtraceError('KTRACE_E_STALLED', `The agent of node ${node} did not answer within ${ms / 1000} s`, {
    exitCode: EXIT.noAgent,
  });
}

function refused(node: string, { code, message }: { code: string; message: string }): KtraceError {
  if (code === 'KTRACE_E_NOT_AUTHORIZED') {
    return new KtraceError(code, `The agent of node ${node} refused: ${message}`, { exitCode: EXIT.notAuthorized });
  }
  return new KtraceError('KTRACE_E_PROTOCOL', `The agent of node ${node} does not say how it is: ${message}`, {
    hint: 'Use the same version of ktrace on both sides: ktrace status shows the image of the agents.',
  });
}

/** A node that could not be asked. */
export interface SilentNode {
  v: 1;
  node: string;
  works: false;
  reason: string;
}
