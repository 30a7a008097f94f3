/**
 * `npm run bench [-- --quick] [--rounds N] [--only PART,…] [--json FILE]`: side by side in a lab of its own; the report on stdout. Each run is appended to
 * FILE, and told beside what the last one there has found.
 */
import { availableParallelism, release } from 'node:os';
import { parseArgs } from 'node:util';
import { labUp } from '../src/lab/up.ts';
import { messageOf } from '../src/util/errors.ts';
import { BYSTANDER_CASES, CASES, DROP_CASES } from './cases.ts';
import { appendRun, currentCommit, foundBefore, type Run, readHistory } from './history.ts';
import { measureJudging } from './judging.ts';
import { type Load, type LoadEnds, nodeToNode, POD_TO_WORLD, podToPod, startLoad } from './load.ts';
import { measureAttach, measureAttachMany, measureAttachUnloaded } from './programs/attach.ts';
import { measureFilterCost } from './programs/filter-cost.ts';
import { measureProgramCost } from './programs/program-cost.ts';
import { type Results, reportText, targetsOf } from './report.ts';
import { type CaseResult, measureThroughput } from './throughput.ts';
import { measureDropStorm } from './traffic/drop-storm.ts';
import { measureNewFlows } from './traffic/new-flows.ts';
import { AGENT_FLAGS } from './user-space/agents.ts';
import { measureDelivery } from './user-space/delivery.ts';
import { measureFilterChange } from './user-space/filter-change.ts';
import { measureNewborn } from './user-space/newborn.ts';
import { measurePipeline } from './user-space/pipeline.ts';
import { measureResolving } from './user-space/resolve-again.ts';
import { measureScale } from './user-space/scale.ts';

const PARTS = [
  'cases',
  'node',
  'world',
  'drops',
  'flows',
  'newborn',
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

/** As a DNS server has them, as a busy one, and more than a node's table of flows holds for long. */
const NEW_FLOWS = [
  { rate: 300, answers: true },
  { rate: 1000, answers: true },
  { rate: 12_000, answers: false },
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
const problems = [
  ...unknown.map((part) => `Expected parts out of ${PARTS.join(', ')} for --only, got ${JSON.stringify(part)}`),
  ...(Number.isInteger(rounds) && rounds >= 1
    ? []
    : [`Expected a whole number of 1 or more for --rounds, got ${JSON.stringify(values.rounds)}`]),
];
const history = read(values.json);
if (problems.length > 0) {
  process.stderr.write(problems.map((problem) => `bench: ${problem}\n`).join(''));
  process.exit(2);
}

/** As it was when the agents were started. */
const commit = currentCommit(import.meta.dirname);
const progress = (text: string) => void process.stderr.write(`bench: ${text}\n`);
const results: Results = { kernel: release(), cores: availableParallelism(), isQuick, failed: [] };
const failed = (text: string) => {
  progress(text);
  results.failed.push(text);
  process.exitCode = 1;
};
const lab = await labUp({ name: `bench${process.pid}`, bound: true, traffic: false, agentFlags: AGENT_FLAGS, progress });
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
process.stdout.write(reportText(results, foundBefore(history, results)));
if (values.json !== undefined)
  appendRun(values.json, { time: new Date().toISOString(), commit, ...results, targets: targetsOf(results) });

/** Before anything is measured: a file that is no history would be found out half an hour later. */
function read(file: string | undefined): Run[] {
  try {
    return file === undefined ? [] : readHistory(file);
  } catch (error) {
    problems.push(messageOf(error));
    return [];
  }
}

async function measure(load: Load): Promise<void> {
  const seconds = isQuick ? 1 : 2;
  /** A part that fails is told, and the others go on. */
  const run = async <T>(part: string, title: string, work: () => Promise<T>): Promise<T | undefined> => {
    if (!parts.includes(part)) return undefined;
    abort.signal.throwIfAborted();
    progress(title);
    try {
      return await work();
    } catch (error) {
      abort.signal.throwIfAborted();
      failed(`${title}: ${messageOf(error)}`);
      return undefined;
    }
  };
  const set = <K extends keyof Results>(key: K, value: Results[K] | undefined) => {
    if (value !== undefined) results[key] = value;
  };
  set('attach', await run('attach', 'attaching', () => measureAttach(lab, { rounds: isQuick ? 3 : 9 })));
  set('attachMany', await run('attach', 'attaching many', () => measureAttachMany(lab, { rounds: isQuick ? 3 : 9 })));
  set('delivery', await run('delivery', 'kernel to client', () => measureDelivery(lab, { pings: isQuick ? 200 : 1500 })));
  set('changing', await run('changing', 'changes of a filter', () => measureFilterChange(lab, { changes: isQuick ? 6 : 60 })));
  const sideBySide = { rounds, seconds, requests: isQuick ? 3000 : 10_000, signal: abort.signal, progress, failed };
  const ofOthers = async (ends: LoadEnds): Promise<CaseResult[]> => {
    const theirs = await startLoad(lab, ends);
    try {
      return await measureThroughput(lab, theirs, { ...sideBySide, cases: BYSTANDER_CASES });
    } finally {
      await theirs.close();
    }
  };
  set('cases', await run('cases', 'side by side', () => measureThroughput(lab, load, { ...sideBySide, cases: CASES })));
  set('node', await run('node', 'the nodes’ own packets', () => ofOthers(nodeToNode(lab))));
  set('world', await run('world', 'another pod’s packets to the world', () => ofOthers(POD_TO_WORLD)));
  set('drops', await run('drops', 'a storm of drops', () => measureDropStorm(lab, { ...sideBySide, cases: DROP_CASES })));
  for (const { rate, answers } of NEW_FLOWS) {
    const title = `${rate} new conversations a second`;
    const flows = await run('flows', title, () => measureNewFlows(lab, { rate, seconds: isQuick ? 3 : 10, answers }));
    if (flows !== undefined) results.flows = [...(results.flows ?? []), flows];
  }
  set('newborn', await run('newborn', 'new pods', () => measureNewborn(lab, { pods: isQuick ? 3 : 9 })));
  set('programs', await run('programs', 'programs', () => measureProgramCost(lab, load, { rounds: isQuick ? 1 : 3, seconds })));
  set('filters', await run('filters', 'filters', async () => measureFilterCost({ rounds: isQuick ? 5 : 31 })));
  set('judging', await run('judging', 'filters in user space', async () => measureJudging({ rounds: isQuick ? 5 : 31 })));
  set('pipeline', await run('pipeline', 'pipeline', () => measurePipeline(lab, load, { replaySeconds: isQuick ? 3 : 10 })));
  set('resolving', await run('resolving', 'changes of the cluster', () => measureResolving({ rounds: isQuick ? 5 : 31 })));
  set(
    'attachUnloaded',
    await run('attach', 'loading and attaching', () => measureAttachUnloaded(lab, { rounds: isQuick ? 3 : 9 })),
  );
  const size = isQuick ? { pods: 50, services: 100 } : { pods: 250, services: 2000 };
  set('scale', await run('scale', 'a large cluster', () => measureScale(lab, load, size)));
}
