import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Lab } from '../../src/lab/lab.ts';
import { identify } from '../../src/lab/machine/proc.ts';
import { recordedProcesses } from '../../src/lab/machine/processes.ts';
import { waitFor } from '../../src/lab/machine/wait.ts';
import { messageOf } from '../../src/util/errors.ts';
import { sample } from '../soak/figures.ts';
import { type Echoes, pingsOf, type Way } from './echoes.ts';
import { Follower } from './follower.ts';
import { startProgram } from './program.ts';
import type { Scenario } from './scenarios.ts';
import { grown, type Memory, type Outcome } from './verdict.ts';

/** The follower that must not notice anything, and what it was told of its pings so far. */
export interface Quiet {
  follower: Follower;
  echoes: Echoes;
  way: Way;
}

/** The pod that is followed, and who pings it from another node. */
export const QUIET_POD = 'frontend-88237173-mzmjf';
const PINGER = 'redis-master-343230949-2qrp7';
const PING_SECONDS = '0.1';
/** Of a pod that is followed by nobody else. */
const NEWCOMER = ['pod/redis-slave-132015689-890b2', '-n', 'default'];
const SAMPLE_MS = 1000;
/** What is told only when it was quiet for a while. */
const REST_MS = 10_000;
/** What is collected only when there is need. */
const SETTLE_MS = 30_000;
/** Of the time, for what is taken once and not given back. */
const FIRST_SHARE = 0.25;
const TOLD_MS = 15_000;
const ERROR_LEVEL = 50;

/** Throws one scenario at the lab for so long, and tells what came of it. @throws the reason of `interrupted` */
export async function measure(
  lab: Lab,
  scenario: Scenario,
  quiet: Quiet,
  options: { id: number; forMs: number; interrupted: AbortSignal; progress: (text: string) => void },
): Promise<Outcome> {
  const { interrupted, progress } = options;
  const before = { processes: processesOf(lab), faults: new Set(faultsOf(lab)) };
  quiet.echoes.takeLost();
  const memory = new MemoryWatch(lab);
  const over = new AbortController();
  const stop = AbortSignal.any([over.signal, interrupted]);
  const pinging = pingUntil(lab, options.id, stop);
  const throwFor = (ms: number) =>
    scenario.run(lab, AbortSignal.any([AbortSignal.timeout(ms), interrupted])).catch((error: unknown) => ({
      counts: {},
      problems: [`it could not be thrown: ${messageOf(error)}`],
    }));
  await throwFor(Math.ceil(options.forMs * FIRST_SHARE));
  await delay(REST_MS, undefined, { signal: interrupted }).catch(() => undefined);
  memory.begin();
  progress(`${scenario.name}: for ${options.forMs / 1000} s`);
  const startMs = performance.now();
  const coming = newcomer(lab, options.forMs / 3, stop);
  const thrown = await throwFor(options.forMs);
  const seconds = (performance.now() - startMs) / 1000;
  over.abort();
  const [pings, came] = await Promise.all([pinging, coming]);
  interrupted.throwIfAborted();
  const wholeNow = () => quiet.echoes.whole(options.id, quiet.way, pings.sent, pings.answered);
  await waitFor(() => interrupted.aborted || wholeNow() === pings.sent, TOLD_MS);
  const honest = { sent: pings.sent, whole: wholeNow(), lost: quiet.echoes.takeLost(), isAlive: quiet.follower.isAlive };
  quiet.echoes.forget(options.id);
  progress(`${scenario.name}: over; memory settles`);
  const settledMs = performance.now();
  await delay(REST_MS, undefined, { signal: interrupted }).catch(() => undefined);
  await waitFor(() => interrupted.aborted || grown(memory.now()).length === 0, SETTLE_MS, SAMPLE_MS);
  progress(`${scenario.name}: settled after ${Math.round((performance.now() - settledMs) / 1000)} s`);
  interrupted.throwIfAborted();
  return {
    name: scenario.name,
    node: scenario.node,
    seconds,
    thrown: thrown.counts,
    memory: memory.end(),
    faults: faultsOf(lab).filter((line) => !before.faults.has(line)),
    restarted: changed(before.processes, processesOf(lab)),
    honest,
    newcomer: came,
    problems: thrown.problems,
  };
}

