import type { CommandUnknownOpts as Command, Option } from '@commander-js/extra-typings';
import { COMPLETED_KINDS, type Names } from '../client/cluster/completion.ts';
import type { KubeOptions } from '../client/cluster/kubeconfig.ts';
import { wordsOfFilter } from '../filter/language/language.ts';
import { type ClusterFlags, clusterOptions } from './options/cluster-options.ts';

/** What the shell does with the candidates, in kubectl's numbers (those of cobra). */
export const DIRECTIVE = { default: 0, noSpace: 2, noFile: 4 } as const;

export interface Completion {
  /** Each with a description behind a tab, where there is one. */
  candidates: string[];
  directive: number;
}

/** Words of a filter that a name of the cluster stands behind. */
const NAMING_WORDS = new Set(['pod', 'svc', 'ns', 'node']);

/** Those that take a file. */
const FILE_OPTIONS = new Set(['--kubeconfig', '--filter-file', '--write']);

/** Their `--user` is another one than the kubeconfig's. */
const GRANTING = new Set(['grant', 'revoke']);

/** Which options take names of the cluster. */
const NAMED_OPTIONS: Record<string, string> = { '--namespace': 'ns', '--ktrace-namespace': 'ns', '--node': 'node' };

/**
 * Candidates for the last of `words`, which is as far as the user has typed it. `names` asks the cluster that the words before mean
 * (`--context`, `--kubeconfig`, `--as`).
 */
export async function complete(program: Command, words: string[], names: (kube: KubeOptions) => Names): Promise<Completion> {
  const typed = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const { command, depth } = commandOf(program, before);
  const given = before.slice(depth);
  const cluster = () => names(kubeOptions(command, given));
  const [option, value] = optionAt(command, given, typed);
  if (option !== undefined) return completeValue(option, value, typed, cluster);
  if (typed.startsWith('-')) return only(flagsOf(command), typed);
  const subcommands = command.commands.filter((one) => !isHidden(one)).map((one) => `${one.name()}\t${one.description()}`);
  if (subcommands.length > 0)
    return only([...subcommands, ...(command === program ? ['help\tshow help of a command'] : [])], typed);
  return completeArgument(command, given, typed, cluster);
}

/** The innermost command that the words name, and how many words that takes. */
function commandOf(program: Command, words: string[]): { command: Command; depth: number } {
  let command = program;
  let depth = 0;
  for (const word of words) {
    const next: Command | undefined = command.commands.find((one) => one.name() === word);
    if (next === undefined) break;
    command = next;
    depth += 1;
  }
  return { command, depth };
}

/** The option whose value is typed: behind it, or in one word with it (`--output=js`). */
function optionAt(command: Command, given: string[], typed: string): [Option | undefined, string] {
  const joined = /^(--[^=]+)=(.*)$/s.exec(typed);
  if (joined !== null) return [valueOption(command, joined[1] as string), joined[2] as string];
  return [valueOption(command, given.at(-1) ?? ''), typed];
}

function valueOption(command: Command, flag: string): Option | undefined {
  return command.options.find(
    (option) => (option.long === flag || option.short === flag) && (option.required || option.optional),
  );
}

async function completeValue(option: Option, value: string, typed: string, cluster: () => Names): Promise<Completion> {
  const lead = typed.slice(0, typed.length - value.length);
  const kind = NAMED_OPTIONS[option.long ?? ''];
  if (FILE_OPTIONS.has(option.long ?? '')) return { candidates: [], directive: DIRECTIVE.default };
  const values =
    option.argChoices ??
    (option.long === '--context'
      ? cluster().contexts()
      : kind === undefined
        ? []
        : await cluster().ofKind(kind, value, undefined));
  return only(
    values.map((one) => lead + one),
    typed,
  );
}

async function completeArgument(command: Command, given: string[], typed: string, cluster: () => Names): Promise<Completion> {
  switch (command.name()) {
    case 'follow':
    case 'dump':
      return completeFollow(command, given, typed, cluster);
    case 'grant':
    case 'revoke':
      return only(await cluster().ofKind('ns', typed, undefined), typed);
    case 'read':
      return words(command, given).length === 0
        ? { candidates: [], directive: DIRECTIVE.default }
        : only(wordsOfFilter('file'), typed);
    case 'filter':
      return only([...new Set([...wordsOfFilter('live'), ...wordsOfFilter('file')])], typed);
    case 'completion':
      return only(['bash', 'zsh', 'fish', 'powershell'], typed);
    default:
      return { candidates: [], directive: DIRECTIVE.noFile };
  }
}

