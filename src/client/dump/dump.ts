import type { Writable } from 'node:stream';
import type { NodeIncident } from '../../event/incident.ts';
import type { Target } from '../../event/target.ts';
import type { KtraceEvent, LostStage } from '../../event/types.ts';
import type { LookUp } from '../../filter/evaluate/resolve.ts';
import { badArgument, EXIT, type KtraceError } from '../../util/errors.ts';
import { manyText } from '../../util/many-text.ts';
import { DumpFile, type Manifest } from '../file/dump-file.ts';
import { FollowFilter, readFilter } from '../merge/follow-filter.ts';
import { DumpOutput } from '../output/dump-output.ts';
import type { DumpFormat } from '../output/output.ts';
import type { TextStyle } from '../render/lines/printer.ts';
import { recordedNotes, undecidedRecordsText } from '../render/snap-text.ts';
import { escapeText } from '../render/style/escape.ts';
import { isIncomplete, summaryText } from '../render/summary.ts';
import type { RecordedAnswer } from '../wire/node-question.ts';
import { damaged, isInGap, type Lack, lacksOf, missing as missingOf } from './dump-lacks.ts';
import { mergeRecordings } from './dump-merge.ts';
import { type Dumped, DumpNode } from './dump-node.ts';
import { type DumpScope, type Recordings, withRecordings } from './dump-nodes.ts';
import { ownersOf } from './dump-owners.ts';
import { isOfPod } from './dump-pod.ts';
import { findIncident } from './incidents.ts';
import { RecordedNames } from './recorded-names.ts';
import { unknownPods, unrecordedTime } from './recorded-range.ts';
import { NamedServices } from './services.ts';

export interface DumpOptions extends DumpScope, TextStyle {
  /** What is kept of this incident, instead of what is recorded of the targets and between the times. */
  incident?: string | undefined;
  /** Unix milliseconds. */
  sinceMs: number;
  untilMs: number;
  /** Undefined: nothing is printed. */
  output: DumpFormat | undefined;
  /** A file to write. */
  file?: string | undefined;
  strict: boolean;
  /** Only what was dropped. */
  drops?: boolean;
}

export interface DumpIo {
  stdout: Writable & { isTTY?: boolean; columns?: number };
  stderr: Writable & { isTTY?: boolean };
  interrupt: AbortSignal;
  env: Readonly<Record<string, string | undefined>>;
  findLab(): { name: string; kubeconfig: string } | undefined;
  lookUp: LookUp;
}

/** Prints or writes what the nodes have recorded of the targets. Gives the exit code; throws KtraceError. */
export async function runDump(options: DumpOptions, io: DumpIo): Promise<number> {
  if (options.sinceMs >= options.untilMs) {
    throw badArgument('--since', 'a time before --until', new Date(options.sinceMs).toISOString());
  }
  const filter = await readFilter(options.asked.filter, io.lookUp, options.drops);
  for (const note of recordedNotes(filter)) io.stderr.write(`ktrace: ${note}\n`);
  const { sinceMs, untilMs } = options;
  return withRecordings({ ...options, services: { sinceMs, untilMs } }, io, (targets, recordings) =>
    gather({ options, io, targets, filter: new FollowFilter(filter), recordings }),
  );
}

export interface Gathering {
  options: Omit<DumpOptions, keyof DumpScope>;
  io: Omit<DumpIo, 'findLab' | 'lookUp'>;
  targets: Target[];
  filter: FollowFilter;
  recordings: Recordings;
}

