import { Duplex, PassThrough, Writable } from 'node:stream';
import type { KubeConfig } from '@kubernetes/client-node';
import { EXIT, KtraceError, messageOf } from '../../util/errors.ts';
import { PortForward } from '../../util/kube-library.ts';

/** The websocket that the library forwards through, as far as it is used here. */
interface ForwardSocket {
  readonly readyState: number;
  pause(): void;
  resume(): void;
  close(): void;
  terminate(): void;
  on(event: 'close', listener: () => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

/** `readyState` of a websocket; beyond it closes or is closed. */
const OPEN = 1;

/**
 * A connection to a port of a pod, through the API server's `pods/portforward`. Reading slowly holds the API server's websocket back.
 * Ends with an error when the pod's side says one (nothing listens there, the pod is gone).
 */
export async function forwardPort(
  config: KubeConfig,
  pod: { namespace: string; name: string },
  port: number,
  signal: AbortSignal,
): Promise<Duplex> {
  let socket: ForwardSocket | undefined;
  const toPod = new PassThrough();
  const connection = new Duplex({
    read: () => socket?.resume(),
    write: (chunk, _, done) => {
      toPod.write(chunk);
      done();
    },
    final: (done) => {
      toPod.end();
      done();
    },
    destroy: (error, done) => {
      toPod.destroy();
      socket?.terminate();
      done(error);
    },
  });
  // What goes wrong before anybody uses the connection is found in `errored`.
  connection.on('error', () => undefined);
  const output = new Writable({
    write: (chunk: Buffer, _, done) => {
      if (chunk.length > 0 && !connection.destroyed && !connection.push(chunk)) socket?.pause();
      done();
    },
  });
  const errors = new Writable({
    write: (chunk: Buffer, _, done) => {
      if (chunk.length > 0) connection.destroy(refused(pod, chunk.toString('utf8').trim()));
      done();
    },
  });
  const opening = new PortForward(config).portForward(pod.namespace, pod.name, [port], output, errors, toPod);
  opening.then((late) => signal.aborted && (late as unknown as ForwardSocket).terminate()).catch(() => undefined);
  try {
    socket = (await opening) as unknown as ForwardSocket;
  } catch (error) {
    throw refused(pod, reasonOf(error), error);
  }
  socket.on('close', () => endOf(connection));
  socket.on('error', (error) => connection.destroy(error));
  if (connection.errored) throw connection.errored;
  if (socket.readyState > OPEN) endOf(connection);
  return connection;
}

function endOf(connection: Duplex): void {
  if (connection.destroyed || connection.readableEnded) return;
  connection.push(null);
  connection.end();
}

/** The library hands on the websocket's error event, not an Error. */
function reasonOf(error: unknown): string {
  const message = (error as { message?: unknown }).message;
  return typeof message === 'string' && message !== '' ? message : messageOf(error);
}

function refused(pod: { namespace: string; name: string }, why: string, cause?: unknown): KtraceError {
  const isForbidden = /\b403\b/.test(why);
  return new KtraceError(
    isForbidden ? 'KTRACE_E_API_FORBIDDEN' : 'KTRACE_E_PORTFORWARD',
    isForbidden
      ? `The API server does not let you forward a port to ${pod.namespace}/${pod.name}`
      : `Forwarding a port to ${pod.namespace}/${pod.name} failed: ${why}`,
    {
      ...(cause === undefined ? {} : { cause }),
      hint: isForbidden
        ? 'Following needs the right to create pods/portforward in the namespace of ktrace.'
        : `Look at the gate: kubectl -n ${pod.namespace} describe pod ${pod.name}, and its log.`,
      exitCode: isForbidden ? EXIT.notAuthorized : EXIT.noAgent,
    },
  );
}
