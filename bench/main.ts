/** `npm run bench [-- --quick] [--rounds N] [--only PART,…] [--json FILE]`: side by side in a lab of its own; the report on stdout. */
import { writeFileSync } from 'node:fs';
import { availableParallelism, release } from 'node:os';
import { parseArgs } from 'node:util';
import { labUp } from '../src/lab/up.ts';
import { messageOf } from '../src/util/errors.ts';
import { CASES, NODE_CASES } from './cases.ts';
import { measureJudging } from './judging.ts';
import { type Load, nodeToNode, podToPod, startLoad } from './load.ts';
import { measureAttach } from './programs/attach.ts';
import { measureFilterCost } from './programs/filter-cost.ts';
import { measureProgramCost } from './programs/program-cost.ts';
import { type Results, reportText, targetsOf } from './report.ts';
import { measureThroughput } from './throughput.ts';
import { measureDelivery } from './user-space/delivery.ts';
import { measureFilterChange } from './user-space/filter-change.ts';
import { measurePipeline } from './user-space/pipeline.ts';
import { measureResolving } from './user-space/resolve-again.ts';
import { measureScale } from './user-space/scale.ts';

const PARTS = [
  'cases',
  'node',
  'programs',
  'filters',
  'judging',
  'attach',
  'delivery',
  'changing',
  'pipeline',
  'resolving',
  'scale',
];

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    only: { type: 'string', default: PARTS.join(',') },
    json: { type: 'string' },
  },
});
const isQuick = values.quick;
const rounds = Number(values.rounds ?? (isQuick ? 2 : 9));
const parts = values.only.split(',');
const unknown = parts.filter((part) => !PARTS.includes(part));
if (unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
  process.stderr.write(`bench: Expected parts out of ${PARTS.join(', ')} for --only, and a whole number for --rounds\n`);
  process.exit(2);
}

const progress = (text: string) => void process.stderr.write(`bench: ${text}\n`);
const results: Results = { kernel: release(), cores: availableParallelism(), isQuick };
// Who may see what is asked of the API server at the start and now and then, never per packet: it is not what is measured.
const agentFlags = ['--authorization', 'off'];
const lab = await labUp({ name: `bench${process.pid}`, bound: true, traffic: false, agentFlags, progress });
const abort = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => abort.abort(new Error(`interrupted by ${signal}`)));
try {
  const load = await startLoad(lab, podToPod(lab));
  try {
    await measure(load);
  } finally {
    await load.close();
  }
} catch (error) {
  process.stderr.write(`bench: ${messageOf(error)}\n`);
  process.exitCode = 1;
} finally {
  await lab.down();
}
process.stdout.write(reportText(results));
if (values.json !== undefined)
  writeFileSync(values.json, `${JSON.stringify({ ...results, targets: targetsOf(results) }, null, 2)}\n`);

async function measure(load: Load): Promise<void> {
  const seconds = isQuick ? 1 : 2;
  const run = async <T>(part: string, title: string, work: () => Promise<T>): Promise<T | undefined> => {
    if (!parts.includes(part)) return undefined;
    abort.signal.throwIfAborted();
    progress(title);
    return work();
  };
  const set = <K extends keyof Results>(key: K, value: Results[K] | undefined) => {
    if (value !== undefined) results[key] = value;
  };
  set('attach', await run('attach', 'attaching', () => measureAttach(lab, { rounds: isQuick ? 3 : 9 })));
  set('delivery', await run('delivery', 'kernel to client', () => measureDelivery(lab, { pings: isQuick ? 200 : 1500 })));
  set('changing', await run('changing', 'changes of a filter', () => measureFilterChange(lab, { changes: isQuick ? 6 : 60 })));
  const sideBySide = { rounds, seconds, requests: isQuick ? 3000 : 10_000, signal: abort.signal };
  set('cases', await run('cases', 'side by side', () => measureThroughput(lab, load, { ...sideBySide, cases: CASES }, progress)));
  set(
    'node',
    await run('node', 'the nodes’ own packets', async () => {
      const ofNodes = await startLoad(lab, nodeToNode(lab));
      try {
        return await measureThroughput(lab, ofNodes, { ...sideBySide, cases: NODE_CASES }, progress);
      } finally {
        await ofNodes.close();
      }
    }),
  );
  set('programs', await run('programs', 'programs', () => measureProgramCost(lab, load, { rounds: isQuick ? 1 : 3, seconds })));
  set('filters', await run('filters', 'filters', async () => measureFilterCost({ rounds: isQuick ? 5 : 31 })));
  set('judging', await run('judging', 'filters in user space', async () => measureJudging({ rounds: isQuick ? 5 : 31 })));
  set('pipeline', await run('pipeline', 'pipeline', () => measurePipeline(lab, load, { replaySeconds: isQuick ? 3 : 10 })));
  set('resolving', await run('resolving', 'changes of the cluster', () => measureResolving({ rounds: isQuick ? 5 : 31 })));
  const size = isQuick ? { pods: 50, services: 100 } : { pods: 250, services: 2000 };
  set('scale', await run('scale', 'a large cluster', () => measureScale(lab, load, size)));
}
