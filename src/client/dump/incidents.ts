import type { Writable } from 'node:stream';
import type { NodeIncident } from '../../event/incident.ts';
import { EXIT, KtraceError } from '../../util/errors.ts';
import { incidentLine, incidentObject } from '../render/incident.ts';
import { escapeText, safeJson } from '../render/style/escape.ts';
import { type Asked, type DumpScope, type Recordings, withRecordings } from './dump-nodes.ts';

export interface IncidentsOptions extends DumpScope {
  /** Unix milliseconds of when they happened. */
  sinceMs: number;
  untilMs: number;
  output: 'text' | 'json';
  strict: boolean;
}

export interface IncidentsIo {
  stdout: Writable;
  stderr: Writable;
  interrupt: AbortSignal;
  findLab(): { name: string; kubeconfig: string } | undefined;
}

/** `ktrace dump --incidents`: those of the targets' pods, oldest first. Gives the exit code; throws as a dump does. */
export function runIncidents(options: IncidentsOptions, io: IncidentsIo): Promise<number> {
  return withRecordings(options, io, (_, recordings) => Promise.resolve(tellIncidents(recordings, options, io)));
}

/** Prints what the nodes said of incidents, and on stderr what is missing. Gives the exit code. */
export function tellIncidents(
  recordings: Pick<Recordings, 'asked'>,
  { sinceMs, untilMs, output, strict }: Pick<IncidentsOptions, 'sinceMs' | 'untilMs' | 'output' | 'strict'>,
  { stdout, stderr }: Pick<IncidentsIo, 'stdout' | 'stderr'>,
): number {
  const found = incidentsIn(recordings).filter(({ atMs }) => atMs >= sinceMs && atMs <= untilMs);
  for (const one of found) {
    const line = output === 'json' ? safeJson(incidentObject(one)) : escapeText(incidentLine(one));
    stdout.write(`${line}\n`);
  }
  const isMissing = tellMissing(recordings.asked, stderr);
  stderr.write(`ktrace: ${found.length} ${found.length === 1 ? 'incident' : 'incidents'}\n`);
  return strict && isMissing ? EXIT.incomplete : EXIT.ok;
}

/** The incident of this id. Throws KTRACE_E_INCIDENT_UNKNOWN. */
export function findIncident(recordings: Pick<Recordings, 'asked'>, id: string): NodeIncident {
  const all = incidentsIn(recordings);
  const found = all.find((one) => one.id === id);
  if (found !== undefined) return found;
  const silent = recordings.asked.flatMap(({ access, answer }) => (answer === undefined ? [access.node] : []));
  const known = all.slice(-MOST_NAMES).map((one) => `incident/${one.id} of ${one.pod.namespace}/${one.pod.name}`);
  const hints = [
    known.length === 0
      ? 'None is kept of these pods: -n or -A asks for those of other namespaces.'
      : `Kept are ${known.join(', ')}.`,
    ...(silent.length === 0 ? [] : [`Not asked: ${silent.join(', ')}.`]),
  ];
  throw new KtraceError('KTRACE_E_INCIDENT_UNKNOWN', `No node keeps the incident ${id}`, { hint: hints.join(' ') });
}

const MOST_NAMES = 10;

function incidentsIn({ asked }: Pick<Recordings, 'asked'>): NodeIncident[] {
  const all = asked.flatMap(({ access, answer }) => (answer?.incidents ?? []).map((one) => ({ ...one, node: access.node })));
  return all.sort((a, b) => a.atMs - b.atMs);
}

/** Nodes that did not answer, and files that cannot be read. */
function tellMissing(asked: readonly Asked[], stderr: Writable): boolean {
  let isMissing = false;
  const say = (node: string, text: string): void => {
    isMissing = true;
    stderr.write(`ktrace: ${escapeText(`${node}: ${text}`)}\n`);
  };
  for (const { access, answer, error } of asked) {
    if (error !== undefined) say(access.node, `${error.message}; its incidents are missing [KTRACE_N_AGENT_DOWN]`);
    for (const { name, at, bytes } of answer?.damaged ?? []) {
      if (name.endsWith('.kinc')) say(access.node, `${bytes} bytes of ${name} at ${at} are damaged [KTRACE_N_RECORD_DAMAGED]`);
    }
  }
  return isMissing;
}
