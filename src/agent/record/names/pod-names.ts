import type { PodRef } from '../../../event/types.ts';
import type { NameLine } from '../../../store/owners.ts';

/** A pod of the node, with its addresses or those that it had. */
export interface OwnPod {
  pod: PodRef;
  ips: readonly string[];
  /** Since when it has them, as far as that is known; Unix milliseconds, as `endedMs`. */
  sinceMs?: number | undefined;
  /** When its last container ended, if all have. */
  endedMs?: number | undefined;
}

export interface PodNamesOptions {
  /** This start of the recorder, and when it was. */
  run: string;
  beganMs: number;
  ownPods(): Iterable<OwnPod>;
}

/** The time when a container ended has whole seconds only. */
const END_ROUNDED_MS = 1000;

/** Which of the node's pods has which address, for the recording. */
export class PodNames {
  readonly #options: PodNamesOptions;
  readonly #pods = new Map<string, { pod: PodRef; ips: string[]; fromMs: number }>();
  readonly #byName = new Map<string, PodRef>();
  /** Those whose end is recorded and that the API server still reports. */
  #over = new Set<string>();

  constructor(options: PodNamesOptions) {
    this.#options = options;
  }

  /** Who came and who went since the last time. */
  take(nowMs: number): NameLine[] {
    const { run, beganMs, ownPods } = this.#options;
    const lines: NameLine[] = [];
    const here = new Set<string>();
    const over = new Set<string>();
    for (const { pod, ips, sinceMs = nowMs, endedMs } of ownPods()) {
      if (ips.length === 0) continue;
      const known = this.#pods.get(pod.uid);
      if (endedMs !== undefined) {
        over.add(pod.uid);
        // It ended before it was reported.
        const toMs = Math.min(endedMs + END_ROUNDED_MS, nowMs);
        if (known === undefined && !this.#over.has(pod.uid) && toMs >= beganMs)
          lines.push({ pod, ips: [...ips], fromMs: Math.min(sinceMs, toMs), toMs, run });
        continue;
      }
      here.add(pod.uid);
      if (known !== undefined && known.pod === pod && known.ips.join() === ips.join()) continue;
      const now = { pod, ips: [...ips], fromMs: known?.fromMs ?? Math.min(sinceMs, nowMs) };
      this.#pods.set(pod.uid, now);
      this.#byName.set(keyOf(pod), pod);
      lines.push({ ...now, run });
    }
    for (const [uid, known] of this.#pods) {
      if (here.has(uid)) continue;
      this.#pods.delete(uid);
      const name = keyOf(known.pod);
      if (this.#byName.get(name)?.uid === uid) this.#byName.delete(name);
      lines.push({ ...known, toMs: nowMs, run });
    }
    this.#over = over;
    return lines;
  }

  /** @param name `namespace/name` */
  byName(name: string): PodRef | undefined {
    return this.#byName.get(name);
  }

  /** All who are there, for a segment that explains itself. */
  *all(): Generator<NameLine> {
    for (const known of this.#pods.values()) yield { ...known, run: this.#options.run };
  }
}

function keyOf({ namespace, name }: PodRef): string {
  return `${namespace}/${name}`;
}
