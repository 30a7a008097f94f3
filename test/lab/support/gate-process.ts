import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { agentSocket, ktraceCommand, ktraceEnvironment } from '../../../src/lab/agents.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { keepOnFailure } from '../../support/evidence.ts';

/** A gate of its own before the agent of a node, as the image runs it, on loopback ports that the kernel chose. */
export interface GateProcess {
  child: ChildProcess;
  port: number;
  metricsPort: number;
  /** Its log so far, line by line. */
  log: readonly string[];
}

export async function startGate(lab: Lab, node: string): Promise<GateProcess> {
  const argv = ['gate', '--socket', agentSocket(lab.directory, node), '--port', '0', '--metrics-port', '0'];
  const child = spawn(ktraceCommand(), argv, {
    env: { ...ktraceEnvironment(), NODE_OPTIONS: '--max-semi-space-size=4' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const log: string[] = [];
  const lines = createInterface(child.stderr as NodeJS.ReadableStream);
  lines.on('line', (line) => log.push(line));
  keepOnFailure(`gate-${node}`, (folder) => writeFileSync(join(folder, 'log.jsonl'), `${log.join('\n')}\n`));
  const [first] = (await once(lines, 'line')) as [string];
  const { port, metricsPort } = JSON.parse(first) as { port: number; metricsPort: number };
  return { child, port, metricsPort, log };
}