/** Pings with this identifier until the signal; gives how many were sent, and which were answered. */
export async function pingUntil(lab: Lab, id: number, over: AbortSignal): Promise<ReturnType<typeof pingsOf>> {
  const ping = startProgram(lab, PINGER, ['ping', '-n', '-i', PING_SECONDS, '-e', String(id), lab.pod(QUIET_POD).ip], 'SIGINT');
  await delay(2 ** 31 - 1, undefined, { signal: over }).catch(() => undefined);
  return pingsOf(await ping.end());
}

/** Memory of the lab's agents and gates from now on. */
class MemoryWatch {
  readonly #lab: Lab;
  readonly #memory: Record<string, Memory> = {};
  readonly #timer: NodeJS.Timeout;

  constructor(lab: Lab) {
    this.#lab = lab;
    for (const [name, { residentBytes }] of Object.entries(sample(lab))) {
      this.#memory[name] = { cold: residentBytes, begin: residentBytes, max: residentBytes, end: residentBytes };
    }
    this.#timer = setInterval(() => this.now(), SAMPLE_MS).unref();
  }

  begin(): void {
    for (const memory of Object.values(this.now())) memory.begin = memory.end ?? memory.begin;
  }

  now(): Record<string, Memory> {
    const sampled = sample(this.#lab);
    for (const [name, memory] of Object.entries(this.#memory)) {
      memory.end = sampled[name]?.residentBytes;
      memory.max = Math.max(memory.max, memory.end ?? 0);
    }
    return this.#memory;
  }

  end(): Record<string, Memory> {
    clearInterval(this.#timer);
    return this.now();
  }
}

/** Comes when `afterMs` are over, and gives how it fared until the signal. */
async function newcomer(lab: Lab, afterMs: number, over: AbortSignal): Promise<string> {
  await delay(afterMs, undefined, { signal: over }).catch(() => undefined);
  if (over.aborted) return 'did not come';
  const startMs = performance.now();
  const follower = new Follower(lab, NEWCOMER, () => undefined);
  const isFollowing = await follower.following(over, 2 ** 31 - 1);
  const tookMs = performance.now() - startMs;
  const isAlive = follower.isAlive;
  await follower.close();
  if (isFollowing) return `follows after ${(tookMs / 1000).toFixed(1)} s`;
  const why = follower.said.trim().split('\n').at(-1) ?? '';
  return isAlive ? `waits to the end: ${why}` : `ended: ${why}`;
}

/** The agents and gates as they are, by name. */
function processesOf(lab: Lab): Map<string, string> {
  const watched = recordedProcesses(lab.directory).filter(({ name }) => isWatched(name));
  return new Map(watched.map(({ name, pid }) => [name, `${pid} ${identify(pid)?.startTime}`]));
}

function changed(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  return [...before].filter(([name, id]) => after.get(name) !== id).map(([name]) => name);
}

/** What the logs of agents and gates tell of that is an error. */
function faultsOf(lab: Lab): string[] {
  const folder = join(lab.directory, 'log');
  const files = readdirSync(folder).filter(isWatched).sort();
  return files.flatMap((file) =>
    readFileSync(join(folder, file), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && levelOf(line) >= ERROR_LEVEL)
      .map((line) => `${file}: ${line}`),
  );
}

function isWatched(name: string): boolean {
  return /^(agent|gate)-/.test(name);
}

/** What is no line of the log was said by Node, and is never good. */
function levelOf(line: string): number {
  try {
    return (JSON.parse(line) as { level: number }).level;
  } catch {
    return ERROR_LEVEL;
  }
}
