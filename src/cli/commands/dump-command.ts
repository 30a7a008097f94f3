import { lookup } from 'node:dns/promises';
import type { DumpOptions } from '../../client/dump/dump.ts';
import { findStandingLab } from '../../lab/machine/state.ts';
import { badArgument } from '../../util/errors.ts';
import { askedWords } from '../options/asked-words.ts';
import { clusterOptions } from '../options/cluster-options.ts';
import { parseDuration } from '../options/duration.ts';
import { interruption } from '../options/interruption.ts';
import { textStyle } from '../options/text-options.ts';

/** `ktrace dump`: the flags as the parser gives them; `isGiven`: whether one was written. Gives the exit code. */
export async function dumpCommand(
  allWords: string[],
  flags: Record<string, unknown>,
  isGiven: (name: string) => boolean,
): Promise<number> {
  const text = (name: string): string | undefined => flags[name] as string | undefined;
  const nowMs = Date.now();
  const file = text('write');
  const { incident, words } = incidentIn(allWords);
  const options: DumpOptions = {
    asked: askedWords(words, flags),
    ...clusterOptions(flags),
    sinceMs: parseMoment('--since', text('since') ?? '', nowMs),
    untilMs: text('until') === undefined ? nowMs : parseMoment('--until', text('until') ?? '', nowMs),
    incident,
    output: file !== undefined && !isGiven('output') ? undefined : (flags['output'] as DumpOptions['output']),
    file,
    strict: flags['strict'] === true,
    drops: flags['drops'] === true,
    ...textStyle(flags),
  };
  const { filter: written } = options.asked;
  const filter = options.drops === true ? `--drops ${written}`.trim() : written;
  if (flags['incidents'] === true) return listIncidents(options, filter, flags['services'] === true, isGiven('since'));
  if (flags['services'] === true) return listServices(options, filter);
  const { runDump } = await import('../../client/dump/dump.ts');
  return runDump(options, {
    stdout: process.stdout,
    stderr: process.stderr,
    interrupt: interruption(),
    env: process.env,
    findLab: () => findStandingLab(),
    lookUp: async (name) => (await lookup(name, { all: true })).map(({ address }) => address),
  });
}

/** Without a time: all that are kept. */
async function listIncidents(
  { output, ...options }: DumpOptions,
  filter: string,
  hasServices: boolean,
  hasSince: boolean,
): Promise<number> {
  if (hasServices) throw badArgument('--services', 'no --incidents beside it', '--incidents');
  if (options.incident !== undefined) throw badArgument('--incidents', 'no incident beside it', `incident/${options.incident}`);
  if (filter !== '') throw badArgument('--incidents', 'targets without a filter', filter);
  if (options.file !== undefined) throw badArgument('-w', 'an incident to write', '--incidents');
  if (output === 'pcapng' || output === 'html') throw badArgument('-o', 'text or json with --incidents', output);
  const { runIncidents } = await import('../../client/dump/incidents.ts');
  const asked = { ...options, sinceMs: hasSince ? options.sinceMs : 0, output: output === 'json' ? output : ('text' as const) };
  return runIncidents(asked, {
    stdout: process.stdout,
    stderr: process.stderr,
    interrupt: interruption(),
    findLab: () => findStandingLab(),
  });
}

async function listServices({ output, ...options }: DumpOptions, filter: string): Promise<number> {
  if (options.incident !== undefined) throw badArgument('--services', 'no incident beside it', `incident/${options.incident}`);
  if (filter !== '') throw badArgument('--services', 'targets without a filter', filter);
  if (options.file !== undefined) throw badArgument('-w', 'a dump to write, which holds Services anyway', '--services');
  if (output === 'pcapng' || output === 'html') throw badArgument('-o', 'text or json with --services', output);
  const { runServices } = await import('../../client/dump/services.ts');
  return runServices(
    { ...options, output: output === 'json' ? output : 'text' },
    { stdout: process.stdout, stderr: process.stderr, interrupt: interruption(), findLab: () => findStandingLab() },
  );
}

/** Takes `incident/ID` out of the words; throws a usage error where the ID is none. */
function incidentIn(all: readonly string[]): { incident: string | undefined; words: string[] } {
  const [first, ...words] = all;
  if (first?.startsWith('incident/') !== true) return { incident: undefined, words: [...all] };
  const [, incident] = /^incident\/([0-9a-f]{8})$/.exec(first) ?? [];
  if (incident === undefined) throw badArgument('incident/ID', 'an ID as ktrace dump --incidents lists it', first);
  return { incident, words };
}

const MOMENT = 'a time such as 2026-11-22T03:12:00Z, or a duration such as 20m';

/** Unix milliseconds of a time, or of so long ago; throws a usage error. */
function parseMoment(option: string, text: string, nowMs: number): number {
  if (/^\d{4}-\d{2}-\d{2}/.test(text)) {
    const ms = Date.parse(text);
    if (!Number.isNaN(ms)) return ms;
    throw badArgument(option, MOMENT, text);
  }
  return nowMs - parseDuration(option, text, MOMENT);
}
