import type { Target, WorkloadKind } from '../event/target.ts';
import { badArgument, EXIT, KtraceError } from '../util/errors.ts';
import { parseSelector } from '../util/label-selector.ts';
import { isWordOfFilter, OWNER_WORDS } from './language/language.ts';
import { parseFilter } from './language/parse.ts';

/** What the command line says about targets, before it is understood. */
export interface TargetWords {
  /** Positional words: leading `KIND/NAME` are targets, the rest is the filter. */
  words: string[];
  /** Every `-l`. */
  selectors: string[];
  /** Every `-n`; empty: the context's. */
  namespaces: string[];
  /** `-A`. */
  allNamespaces: boolean;
}

/** What it means. */
export interface AskedWords {
  /** The targets; where no namespace is written, names and what is asked without any are in this one. */
  targetsIn(namespace: string): Target[];
  /** The words behind the targets; empty: every packet. A filter that has been parsed. */
  filter: string;
}

type NamedKind = 'pod' | WorkloadKind | 'service' | 'node' | 'namespace';

const KINDS: Record<string, NamedKind> = {
  pod: 'pod',
  pods: 'pod',
  po: 'pod',
  deploy: 'deployment',
  deployment: 'deployment',
  deployments: 'deployment',
  rs: 'replicaset',
  replicaset: 'replicaset',
  replicasets: 'replicaset',
  sts: 'statefulset',
  statefulset: 'statefulset',
  statefulsets: 'statefulset',
  ds: 'daemonset',
  daemonset: 'daemonset',
  daemonsets: 'daemonset',
  job: 'job',
  jobs: 'job',
  cj: 'cronjob',
  cronjob: 'cronjob',
  cronjobs: 'cronjob',
  svc: 'service',
  service: 'service',
  services: 'service',
  node: 'node',
  nodes: 'node',
  no: 'node',
  ns: 'namespace',
  namespace: 'namespace',
  namespaces: 'namespace',
};

interface Named {
  kind: NamedKind;
  name: string;
}

/** The API groups of the kinds that are in one, as `kubectl get -o name` writes them behind the kind. */
const GROUPS: Partial<Record<NamedKind, string>> = {
  deployment: 'apps',
  replicaset: 'apps',
  statefulset: 'apps',
  daemonset: 'apps',
  job: 'batch',
  cronjob: 'batch',
};

/** RFC 1123 names as Kubernetes allows them for these kinds (Services and pods are subsets of it). */
const NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/**
 * Reads targets and filter. Without any target, the namespace is one (with `-A`: everything). Throws KTRACE_E_ARGUMENT, KTRACE_E_KIND_UNKNOWN,
 * KTRACE_E_KIND_MISSING, KTRACE_E_SELECTOR, KTRACE_E_FILTER; all are usage errors.
 */
export function parseWords(input: TargetWords): AskedWords {
  const { names, filterWords } = splitWords(input.words, input.allNamespaces || input.selectors.length > 0);
  for (const namespace of input.namespaces) checkNamespace(namespace);
  if (names.length > 0 && input.selectors.length > 0) {
    throw usage(
      'KTRACE_E_ARGUMENT',
      'Names and -l cannot be given together',
      'Give either KIND/NAME targets or a label selector.',
    );
  }
  if (input.allNamespaces && names.some(({ kind }) => kind !== 'node' && kind !== 'namespace')) {
    throw usage(
      'KTRACE_E_ARGUMENT',
      'A name and -A cannot be given together',
      'A name stands in one namespace: give it with -n.',
    );
  }
  checkSelectors(input.selectors);
  const filter = filterWords.join(' ');
  parseFilter(filter, 'live');
  const targetsIn = (namespace: string): Target[] => {
    if (input.namespaces.length > 0) return targetsOf(names, input, [...new Set(input.namespaces)]);
    checkNamespace(namespace);
    return targetsOf(names, input, [namespace]);
  };
  return { targetsIn, filter };
}

function checkNamespace(name: string): void {
  if (!NAME.test(name)) throw badArgument('-n', 'the name of a namespace', name);
}

