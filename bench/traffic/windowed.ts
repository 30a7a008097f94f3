import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../../src/lab/lab.ts';
import { inNamespace } from '../processes.ts';
import { startTalker } from '../talker.ts';

/** A sender and a receiver of datagrams that wait for each other, so that no socket overflows. */
export interface Windowed {
  /** Datagrams per second that arrived. Rejects where some were lost on the way: then it was not this that was measured. */
  perSecond(seconds: number): Promise<number>;
  close(): Promise<void>;
}

const PORT = 5400;
const SAID = /^received (?<received>\d+) seconds (?<seconds>[\d.]+) missing (?<missing>\d+)$/;

/** Starts the receiver, built from its source for this run. Places as the lab names them; `ip` is the receiver's. */
export async function startWindowed(lab: Lab, { from, to, ip }: { from: string; to: string; ip: string }): Promise<Windowed> {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-bench-'));
  const program = join(folder, 'windowed');
  const clear = () => rmSync(folder, { recursive: true, force: true });
  try {
    execFileSync('cc', ['-O2', '-o', program, fileURLToPath(new URL('./windowed.c', import.meta.url))]);
    const server = startTalker(inNamespace(lab.namespace(to), [program, 'serve', ip, String(PORT)]));
    await server.line((line) => line === 'listening');
    return {
      async perSecond(wanted) {
        const said = (await lab.exec(from, [program, 'ask', ip, String(PORT), String(wanted)])).trim();
        const { received, seconds, missing } = SAID.exec(said)?.groups ?? {};
        if (missing !== '0') throw new Error(`Expected that all datagrams arrive: ${said}`);
        return Number(received) / Number(seconds);
      },
      async close() {
        await server.ended();
        clear();
      },
    };
  } catch (error) {
    clear();
    throw error;
  }
}
