import type { IncidentCause, PodTrouble } from '../../event/incident.ts';
import type { PodRef } from '../../event/types.ts';
import type { ContainerHealth } from '../api/health.ts';
import type { PodFact } from './facts.ts';
import { refOf } from './pod-book.ts';

/** What is remembered of a pod to tell what is new: some hundred bytes, of the pods of one node. */
interface Known {
  ref: PodRef;
  /** By container: its restarts, and which end was its last. */
  restarts: Map<string, number>;
  ends: Map<string, string>;
  /** It runs, and has not been ready since then. */
  notReadySinceMs: number | undefined;
  isDeleting: boolean;
}

/** A pod that is removed this soon was still on its way to be ready: the time of a readiness probe's default period. */
const LEAST_NOT_READY_MS = 10_000;
/** How the kubelet itself ends the containers of a pod that is removed: by SIGKILL, by SIGTERM. */
const ENDED_BY_REMOVAL = [137, 143];

/** Finds in a node's pods, as they change, what went wrong: a container that ended with an error, was restarted, a pod that never got ready again. */
export class PodTroubles {
  readonly #known = new Map<string, Known>();
  readonly #now: () => number;
  readonly #tell: (trouble: PodTrouble) => void;
  #isListed = false;

  constructor(now: () => number, tell: (trouble: PodTrouble) => void) {
    this.#now = now;
    this.#tell = tell;
  }

  /** All pods there are. What the first list tells happened before anybody looked. */
  replace(facts: readonly PodFact[]): void {
    const here = new Set(facts.map(({ uid }) => uid));
    for (const uid of [...this.#known.keys()]) if (!here.has(uid)) this.#gone(uid);
    for (const fact of facts) this.#see(fact, this.#isListed);
    this.#isListed = true;
  }

  put(fact: PodFact): void {
    this.#see(fact, true);
  }

  drop(fact: PodFact): void {
    this.#see(fact, true);
    this.#gone(fact.uid);
  }

  /** Pods on the node's network have no packets of their own. */
  #see(fact: PodFact, isNews: boolean): void {
    if (fact.hostNetwork) return;
    const { uid, health, isFinished } = fact;
    const before = this.#known.get(uid);
    const isRunning = !isFinished && health.containers.some((one) => one.isRunning);
    this.#known.set(uid, {
      ref: refOf(fact),
      restarts: new Map(health.containers.map(({ name, restarts }) => [name, restarts])),
      ends: new Map(health.containers.flatMap(({ name, ended }) => (ended === undefined ? [] : [[name, ended.finishedAt]]))),
      notReadySinceMs: isRunning ? health.notReadySinceMs : undefined,
      isDeleting: health.isDeleting,
    });
    if (!isNews) return;
    const causes = health.containers.flatMap((one) => causeOf(one, before, health.isDeleting) ?? []);
    const notReady = health.isDeleting && before?.isDeleting === false ? this.#notReady(before) : undefined;
    if (notReady !== undefined) causes.push(notReady);
    if (causes.length > 0) this.#tell({ pod: refOf(fact), atMs: this.#now(), causes });
  }

  /** One that was removed at once was not seen being removed. */
  #gone(uid: string): void {
    const before = this.#known.get(uid);
    this.#known.delete(uid);
    const cause = before?.isDeleting === false ? this.#notReady(before) : undefined;
    if (before !== undefined && cause !== undefined) this.#tell({ pod: before.ref, atMs: this.#now(), causes: [cause] });
  }

  /** Its removal makes a pod not ready: what counts is how it was before. */
  #notReady({ notReadySinceMs }: Known): IncidentCause | undefined {
    if (notReadySinceMs === undefined) return undefined;
    const forMs = this.#now() - notReadySinceMs;
    if (forMs < LEAST_NOT_READY_MS) return undefined;
    return { kind: 'not-ready', text: `not ready for ${Math.round(forMs / 1000)} s, until it was removed` };
  }
}

function causeOf(
  { name, restarts, ended }: ContainerHealth,
  before: Known | undefined,
  isDeleting: boolean,
): IncidentCause | undefined {
  const isBad = ended !== undefined && (ended.isOom || ended.exitCode !== 0);
  const isNewEnd = ended !== undefined && before?.ends.get(name) !== ended.finishedAt;
  if (isBad && isNewEnd) {
    const { exitCode, isOom } = ended;
    if (isOom) return { kind: 'oom-killed', container: name, exitCode, text: `container ${name} was OOM-killed` };
    if (isDeleting && ENDED_BY_REMOVAL.includes(exitCode)) return undefined;
    return { kind: 'exited', container: name, exitCode, text: `container ${name} ended with exit code ${exitCode}` };
  }
  // The restart after an error is of the same trouble as the error, which was told when the container ended.
  if (isBad || restarts <= (before?.restarts.get(name) ?? 0)) return undefined;
  const exitCode = ended?.exitCode;
  const how = exitCode === undefined ? '' : ` after it had ended with exit code ${exitCode}`;
  return {
    kind: 'restarted',
    container: name,
    ...(exitCode === undefined ? {} : { exitCode }),
    text: `container ${name} was restarted${how}`,
  };
}
