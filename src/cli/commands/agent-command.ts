import { parseAgentConfig } from '../../agent/config.ts';
import { runAgent } from '../../agent/main.ts';
import type { Flags } from '../../util/settings.ts';

/** `ktrace agent`: runs until it is told to stop; the exit code. */
export async function agentCommand(flags: Flags): Promise<number> {
  await runAgent(parseAgentConfig(flags));
  return 0;
}
