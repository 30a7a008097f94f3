import { giveHeapBackAtRest } from '../util/heap-at-rest.ts';
import { createLog } from '../util/log.ts';
import type { GateConfig } from './config.ts';
import { runGate } from './gate.ts';

/** The gate's process: open until SIGTERM or SIGINT. */
export async function gateMain({ socket, port, metricsPort, maxConnections, logLevel }: GateConfig): Promise<void> {
  const log = createLog('gate', logLevel);
  const stopped = new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve(name));
  });
  const gate = await runGate({ socketPath: socket, port, metricsPort, maxConnections, log });
  const stopLooking = giveHeapBackAtRest({ isServing: () => gate.connections > 0, log });
  log.info({ signal: await stopped }, 'the gate closes');
  stopLooking();
  await gate.close();
}
