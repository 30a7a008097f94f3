/** A pod as far as its health shows. */
export interface Pod {
  metadata: { name: string; labels?: Record<string, string>; deletionTimestamp?: string };
  spec?: { nodeName?: string; containers?: Container[] };
  status?: {
    phase?: string;
    reason?: string;
    message?: string;
    conditions?: { type?: string; status?: string; reason?: string; message?: string }[];
    containerStatuses?: ContainerStatus[];
  };
}

interface Container {
  name?: string;
  image?: string;
  env?: { name: string; value?: string }[];
}

interface ContainerStatus {
  ready?: boolean;
  restartCount?: number;
  state?: { waiting?: { reason?: string; message?: string }; terminated?: Terminated; running?: { startedAt?: string } };
  lastState?: { terminated?: Terminated };
}

interface Terminated {
  reason?: string;
  exitCode?: number;
  signal?: number;
  /** Its last lines: the manifests ask for them (`terminationMessagePolicy`). */
  message?: string;
}

const MESSAGE_CHARS = 300;

/** Why a pod is not ready, as a person would say it; undefined when it is ready, or is going. */
export function podProblem({ metadata, status = {} }: Pod): string | undefined {
  if (metadata.deletionTimestamp !== undefined || isReady(status)) return undefined;
  const [container] = status.containerStatuses ?? [];
  const unscheduled = status.conditions?.find(({ type, status: value }) => type === 'PodScheduled' && value === 'False');
  if (unscheduled !== undefined) return told('not scheduled', unscheduled.message);
  if (status.phase === 'Failed') return told(status.reason ?? 'failed', status.message);
  if (container === undefined) return told(status.phase === undefined ? 'unknown' : status.phase.toLowerCase(), status.message);
  const { waiting, terminated } = container.state ?? {};
  const last = terminated ?? container.lastState?.terminated;
  const died = last === undefined ? '' : `; it ended ${endText(last)}`;
  if (waiting !== undefined) return told(waiting.reason ?? 'waiting', last === undefined ? waiting.message : undefined) + died;
  if (terminated !== undefined) return `ended ${endText(terminated)}`;
  return `started and not ready yet${died}`;
}

/** Whether an agent is set to record for `ktrace dump`. */
export function recordsIn(spec: Pod['spec']): boolean {
  const env = spec?.containers?.find(({ name }) => name === 'agent')?.env ?? [];
  return env.some(({ name, value = '' }) => name === 'KTRACE_RECORD' && value !== '');
}

/** How its container last ended, and how often it was started again; undefined when that never happened. */
export function restartsOf({ status }: Pod): { count: number; last: string | undefined } {
  const [container] = status?.containerStatuses ?? [];
  const last = container?.lastState?.terminated;
  return { count: container?.restartCount ?? 0, last: last === undefined ? undefined : endText(last) };
}

export function isReady(status: Pod['status']): boolean {
  return status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true;
}

function endText({ reason, exitCode, signal, message = '' }: Terminated): string {
  if (reason === 'OOMKilled') return 'out of memory (OOMKilled)';
  const how = `with exit code ${exitCode ?? '?'}${signal ? `, signal ${signal}` : ''}`;
  const last = lastWord(message).slice(0, MESSAGE_CHARS);
  return last === '' ? how : `${how}: ${last}`;
}

/**
 * Of the last lines that it printed: the error that ended it, which a hint, a stack or Node's version may follow; else the last one. Lines of its log
 * (JSON) tell of something else.
 */
function lastWord(message: string): string {
  const lines = message.trim().split('\n');
  return lines.findLast((line) => ENDING.test(line)) ?? lines.findLast((line) => !line.startsWith('{')) ?? '';
}

/** Of ktrace, of Node for what nobody has caught, of V8. */
const ENDING = /\[KTRACE_E_\w+\]$|^\w*Error( \[\w+\])?: |^FATAL ERROR: /;

function told(what: string, message: string | undefined): string {
  return message === undefined || message === '' ? what : `${what}: ${message.replace(/\s+/g, ' ').slice(0, MESSAGE_CHARS)}`;
}
