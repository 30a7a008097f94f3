/**
 * `npm run stress [-- --for 60s] [-- --only NAME,…] [-- --json FILE]`: a lab's agents and gates under what strangers and noisy pods may do to them,
 * while somebody else follows another pod and must be told every ping of it; at the end a table. Not for CI: it takes its time.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { table } from '../bench/table.ts';
import { parseDuration } from '../src/cli/options/duration.ts';
import type { Lab } from '../src/lab/lab.ts';
import { waitFor } from '../src/lab/machine/wait.ts';
import { labUp } from '../src/lab/up.ts';
import { messageOf } from '../src/util/errors.ts';
import { Echoes } from './stress/echoes.ts';
import { Follower } from './stress/follower.ts';
import { measure, pingUntil, QUIET_POD, type Quiet } from './stress/measure.ts';
import { SCENARIOS, type Scenario } from './stress/scenarios.ts';
import { judge, lostOf, type Memory, type Outcome } from './stress/verdict.ts';

const WARM_UP_MS = 10_000;
const START_MS = 60_000;
/** Of pings: what else the lab pings has identifiers that the kernel chooses, one by one. */
const FIRST_ID = 40_000;

const { values } = parseArgs({
  options: {
    for: { type: 'string', default: '60s' },
    only: { type: 'string', default: SCENARIOS.map(({ name }) => name).join(',') },
    json: { type: 'string' },
  },
});
const forMs = parseDuration('--for', values.for);
const wanted = values.only.split(',');
if (wanted.some((name) => !SCENARIOS.some((scenario) => scenario.name === name))) {
  process.stderr.write(
    `stress: Expected scenarios out of ${SCENARIOS.map(({ name }) => name).join(', ')} for --only, got ${values.only}\n`,
  );
  process.exit(2);
}
const progress = (text: string) => void process.stderr.write(`stress: ${text}\n`);
const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => interruption.abort(new Error(`interrupted by ${signal}`)));
}

const outcomes: Outcome[] = [];
try {
  for (const scenario of SCENARIOS.filter(({ name }) => wanted.includes(name))) {
    interruption.signal.throwIfAborted();
    outcomes.push(await inItsLab(scenario, interruption.signal));
  }
  process.exitCode = outcomes.every((outcome) => judge(outcome).length === 0) ? 0 : 1;
} catch (error) {
  progress(messageOf(error));
  process.exitCode = 1;
}
report();

/** Each has a lab of its own: memory that one has left behind is not another's. */
async function inItsLab(scenario: Scenario, interrupted: AbortSignal): Promise<Outcome> {
  const lab = await labUp({ name: `stress${process.pid}`, bound: true, progress });
  try {
    return await run(lab, scenario, interrupted);
  } finally {
    await lab.down();
  }
}

async function run(lab: Lab, scenario: Scenario, interrupted: AbortSignal): Promise<Outcome> {
  const echoes = new Echoes(QUIET_POD);
  const follower = new Follower(lab, [`pod/${QUIET_POD}`, '-n', 'default'], (event) => echoes.add(event));
  try {
    const quiet: Quiet = { follower, echoes, way: await warmUp(lab, follower, echoes, interrupted) };
    progress(`${scenario.name}: for a short while, so that what is taken once and kept is taken`);
    return await measure(lab, scenario, quiet, { id: FIRST_ID + 1, forMs, interrupted, progress });
  } finally {
    await follower.close();
    for (const { level, node = '', text } of follower.notices) {
      if (level !== 'info') progress(`the other follower was told: ${level} ${node} ${text}`);
    }
  }
}

/** Until everything has been used once; gives the interfaces that a ping and its reply cross. */
async function warmUp(lab: Lab, follower: Follower, echoes: Echoes, interrupted: AbortSignal): Promise<Quiet['way']> {
  progress('warming up');
  if (!(await follower.following(interrupted, START_MS))) throw new Error(`the other follower does not follow: ${follower.said}`);
  const { sent, answered } = await pingUntil(lab, FIRST_ID, AbortSignal.any([AbortSignal.timeout(WARM_UP_MS), interrupted]));
  interrupted.throwIfAborted();
  const isWhole = () => {
    const way = echoes.way(FIRST_ID);
    return way.request > 0 && way.reply > 0 && echoes.whole(FIRST_ID, way, sent, answered) === sent;
  };
  await waitFor(() => interrupted.aborted || isWhole(), START_MS);
  interrupted.throwIfAborted();
  const way = echoes.way(FIRST_ID);
  if (!isWhole()) throw new Error(`not even at rest each of ${sent} pings was told whole: ${JSON.stringify(way)}`);
  progress(`${sent} pings, each told with ${way.request} hops and its reply with ${way.reply}`);
  echoes.forget(FIRST_ID);
  return way;
}

function report(): void {
  if (values.json !== undefined) {
    const judged = outcomes.map((outcome) => ({ ...outcome, wrong: judge(outcome) }));
    writeFileSync(values.json, `${JSON.stringify(judged, null, 2)}\n`);
  }
  if (outcomes.length === 0) return;
  const head = ['scenario', 's', 'MiB cold, begin > max > end', 'faults', 'restarts', 'pings', 'whole', 'lost', 'verdict'];
  process.stdout.write(`${table([head, ...outcomes.map(row)])}\n`);
  for (const outcome of outcomes) {
    const thrown = Object.entries(outcome.thrown).map(([what, count]) => `${count} ${what}`);
    const lost = Object.entries(outcome.honest.lost).map(([stage, count]) => `; the other follower lost ${count} (${stage})`);
    process.stdout.write(`${outcome.name}: ${thrown.join(', ')}${lost.join('')}; who came meanwhile ${outcome.newcomer}\n`);
    for (const problem of judge(outcome)) process.stdout.write(`PROBLEM: ${outcome.name}: ${problem}\n`);
  }
}

/** Memory is that of the agent that the scenario is about; all are judged. */
function row(outcome: Outcome): string[] {
  const { name, node, seconds, memory, faults, restarted, honest } = outcome;
  const mib = (bytes: number | undefined) => (bytes === undefined ? 'gone' : (bytes / 1024 / 1024).toFixed(1));
  const { cold, begin, max, end } = memory[`agent-${node}`] as Memory;
  return [
    name,
    seconds.toFixed(0),
    `${mib(cold)}, ${[begin, max, end].map(mib).join(' > ')}`,
    ...[faults.length, restarted.length, honest.sent, honest.whole, lostOf(honest)].map(String),
    judge(outcome).length === 0 ? 'good' : 'BAD',
  ];
}
