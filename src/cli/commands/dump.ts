import { type Command, Option } from '@commander-js/extra-typings';
import type { DumpOptions } from '../../client/dump/dump.ts';
import { badArgument } from '../../util/errors.ts';
import { askedWords } from '../options/asked-words.ts';
import { addClusterOptions, clusterOptions } from '../options/cluster-options.ts';
import { collect, type Done } from '../options/command.ts';
import { parseDuration } from '../options/duration.ts';
import { surroundings } from '../options/surroundings.ts';
import { addTextOptions, textStyle } from '../options/text-options.ts';

/** `ktrace dump`. */
export function addDump(program: Command, done: Done): void {
  const dump = program
    .command('dump')
    .description('show what the agents recorded, also of pods that are gone')
    .usage('[options] [KIND/NAME ...] [FILTER]')
    .argument('[words...]', 'targets as KIND/NAME, as follow takes them, or incident/ID; then a filter')
    .option('--incidents', "list what went wrong with the targets' pods and is kept; with -o json as JSON")
    .option('--services', "list the targets' Services as they were, with addresses, ports and endpoints; with -o json as JSON")
    .option('--drops', 'only what was dropped; a filter narrows it further')
    .option('--since <when>', 'from so long ago, 20m, or from a time, 2026-11-22T03:12:00Z', '15m')
    .option('--until <when>', 'to so long ago, or to a time; default: now')
    .option('-w, --write <file>', 'write a dump that ktrace read takes; prints only with -o')
    .option('-l, --selector <selector>', 'pods that had these labels (again: or these)', collect)
    .option('-n, --namespace <namespace>', "the targets' namespace, instead of the context's (again: and this)", collect)
    .option('-A, --all-namespaces', 'all namespaces')
    .addOption(
      new Option('-o, --output <format>', 'what is printed').choices(['text', 'wide', 'json', 'pcapng', 'html']).default('text'),
    )
    .option('--strict', 'exit with 5 when something is missing: a node, a time, records that were lost');
  addClusterOptions(addTextOptions(dump))
    .addHelpText('after', EXAMPLES)
    .action(async (allWords, flags, command) => {
      const isGiven = (name: keyof typeof flags): boolean => command.getOptionValueSource(name) === 'cli';
      const nowMs = Date.now();
      const { incident, words } = incidentIn(allWords);
      const options: DumpOptions = {
        asked: await askedWords(words, flags),
        ...clusterOptions(flags),
        sinceMs: parseMoment('--since', flags.since, nowMs),
        untilMs: flags.until === undefined ? nowMs : parseMoment('--until', flags.until, nowMs),
        incident,
        output: flags.write !== undefined && !isGiven('output') ? undefined : flags.output,
        file: flags.write,
        strict: flags.strict === true,
        drops: flags.drops === true,
        ...textStyle(flags),
      };
      const { filter: written } = options.asked;
      const filter = options.drops === true ? `--drops ${written}`.trim() : written;
      if (flags.incidents === true) return done(await listIncidents(options, filter, flags.services === true, isGiven('since')));
      if (flags.services === true) return done(await listServices(options, filter));
      const { runDump } = await import('../../client/dump/dump.ts');
      done(await runDump(options, await surroundings()));
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
  return runIncidents(asked, await surroundings());
}

async function listServices({ output, ...options }: DumpOptions, filter: string): Promise<number> {
  if (options.incident !== undefined) throw badArgument('--services', 'no incident beside it', `incident/${options.incident}`);
  if (filter !== '') throw badArgument('--services', 'targets without a filter', filter);
  if (options.file !== undefined) throw badArgument('-w', 'a dump to write, which holds Services anyway', '--services');
  if (output === 'pcapng' || output === 'html') throw badArgument('-o', 'text or json with --services', output);
  const { runServices } = await import('../../client/dump/services.ts');
  return runServices({ ...options, output: output === 'json' ? output : 'text' }, await surroundings());
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

const EXAMPLES = `
Examples:
  ktrace dump pod/web-7d4b9c-x2x8p --since 20m       what a pod did, though it is gone
  ktrace dump ns/shop dropped --since 1h
  ktrace dump -A --since 2026-11-22T03:10:00Z --until 2026-11-22T03:15:00Z -w night.ktrace
  ktrace read night.ktrace tcp port 6379             later, elsewhere
  ktrace dump pod/web-7d4b9c-x2x8p -o pcapng | wireshark -k -i -
  ktrace dump pod/web-7d4b9c-x2x8p -o html > web.html   one page for a ticket: timeline, flows, drops, drawn ways
  ktrace dump --incidents -A                         pods that crashed, whose minutes are kept
  ktrace dump incident/3f9a1c2e -n shop              one of them
  ktrace dump --services svc/web --since 1h          which endpoints a Service had, though it is gone`;
