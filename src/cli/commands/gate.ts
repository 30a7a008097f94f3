import type { Command } from '@commander-js/extra-typings';
import type { Done } from '../options/command.ts';

/** `ktrace gate`: runs until it is told to stop. */
export function addGate(program: Command, done: Done): void {
  program
    .command('gate')
    .description('the unprivileged door to an agent, which clients and Prometheus reach; each flag also as KTRACE_…')
    .option('--socket <path>', "the agent's unix socket")
    .option('--port <port>', 'TCP port on loopback for port-forwards')
    .option('--metrics-port <port>', 'TCP port for Prometheus')
    .option('--max-connections <count>', 'websockets relayed at the same time')
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace or silent')
    .action(async (flags) => {
      const { parseGateConfig } = await import('../../gate/config.ts');
      const { gateMain } = await import('../../gate/main.ts');
      await gateMain(parseGateConfig(flags));
      done(0);
    });
}