function targetsOf(names: Named[], { selectors, allNamespaces }: TargetWords, namespaces: string[]): Target[] {
  const targets = [
    ...names.flatMap(({ kind, name }): Target[] =>
      kind === 'node' || kind === 'namespace' ? [{ kind, name }] : namespaces.map((namespace) => ({ kind, namespace, name })),
    ),
    ...selectors.flatMap((selector): Target[] =>
      allNamespaces
        ? [{ kind: 'selector', selector }]
        : namespaces.map((namespace) => ({ kind: 'selector', namespace, selector })),
    ),
  ];
  if (targets.length > 0) return unique(targets);
  return allNamespaces ? [{ kind: 'all' }] : namespaces.map((name) => ({ kind: 'namespace', name }));
}

/** `hasTargets`: flags name what is followed, so that what is no `KIND/NAME` is the filter. */
function splitWords(words: string[], hasTargets: boolean): { names: Named[]; filterWords: string[] } {
  const names: Named[] = [];
  for (const [index, word] of words.entries()) {
    const target = readName(word);
    if (target === undefined) {
      if (index === 0) rejectBareWord(words, hasTargets);
      return { names, filterWords: words.slice(index) };
    }
    names.push(target);
  }
  return { names, filterWords: [] };
}

/** Undefined: the filter begins here. */
function readName(word: string): Named | undefined {
  const slash = word.indexOf('/');
  if (slash < 0) return undefined;
  const prefix = word.slice(0, slash);
  const name = word.slice(slash + 1);
  const kind = kindOf(prefix);
  if (kind !== undefined) {
    if (!NAME.test(name)) throw badArgument(`${prefix}/`, 'a Kubernetes name', name);
    return { kind, name };
  }
  // A word such as `10.244.0.0/16` belongs to the filter; letters, also with a group behind them, were meant as a kind.
  if (!/^[a-z]+(\.[a-z][-a-z0-9.]*)?$/i.test(prefix)) return undefined;
  throw usage(
    'KTRACE_E_KIND_UNKNOWN',
    `Unknown kind ${JSON.stringify(prefix)} in ${JSON.stringify(word)}`,
    'Kinds are pod/, deploy/, rs/, sts/, ds/, job/, cj/, svc/, node/, ns/.',
  );
}

/** `deployment` and `deployment.apps`; another group's kind of the same name is another kind. */
function kindOf(prefix: string): NamedKind | undefined {
  const [word = '', ...group] = prefix.toLowerCase().split('.');
  const kind = Object.hasOwn(KINDS, word) ? KINDS[word] : undefined;
  if (kind === undefined || group.length === 0) return kind;
  return GROUPS[kind] === group.join('.') ? kind : undefined;
}

/** A name without its kind, or with a blank between the two, where the filter would begin. */
function rejectBareWord(words: string[], hasTargets: boolean): void {
  const [word = '', next] = words;
  const isKind = Object.hasOwn(KINDS, word.toLowerCase());
  if (isKind && next !== undefined && NAME.test(next) && !isOwnerFilter(words, hasTargets)) {
    const asFilter = OWNER_WORDS.has(word) ? `; a filter that begins with it is quoted: '${word} ${next}'` : '';
    throw usage(
      'KTRACE_E_KIND_MISSING',
      `Expected KIND/NAME, got ${JSON.stringify(`${word} ${next}`)}`,
      `Write ${word}/${next} to follow it${asFilter}.`,
    );
  }
  if (!NAME.test(word) || isWordOfFilter(word)) return;
  const hint = isKind ? `Write ${word}/NAME.` : `For a pod write pod/${word}.`;
  throw usage('KTRACE_E_KIND_MISSING', `Expected KIND/NAME, got ${JSON.stringify(word)}`, hint);
}

/** Whether `pod web …` can only be a filter: `pod web` alone is rather meant as kubectl has it. */
function isOwnerFilter([word = '', next = '', then = '']: string[], hasTargets: boolean): boolean {
  return OWNER_WORDS.has(word) && (hasTargets || next === 'not' || ['and', 'or', '&&', '||'].includes(then));
}

function checkSelectors(selectors: string[]): void {
  for (const selector of selectors) {
    if (selector.trim() === '' || selector.length > 1024)
      throw badArgument('-l', 'a label selector of 1 to 1024 characters', selector.slice(0, 80));
    parseSelector(selector);
  }
}

function unique(targets: Target[]): Target[] {
  return [...new Map(targets.map((target) => [JSON.stringify(target), target])).values()];
}

function usage(code: `KTRACE_E_${string}`, message: string, hint: string): KtraceError {
  return new KtraceError(code, message, { hint, exitCode: EXIT.usage });
}
