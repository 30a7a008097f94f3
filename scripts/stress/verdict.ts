/** Resident memory of a process, in bytes. */
export interface Memory {
  /** Before it was ever thrown this at. */
  cold: number;
  /** After it was thrown this at for a short while, and had time to settle: V8 keeps the pages that its heap once had. */
  begin: number;
  max: number;
  /** After it had time to settle. Undefined: it is gone. */
  end: number | undefined;
}

/** What the follower that has nothing to do with all this was told of its pings. */
export interface Honest {
  sent: number;
  /** Told with all their hops, and so were their replies where there were any. */
  whole: number;
  /** Sightings or records that it was told are lost, by stage. */
  lost: Record<string, number>;
  isAlive: boolean;
}

/** What a scenario came to. */
export interface Outcome {
  name: string;
  /** The node whose agent it is about. */
  node: string;
  seconds: number;
  /** What was thrown at it, and what came of that: how often, by what. */
  thrown: Record<string, number>;
  /** Of each agent and gate, by name (`agent-host1`). */
  memory: Record<string, Memory>;
  /** Lines of the agents' and gates' logs that tell of an error. */
  faults: readonly string[];
  /** Agents and gates that are no longer the process they were. */
  restarted: readonly string[];
  honest: Honest;
  /** How another follower fared that came in the middle of it. It judges nothing: how soon it is told is a matter of speed. */
  newcomer: string;
  /** What the scenario itself found wrong. */
  problems: readonly string[];
}

/** Node's heap breathes by less than this under the same load. */
export const MOST_GROWN_MIB = 48;
/** As the manifests limit them: beyond it the kernel would have ended the container. */
const LIMITS_MIB = { agent: 512, gate: 192 };
const MIB = 1024 * 1024;

/** Processes that hold more than they may, and how much more than before. */
export function grown(memory: Outcome['memory']): { name: string; byMib: number }[] {
  return Object.entries(memory).flatMap(([name, { begin, end }]) => {
    const byMib = ((end ?? begin) - begin) / MIB;
    return byMib > MOST_GROWN_MIB ? [{ name, byMib }] : [];
  });
}

/** How many sightings and records a follower was told are lost. */
export function lostOf({ lost }: Honest): number {
  return Object.values(lost).reduce((sum, count) => sum + count, 0);
}

/** What is wrong with an outcome; nothing of it is a matter of speed. Empty: it is good. */
export function judge({ thrown, memory, faults, restarted, honest, problems }: Outcome): string[] {
  const missing = honest.sent - honest.whole;
  const lost = lostOf(honest);
  return [
    ...(Object.values(thrown).some((count) => count > 0) ? [] : ['nothing was thrown at it']),
    ...Object.entries(memory).flatMap(([name, { end }]) => (end === undefined ? [`${name} is gone`] : [])),
    ...restarted.map((name) => `${name} was started anew`),
    ...grown(memory).map(({ name, byMib }) => `${name} has ${byMib.toFixed(1)} MiB more than before (at most ${MOST_GROWN_MIB})`),
    ...Object.entries(memory).flatMap(([name, { max }]) => {
      const limit = LIMITS_MIB[name.startsWith('gate') ? 'gate' : 'agent'];
      return max <= limit * MIB ? [] : [`${name} had ${(max / MIB).toFixed(1)} MiB (at most ${limit})`];
    }),
    ...(faults.length > 0 ? [`${faults.length} faults, the first: ${faults[0]}`] : []),
    ...(honest.isAlive ? [] : ['the other follower has ended']),
    ...(honest.sent > 0 ? [] : ['the other follower had nothing to be told of']),
    // Each ping that is missing is at least one sighting that was lost.
    ...(missing > lost
      ? [`${missing} of ${honest.sent} pings were not told whole to the other follower, and ${lost} told as lost`]
      : []),
    ...problems,
  ];
}
