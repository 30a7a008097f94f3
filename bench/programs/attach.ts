import type { Lab } from '../../src/lab/lab.ts';
import { waitFor } from '../../src/lab/machine/wait.ts';
import { SOURCE } from '../load.ts';
import { type Spread, spread } from '../stats.ts';
import { metric, restartAgents, untilAttached } from '../user-space/agents.ts';
import { followRaw } from '../user-space/raw-follower.ts';

/** From a subscription to everything being attached, where nothing was attached before. */
export interface Attach {
  interfaces: number;
  milliseconds: Spread;
}

const NODE = 'host1';
/** In one command, so that a node with many pods stands in seconds. */
const VETHS = Array.from({ length: 240 }, (_, at) => `veth${at.toString(16).padStart(8, '0')}`);

/**
 * Asks the agent of a node by its own socket, as a gate does; its answer comes when it has attached.
 * @param ready waits until the next round may begin
 */
export async function measureAttach(
  lab: Lab,
  { rounds, ready = () => untilAttached(lab, false) }: { rounds: number; ready?: () => Promise<void> },
): Promise<Attach> {
  const milliseconds: number[] = [];
  let interfaces = 0;
  for (let round = 0; round < rounds; round++) {
    await ready();
    const follower = await followRaw(lab, NODE, { targets: [{ kind: 'all' }] });
    try {
      milliseconds.push(follower.subscribedMs);
      // The metrics are up to a second old.
      interfaces = (await waitFor(async () => (await metric(lab, NODE, 'ktrace_attached_interfaces')) || undefined, 5000)) ?? 0;
      if (interfaces === 0) throw new Error('The agent answered, and nothing was attached');
    } finally {
      follower.close();
    }
  }
  await untilAttached(lab, false);
  return { interfaces, milliseconds: spread(milliseconds) };
}

/** The same where the agent has unloaded its programs, as it does when nobody has followed for long. Restarts the agents. */
export async function measureAttachUnloaded(lab: Lab, { rounds }: { rounds: number }): Promise<Attach> {
  const ready = async () => {
    const isUnloaded = async () => (await metric(lab, NODE, 'ktrace_programs_loaded')) === 0 || undefined;
    if ((await waitFor(isUnloaded, 20_000)) === undefined) throw new Error('The agent did not unload its programs');
  };
  await restartAgents(lab, () => ['--unload-after', '1']);
  try {
    return await measureAttach(lab, { rounds, ready });
  } finally {
    await restartAgents(lab, () => []);
  }
}

/** The same on a node with the interfaces of so many pods more, whose other ends lie in one pod. */
export async function measureAttachMany(lab: Lab, options: { rounds: number }): Promise<Attach> {
  const links = (command: (name: string, at: number) => string) => `${VETHS.map(command).join('\n')}\n`;
  const batch = (text: string) => lab.exec(`node/${NODE}`, ['ip', '-batch', '-'], text);
  const peers = lab.namespace(`pod/${SOURCE}`);
  await batch(links((name, at) => `link add ${name} up type veth peer name bench${at} netns ${peers}`));
  try {
    return await measureAttach(lab, options);
  } finally {
    await batch(links((name) => `link delete ${name}`));
  }
}