/** Targets come first, then the filter, in which some words have names of the cluster behind them. */
async function completeFollow(command: Command, given: string[], typed: string, cluster: () => Names): Promise<Completion> {
  const before = words(command, given);
  const filter = before.filter((word) => !word.includes('/'));
  const namespace = namespaceOf(given);
  const last = given.at(-1) ?? '';
  const isNaming = NAMING_WORDS.has(last);
  // `pod web` alone is refused, as pod/web may have been meant.
  const mayName = hasTarget(before, given) || filter.length > 1;
  if (filter.length > 0 && isNaming) return only(mayName ? await cluster().ofKind(last, typed, namespace) : [], typed);
  const candidates = wordsOfFilter('live').filter((word) => word.startsWith(typed) && (mayName || !NAMING_WORDS.has(word)));
  if (filter.length > 0) return only(candidates, typed);
  if (typed.includes('/')) return completeTarget(typed, namespace, cluster);
  const kinds = COMPLETED_KINDS.map((one) => `${one}/`).filter((one) => one.startsWith(typed));
  // A blank behind a kind would be in the way of its name.
  return {
    candidates: [...kinds, ...candidates.filter((word) => word !== 'and' && word !== 'or')],
    directive: DIRECTIVE.noFile | (candidates.length === 0 ? DIRECTIVE.noSpace : 0),
  };
}

/** Whether something says already what is followed. */
function hasTarget(words: readonly string[], given: readonly string[]): boolean {
  return (
    words.some((word) => word.includes('/')) ||
    given.some((word) => /^(?:-A|--all-namespaces|-l.*|--selector(?:=.*)?)$/s.test(word))
  );
}

async function completeTarget(typed: string, namespace: string | undefined, cluster: () => Names): Promise<Completion> {
  const slash = typed.indexOf('/');
  const kind = typed.slice(0, slash);
  const names = await cluster().ofKind(kind, typed.slice(slash + 1), namespace);
  return { candidates: names.map((name) => `${kind}/${name}`), directive: DIRECTIVE.noFile };
}

function namespaceOf(given: string[]): string | undefined {
  for (const [index, word] of given.entries()) {
    if (word === '-n' || word === '--namespace') return given[index + 1];
    const joined = /^(?:--namespace=|-n)(.+)$/.exec(word);
    if (joined !== null) return joined[1];
  }
  return undefined;
}

/** Of which cluster, and as whom, names are asked for. What is wrong with a flag is told when the command runs. */
function kubeOptions(command: Command, given: string[]): KubeOptions {
  try {
    const { user, ...flags } = clusterFlags(command, given);
    return clusterOptions(GRANTING.has(command.name()) || user === undefined ? flags : { ...flags, user });
  } catch {
    return {};
  }
}

function clusterFlags(command: Command, given: string[]): ClusterFlags {
  const flags: Record<string, unknown> = {};
  for (const option of command.options) {
    const name = option.attributeName();
    for (const [at, word] of given.entries()) {
      const isNext = word === option.long;
      if (!isNext && !word.startsWith(`${option.long}=`)) continue;
      const value = !option.required ? true : isNext ? given[at + 1] : word.slice(word.indexOf('=') + 1);
      flags[name] = option.long === '--as-group' ? [...((flags[name] as string[] | undefined) ?? []), value] : value;
    }
  }
  return flags;
}

/** The words before that are neither options nor their values. */
function words(command: Command, given: string[]): string[] {
  return given.filter((word, index) => !word.startsWith('-') && valueOption(command, given[index - 1] ?? '') === undefined);
}

function flagsOf(command: Command): string[] {
  const own = command.options
    .filter(({ hidden }) => !hidden)
    .map(({ long, short, description }) => `${long ?? short}\t${description}`);
  return [...own, '--help\tshow help'];
}

function only(candidates: readonly string[], typed: string): Completion {
  return { candidates: candidates.filter((one) => one.startsWith(typed)), directive: DIRECTIVE.noFile };
}

function isHidden(command: Command): boolean {
  return (command as unknown as { _hidden?: boolean })._hidden === true;
}
