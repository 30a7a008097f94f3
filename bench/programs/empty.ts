import { fileURLToPath } from 'node:url';
import type { Lab } from '../../src/lab/lab.ts';
import { inNamespace } from '../processes.ts';
import { startTalker } from '../talker.ts';

/** A program that does nothing, attached where an agent would attach its own. */
export interface Empty {
  pid: number;
  /** Of the program. */
  id: number;
  stop(): Promise<void>;
}

/** On every interface of a node, in both directions. */
export async function startEmpty(lab: Lab, node: string): Promise<Empty> {
  const links = JSON.parse(await lab.exec(`node/${node}`, ['ip', '-json', 'link'])) as { ifindex: number; ifname: string }[];
  const indexes = links.filter(({ ifname }) => ifname !== 'lo').map(({ ifindex }) => String(ifindex));
  const worker = fileURLToPath(new URL('./empty-worker.ts', import.meta.url));
  const argv = [process.execPath, '--import', 'tsx', worker, ...indexes];
  const talker = startTalker(inNamespace(lab.namespace(`node/${node}`), argv));
  const id = Number((await talker.line((line) => line.startsWith('attached '))).split(' ')[1]);
  return { pid: talker.pid ?? 0, id, stop: () => talker.ended() };
}
