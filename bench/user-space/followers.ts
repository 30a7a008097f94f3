import type { Lab } from '../../src/lab/lab.ts';
import type { Watching } from '../cases.ts';
import { SOURCE } from '../load.ts';
import { agentPids, restartAgents, untilAttached } from './agents.ts';
import { followRaw } from './raw-follower.ts';

export const FOLLOWERS = 100;

/** What one pod's follower costs its nodes: the client is elsewhere, in its place somebody reads what the agents tell. */
export async function followOne(lab: Lab): Promise<Watching> {
  return followBy(lab, 1, async () => {});
}

/** So many followers of one pod at each agent: three times as many as it takes unless it is told to. */
export async function followMany(lab: Lab): Promise<Watching> {
  await restartAgents(lab, () => ['--max-clients', String(FOLLOWERS)]);
  return followBy(lab, FOLLOWERS, () => restartAgents(lab, () => []));
}

/** A follower of a pod at one node's agent. */
export async function followOn(lab: Lab, node: string, pod: string): Promise<Watching> {
  const follower = await followRaw(lab, node, subscriptionTo(pod));
  return {
    pids: agentPids(lab),
    told: () => undefined,
    stop: async () => {
      follower.close();
      await untilAttached(lab, false);
    },
  };
}

async function followBy(lab: Lab, count: number, restore: () => Promise<void>): Promise<Watching> {
  const nodes = lab.nodes.flatMap(({ name }) => Array.from({ length: count }, () => name));
  const followers = await Promise.all(nodes.map((node) => followRaw(lab, node, subscriptionTo(SOURCE))));
  await untilAttached(lab, true);
  return {
    pids: agentPids(lab),
    told: () => undefined,
    stop: async () => {
      for (const follower of followers) follower.close();
      await restore();
      await untilAttached(lab, false);
    },
  };
}

function subscriptionTo(pod: string): object {
  return { targets: [{ kind: 'pod', namespace: 'default', name: pod }] };
}
