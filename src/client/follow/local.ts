import { startLocalAgent } from '../cluster/local-agent.ts';
import { checkTargets } from '../cluster/target-objects.ts';
import { FollowSession, type Surroundings } from './session.ts';

/** Follows on this node alone, by an agent of its own that ends with it. Gives the exit code; throws KtraceError. */
export async function followLocally(surroundings: Surroundings): Promise<number> {
  const { api, config, targets, io } = surroundings;
  await checkTargets(api, targets, io.interrupt);
  const agent = await startLocalAgent({
    api,
    config,
    command: io.command,
    env: io.env,
    signal: io.interrupt,
    uid: process.getuid?.(),
  });
  try {
    return await new FollowSession(surroundings, {
      watch: { start: (following) => following.setNodes(new Set([agent.node])), peers: () => undefined, close: () => undefined },
      tokens: () => [],
      dial: () => agent.dial(),
      onBegin: (_, fail) => agent.ended.catch(fail),
    }).run();
  } finally {
    await agent.close();
  }
}
