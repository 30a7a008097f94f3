import type { Target } from '../event/target.ts';
import { DEFAULT_EXPORT_EVENTS, EXPORT_EVENTS, type ExportEvent } from '../export/selection.ts';
import { type OtlpSettings, readOtlpSettings } from '../export/settings.ts';
import { type AskedWords, parseWords, type TargetWords } from '../filter/targets.ts';
import { badArgument, KtraceError } from '../util/errors.ts';
import type { Environment, Settings } from '../util/settings.ts';

/** What this agent exports, and to where. */
export interface ExportConfig {
  otlp: OtlpSettings;
  targets: Target[];
  events: ReadonlySet<ExportEvent>;
}

/** Undefined: nothing is exported. @throws KtraceError KTRACE_E_ARGUMENT and those of `parseWords`, exit code 2 */
export function readExportConfig(settings: Settings, env: Environment): ExportConfig | undefined {
  const otlp = readOtlpSettings(settings, env);
  if (otlp === undefined) return undefined;
  return {
    otlp,
    targets: exportTargets(settings.names('exportTarget'), settings.text('exportTarget')),
    events: exportEvents(settings.names('exportEvents'), settings.text('exportEvents')),
  };
}

/**
 * Targets in the words of `ktrace follow`, e.g. `ns/shop`, `deploy/web svc/web -n shop` or `-l app=web -n shop`; without any, the pods of the
 * agent's node.
 */
function exportTargets(name: string, text: string | undefined): Target[] {
  const words: string[] = [];
  const selectors: string[] = [];
  const namespaces: string[] = [];
  let into = words;
  for (const word of (text ?? '').split(/\s+/).filter((one) => one !== '')) {
    if (word === '-l') into = selectors;
    else if (word === '-n') into = namespaces;
    else {
      into.push(word);
      into = words;
    }
  }
  if (into !== words) throw badArgument(name, 'a value after -l and -n', text);
  if (words.length + selectors.length + namespaces.length === 0) return [{ kind: 'all' }];
  const { targetsIn, filter } = parsed(name, { words, selectors, namespaces });
  if (filter !== '') throw badArgument(name, 'targets as KIND/NAME', filter);
  const targets = targetsIn('default');
  const isNamed = targets.some(({ kind }) => kind !== 'node' && kind !== 'namespace' && kind !== 'selector');
  if (isNamed && namespaces.length === 0) throw badArgument(name, 'a namespace by -n for these names', text);
  return targets;
}

function parsed(name: string, given: Pick<TargetWords, 'words' | 'selectors' | 'namespaces'>): AskedWords {
  const allNamespaces = given.selectors.length > 0 && given.namespaces.length === 0;
  try {
    return parseWords({ ...given, allNamespaces });
  } catch (error) {
    if (!(error instanceof KtraceError)) throw error;
    const { code, message, hint, exitCode } = error;
    throw new KtraceError(code, `${message} (${name})`, { exitCode, ...(hint === undefined ? {} : { hint }) });
  }
}

function exportEvents(name: string, text: string | undefined): ReadonlySet<ExportEvent> {
  if (text === undefined) return new Set(DEFAULT_EXPORT_EVENTS);
  const words = text.split(',').map((word) => word.trim());
  const events = words.map((word) => {
    const event = EXPORT_EVENTS.find((one) => one === word);
    if (event === undefined) throw badArgument(name, `some of ${EXPORT_EVENTS.join(', ')}`, text);
    return event;
  });
  return new Set(events);
}
