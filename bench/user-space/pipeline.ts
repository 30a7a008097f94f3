import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../../src/lab/lab.ts';
import type { Load } from '../load.ts';
import { inNamespace } from '../processes.ts';
import { startTalker } from '../talker.ts';
import type { PipelineResult } from './pipeline-worker.ts';

/** How many events a second one core takes from the ring to followers, from records of live traffic on the source's node. */
export async function measurePipeline(lab: Lab, load: Load, options: { replaySeconds: number }): Promise<PipelineResult> {
  const recordSeconds = 4;
  const worker = fileURLToPath(new URL('./pipeline-worker.ts', import.meta.url));
  // Without tsx, whose code gives each function its name anew wherever it is made: agents run code without that.
  const argv = [worker, 'host1', join(lab.directory, 'kubeconfig-agent'), String(recordSeconds), String(options.replaySeconds)];
  const talker = startTalker(inNamespace(lab.namespace('node/host1'), [process.execPath, ...argv]));
  await talker.line((line) => line === 'recording');
  await load.latency(3000);
  await load.udp(1);
  await load.tcp(1);
  const result = await talker.line((line) => line.startsWith('{'));
  await talker.ended();
  return JSON.parse(result) as PipelineResult;
}
