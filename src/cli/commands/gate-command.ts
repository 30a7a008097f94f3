import { parseGateConfig } from '../../gate/config.ts';
import { gateMain } from '../../gate/main.ts';
import type { Flags } from '../../util/settings.ts';

/** `ktrace gate`: runs until it is told to stop; the exit code. */
export async function gateCommand(flags: Flags): Promise<number> {
  await gateMain(parseGateConfig(flags));
  return 0;
}
