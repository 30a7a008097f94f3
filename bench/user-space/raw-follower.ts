import { WebSocket } from 'ws';
import { agentSocket } from '../../src/lab/agents.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { STREAM_PATH, SUBPROTOCOL } from '../../src/protocol/constants.ts';

/** A follower of one node at its agent's own socket, as a gate carries it, that reads all it is told and keeps nothing. */
export interface RawFollower {
  /** From the question to the agent's answer, which comes when everything is attached. */
  subscribedMs: number;
  close(): void;
}

const CREDIT = 1000;

export async function followRaw(lab: Lab, node: string, subscription: object): Promise<RawFollower> {
  const socket = new WebSocket(`ws+unix:${agentSocket(lab.directory, node)}:${STREAM_PATH}`, SUBPROTOCOL);
  const close = () => socket.close(1000);
  try {
    await message(socket, 'hello');
    const beganMs = performance.now();
    socket.send(JSON.stringify({ type: 'subscribe', ...subscription }));
    await message(socket, 'subscribed');
    const subscribedMs = performance.now() - beganMs;
    socket.send(JSON.stringify({ type: 'credit', events: CREDIT }));
    socket.on('message', (data) => {
      const said = JSON.parse(String(data)) as { type: string; seq?: number; events?: unknown[] };
      if (said.type === 'events')
        socket.send(JSON.stringify({ type: 'credit', events: said.events?.length ?? 0, ack: said.seq }));
    });
    return { subscribedMs, close };
  } catch (error) {
    close();
    throw error;
  }
}

function message(socket: WebSocket, type: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onMessage = (data: unknown) => {
      const said = JSON.parse(String(data)) as { type: string; message?: string };
      if (said.type === 'error') reject(new Error(`The agent refused: ${said.message}`));
      if (said.type !== type) return;
      socket.off('message', onMessage);
      resolve();
    };
    socket.on('message', onMessage).once('error', reject);
    socket.once('close', () => reject(new Error(`The agent closed before it said ${type}`)));
  });
}
