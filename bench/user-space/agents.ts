import { request } from 'node:http';
import { agentSocket } from '../../src/lab/agents.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { waitFor } from '../../src/lab/machine/wait.ts';

const WAIT_MS = 20_000;
/** Who may see what is asked of the API server at the start and now and then, never per packet: it is not what is measured. */
export const AGENT_FLAGS = ['--authorization', 'off'];

/** Process ids of the lab's agents. */
export function agentPids(lab: Lab): number[] {
  return lab.nodes.flatMap(({ name }) => lab.agent(name)?.pid ?? []);
}

/** All agents anew, as the bench starts them, with more flags. */
export async function restartAgents(lab: Lab, flagsOf: (node: string) => string[]): Promise<void> {
  await Promise.all(
    lab.nodes.map(async ({ name }) => {
      await lab.stopAgent(name);
      await lab.startAgent(name, [...AGENT_FLAGS, ...flagsOf(name)]);
    }),
  );
}

/** Waits until every agent has something attached, or until none has. */
export async function untilAttached(lab: Lab, isAttached: boolean): Promise<void> {
  const done = await waitFor(async () => {
    const counts = await Promise.all(lab.nodes.map(({ name }) => metric(lab, name, 'ktrace_attached_interfaces')));
    return counts.every((count) => count > 0 === isAttached) ? true : undefined;
  }, WAIT_MS);
  if (done !== true) throw new Error(`The agents did not ${isAttached ? 'attach' : 'detach'} within ${WAIT_MS / 1000} s`);
}

/** The sum of a metric's values on one node. */
export async function metric(lab: Lab, node: string, name: string): Promise<number> {
  const text = await get(agentSocket(lab.directory, node), '/metrics');
  let sum = 0;
  for (const line of text.split('\n')) {
    if (line.startsWith(`${name} `) || line.startsWith(`${name}{`)) sum += Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return sum;
}

function get(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve(text)).on('error', reject);
    });
    asked.on('error', reject).end();
  });
}
