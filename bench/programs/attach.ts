import { WebSocket } from 'ws';
import { agentSocket } from '../../src/lab/agents.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { waitFor } from '../../src/lab/machine/wait.ts';
import { STREAM_PATH, SUBPROTOCOL } from '../../src/protocol/constants.ts';
import { type Spread, spread } from '../stats.ts';
import { metric, untilAttached } from '../user-space/agents.ts';

/** From a subscription to everything being attached, where nothing was attached before. */
export interface Attach {
  interfaces: number;
  milliseconds: Spread;
}

/** Asks the agent of a node by its own socket, as a gate does; its answer comes when it has attached. */
export async function measureAttach(lab: Lab, options: { rounds: number }): Promise<Attach> {
  const node = 'host1';
  const milliseconds: number[] = [];
  let interfaces = 0;
  for (let round = 0; round < options.rounds; round++) {
    await untilAttached(lab, false);
    const socket = new WebSocket(`ws+unix:${agentSocket(lab.directory, node)}:${STREAM_PATH}`, SUBPROTOCOL);
    try {
      await message(socket, 'hello');
      const began = performance.now();
      socket.send(JSON.stringify({ type: 'subscribe', targets: [{ kind: 'all' }] }));
      await message(socket, 'subscribed');
      milliseconds.push(performance.now() - began);
      // The metrics are up to a second old.
      interfaces = (await waitFor(async () => (await metric(lab, node, 'ktrace_attached_interfaces')) || undefined, 5000)) ?? 0;
      if (interfaces === 0) throw new Error('The agent answered, and nothing was attached');
    } finally {
      socket.close(1000);
    }
  }
  await untilAttached(lab, false);
  return { interfaces, milliseconds: spread(milliseconds) };
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