/** Fetches what the nodes have, and merges it. Gives the exit code; throws KtraceError. */
export async function gather({ options, io, filter, recordings, ...gathering }: Gathering): Promise<number> {
  const beganMs = performance.now();
  const { asked, answers } = recordings;
  const incident = options.incident === undefined ? undefined : findIncident(recordings, options.incident);
  const { targets, sinceMs, untilMs } = incident === undefined ? { ...options, ...gathering } : rangeOf(incident);
  if (incident === undefined) {
    const isPast = unrecordedTime(answers, sinceMs, untilMs) ?? unknownPods(answers, targets, sinceMs, untilMs);
    if (isPast !== undefined) throw isPast;
  }
  const missing = new Set(asked.flatMap(({ access, answer }) => (answer === undefined ? [access.node] : [])));
  const gaps = new Set<string>();
  const lost: Partial<Record<LostStage, number>> = {};
  const manifest: Manifest = {
    v: 1,
    made: new Date().toISOString(),
    targets,
    ...(filter.text === undefined ? {} : { filter: filter.text }),
    since: new Date(sinceMs).toISOString(),
    until: new Date(untilMs).toISOString(),
    nodes: asked.map(({ access }) => access.node),
    missing: [...missing],
    ...vxlanPortOf(answers),
  };
  const file = options.file === undefined ? undefined : await DumpFile.create(options.file, manifest);
  const output = new DumpOutput(options, io);
  output.describe({ manifest });
  const { owners, left } = ownersOf(recordings, { targets, sinceMs, untilMs, uid: incident?.pod.uid });
  const named = new NamedServices();
  const names = new RecordedNames(asked);
  const say = (level: 'info' | 'warn', code: `KTRACE_N_${string}`, text: string, node: string) =>
    tell({ v: 1, kind: 'notice', node, level, code, text });
  const lacks = async (node: string, { level, code, text, isGap }: Lack): Promise<void> => {
    if (isGap) gaps.add(node);
    await say(level, code, text, node);
  };
  async function tell(event: KtraceEvent): Promise<void> {
    if (event.kind === 'lost') lost[event.stage] = (lost[event.stage] ?? 0) + event.count;
    if (file !== undefined) named.note(event);
    await file?.add(event);
    await output.tell(event);
  }
  const broken: { node: string; error: KtraceError }[] = [];
  const sources = asked
    .filter(({ answer }) => answer !== undefined)
    .map(
      ({ access }) =>
        new DumpNode({
          ...access,
          request: {
            targets,
            owners,
            sinceMs,
            untilMs,
            ...filter.wanted,
            // The other nodes tell what their recordings still have of the same pod and time.
            ...(incident?.node === access.node ? { incident: incident.id } : {}),
          },
          nowMs: () => performance.timeOrigin + performance.now(),
          onBroken: (error) => broken.push({ node: access.node, error }),
        }),
    );
  try {
    if (left > 0) {
      const text = `these targets had ${left} more addresses than agents take: nodes that could not name the pods that had those first leave out what they saw of them`;
      await tell({ v: 1, kind: 'notice', level: 'warn', code: 'KTRACE_N_OWNERS_LEFT_OUT', text });
    }
    for (const one of asked) {
      const { node } = one.access;
      for (const lack of lacksOf(one, { sinceMs, untilMs, isKept: incident?.node === node })) await lacks(node, lack);
    }
    const merged = await mergeRecordings(sources, {
      epochMs: Math.floor(sinceMs / 1000) * 1000,
      isFollowed: (node, fromMs, toMs) => !missing.has(node) && !isInGap(recordings, node, fromMs, toMs),
      came: (event, node) => {
        names.name(event);
        // A node is asked by the pod's name: another pod may have had it within the minute.
        return incident === undefined || incident.node === node || isOfPod(event, incident.pod.uid, owners);
      },
      decide: (judged) => filter.decide(judged),
      tell,
      isInterrupted: () => io.interrupt.aborted || output.isGone,
    });
    const atNodes = sources.flatMap(({ dumped }) => dumped ?? []);
    const sum = (of: (dumped: Dumped) => number | undefined) => atNodes.reduce((all, one) => all + (of(one) ?? 0), 0);
    const undecided = merged.counts.undecided + sum((one) => one.undecided);
    // What the nodes' filters left out did not come.
    const leftOut = sum(({ filtered }) => filtered);
    const counts = {
      ...merged.counts,
      captured: merged.counts.captured + leftOut,
      filtered: merged.counts.filtered + leftOut,
      undecided,
    };
    const wantsBytes = Math.max(merged.wantsBytes, ...atNodes.map((one) => one.wantsBytes ?? 0));
    for (const { node, dumped, failure, unreadable } of sources) {
      if (failure !== undefined) {
        missing.add(node);
        await lacks(node, missingOf(`${failure.message}; what it recorded is missing in part`));
      }
      if (unreadable.error !== undefined) {
        const text = `${manyText(unreadable.count, 'record')} of this node cannot be read: ${unreadable.error.message}`;
        await say('warn', 'KTRACE_N_EVENTS_INVALID', text, node);
      }
      for (const damage of dumped?.damaged ?? []) await lacks(node, damaged(damage));
    }
    if (io.interrupt.aborted) {
      const text = 'the dump was interrupted: what comes after is missing';
      await tell({ v: 1, kind: 'notice', level: 'warn', code: 'KTRACE_N_DUMP_INTERRUPTED', text });
    }
    const status = {
      agents: asked.length,
      agentsUp: answers.length,
      pods: owners.length,
      addresses: owners.length,
      counts,
      lost,
      missing: [...missing],
      gaps: [...gaps],
      filter: filter.text,
    };
    const summary = summaryText(status, output.shown, (performance.now() - beganMs) / 1000);
    const ended = { ...manifest, missing: [...missing] };
    let isWithoutServices = false;
    if (file !== undefined && !io.interrupt.aborted) {
      const { services, lacks } = await named.ask(asked, { sinceMs, untilMs });
      await file.services(services);
      for (const text of lacks) io.stderr.write(`ktrace: ${escapeText(text)}\n`);
      isWithoutServices = lacks.length > 0;
    }
    await file?.end(ended, summary);
    output.describe({ manifest: ended, summary });
    await output.end();
    if (!output.isGone) {
      const missed = undecidedRecordsText({ packets: undecided, wantsBytes });
      for (const line of [...summary.split('\n'), ...retold(broken), ...(missed === undefined ? [] : [missed])])
        io.stderr.write(`ktrace: ${line}\n`);
    }
    if (io.interrupt.aborted) return EXIT.interrupted;
    return options.strict && (isIncomplete(status) || isWithoutServices || left > 0) ? EXIT.incomplete : EXIT.ok;
  } finally {
    await file?.close();
    await output.end();
    await Promise.all(sources.map((source) => source.close()));
  }
}

/** An incident's records are of one pod and one time. */
function rangeOf({ pod, fromMs, toMs }: NodeIncident): { targets: Target[]; sinceMs: number; untilMs: number } {
  const { namespace, name } = pod;
  return { targets: [{ kind: 'pod', namespace, name }], sinceMs: fromMs, untilMs: toMs };
}

/** A cluster's tunnels have one port. */
function vxlanPortOf(answers: readonly RecordedAnswer[]): { vxlanPort?: number } {
  const vxlanPort = answers.find((answer) => answer.vxlanPort !== undefined)?.vxlanPort;
  return vxlanPort === undefined ? {} : { vxlanPort };
}

function retold(broken: readonly { node: string }[]): string[] {
  if (broken.length === 0) return [];
  const nodes = [...new Set(broken.map(({ node }) => node))].map(escapeText);
  return [`the transfer broke ${manyText(broken.length, 'time')} and went on (${nodes.join(', ')})`];
}
