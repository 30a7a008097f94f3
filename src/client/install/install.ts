import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { EXIT, KtraceError } from '../../util/errors.ts';
import { type Api, ApiError, createApi } from '../cluster/api.ts';
import { type KubeObject, objectPath, titleOf } from '../cluster/kube-object.ts';
import { type KubeOptions, kubeSurroundings, loadKubeConfig } from '../cluster/kubeconfig.ts';
import { escapeText } from '../render/style/escape.ts';
import { applyManifest, retryPods } from './apply.ts';
import { deployFolder, type Manifest, patchesOf, renderManifests } from './manifests.ts';
import { type Pod, recordsIn } from './pod-problem.ts';
import { type Problem, problemsOf, problemText, type Readiness, readinessOf } from './readiness.ts';
import { awaitGone, removeOurs } from './remove.ts';

export interface InstallOptions extends KubeOptions {
  /** Undefined: the one that the manifests name. */
  image: string | undefined;
  leastPrivilege: boolean;
  /** Agents record for `ktrace dump`, as much as the agent does by itself where nothing is said. Undefined: they do not. */
  record: { bytes?: number; hours?: number } | undefined;
  /** And what the Prometheus operator and Grafana's sidecar read. */
  monitoring: boolean;
  wait: boolean;
  timeoutMs: number;
  dryRun: boolean;
  ktraceNamespace: string;
}

export interface InstallIo {
  stdout: Writable;
  stderr: Writable;
  /** Aborted when the user interrupts. */
  interrupt: AbortSignal;
  findLab(): { name: string; kubeconfig: string } | undefined;
}

const AGENT = 'ktrace-agent';
const POLL_MS = 1000;
/** Trouble that is still there after so long is told while it is waited on. */
const TROUBLE_MS = 10_000;
/** Where pods are missing, making them is tried again after so long, and then after twice as long each time: each refusal is an event in the cluster. */
const RETRY_MS = 3000;

/** `ktrace install`: makes the objects, then waits until all pods are ready. Doing it again changes what differs. Gives the exit code. */
export async function runInstall(options: InstallOptions, io: InstallIo): Promise<number> {
  const { ktraceNamespace: namespace, image } = options;
  const rendered = (folder: string, patches: Manifest[] = []): Manifest[] =>
    renderManifests({ folder: join(deployFolder(), folder), patches, namespace, image });
  const manifests = [...rendered('base', patchesFor(options)), ...(options.monitoring ? rendered('overlays/monitoring') : [])];
  const api = openApi(options, io);
  for (const { kind, metadata } of manifests) if (kind === 'Namespace') await rejectForeignNamespace(api, metadata.name);
  if (!(await removeEarlierAgents(api, options, io))) return EXIT.interrupted;
  for (const manifest of manifests) {
    const outcome = await applyManifest(api, manifest, options.dryRun).catch((error: unknown) =>
      explainMissing(error, options.dryRun, manifest),
    );
    io.stdout.write(`${escapeText(titleOf(manifest))} ${outcome}${options.dryRun ? ' (dry run)' : ''}\n`);
  }
  if (options.record === undefined) await tellOfOthersRecording(api, manifests, io);
  if (options.dryRun || !options.wait) return EXIT.ok;
  return awaitReadiness(api, manifests, options, io);
}

/** What kubectl apply has switched on is kubectl's: a server-side apply of ours takes only what was ours. */
async function tellOfOthersRecording(api: Api, manifests: readonly Manifest[], { stderr }: InstallIo): Promise<void> {
  const agent = manifests.find(({ kind, metadata }) => kind === 'DaemonSet' && metadata.name === AGENT);
  const present = agent === undefined ? undefined : await api.get(objectPath(agent)).catch(unlessMissing);
  if (!recordsIn((present as { spec?: { template?: Pick<Pod, 'spec'> } } | undefined)?.spec?.template?.spec)) return;
  stderr.write(
    'ktrace: agents go on recording: ktrace install --record has not switched it on, and who did has to switch it off\n',
  );
}

function unlessMissing(error: unknown): undefined {
  if (error instanceof ApiError && error.status === 404) return undefined;
  throw error;
}

/** The overlays that are asked for, one over the other, and their settings. */
export function patchesFor({ leastPrivilege, record }: Pick<InstallOptions, 'leastPrivilege' | 'record'>): Manifest[] {
  const overlay = (name: string): Manifest[] => patchesOf(join(deployFolder(), 'overlays', name));
  return [
    ...(leastPrivilege ? overlay('least-privilege') : []),
    ...(record === undefined ? [] : [...overlay('recording'), recordSettings(record)]),
  ];
}

/** A patch of the agents' variables (docs/agent.md). */
function recordSettings({ bytes, hours }: NonNullable<InstallOptions['record']>): Manifest {
  const env = [
    { name: 'KTRACE_RECORD_BYTES', value: bytes },
    { name: 'KTRACE_RECORD_HOURS', value: hours },
  ].flatMap(({ name, value }) => (value === undefined ? [] : [{ name, value: String(value) }]));
  const containers = [{ name: 'agent', env }];
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: AGENT },
    spec: { template: { spec: { containers } } },
  };
}

export function openApi(options: KubeOptions, { findLab, stderr }: InstallIo): Api {
  const note = (text: string) => void stderr.write(`ktrace: ${text}\n`);
  return createApi(loadKubeConfig(options, kubeSurroundings(findLab, note)), options.requestTimeoutMs);
}

/** What else is in a namespace would become privileged with it, and go with it at the end: only one of our own is taken. */
async function rejectForeignNamespace(api: Api, name: string): Promise<void> {
  const object = { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
  let present: Manifest;
  try {
    present = (await api.get(objectPath(object))) as Manifest;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return;
    throw error;
  }
  if (present.metadata.labels?.['app.kubernetes.io/name'] === 'ktrace') return;
  throw new KtraceError(
    'KTRACE_E_INSTALL',
    `Expected a namespace of ktrace's own, got ${name}, which is there already and somebody else's`,
    {
      hint: 'Give another one by --ktrace-namespace: install makes it.',
      exitCode: EXIT.usage,
    },
  );
}

/**
 * Earlier versions had their agents beside the gates, where a grant reaches them, and two agents on a node would fight for one socket.
 * @returns false when the user interrupted
 */
async function removeEarlierAgents(
  api: Api,
  { dryRun, ktraceNamespace, timeoutMs }: InstallOptions,
  { stdout, interrupt }: InstallIo,
): Promise<boolean> {
  for (const [apiVersion, kind] of [
    ['apps/v1', 'DaemonSet'],
    ['v1', 'ServiceAccount'],
  ] as const) {
    const object: KubeObject = { apiVersion, kind, metadata: { name: AGENT, namespace: ktraceNamespace } };
    const deletion = await removeOurs(api, object, { isDry: dryRun, propagationPolicy: 'Foreground' });
    if (deletion === 'not there') continue;
    if (deletion === 'deleted' && !dryRun && !(await awaitGone(api, object, timeoutMs, interrupt))) return false;
    stdout.write(`${escapeText(titleOf(object))} ${deletion}${dryRun ? ' (dry run)' : ''}\n`);
  }
  return true;
}

/** A dry run makes no namespace, and the API server checks nothing in one that is not there; it has none of the operator's kinds without the operator. */
function explainMissing(error: unknown, isDry: boolean, { apiVersion, kind, metadata: { namespace } }: Manifest): string {
  if (!(error instanceof ApiError) || error.status !== 404) throw error;
  if (isDry && namespace !== undefined && /namespaces ".*" not found/.test(error.message))
    return 'created, not checked: its namespace is not there';
  if (!apiVersion.startsWith('monitoring.coreos.com/')) throw error;
  throw new KtraceError(
    'KTRACE_E_INSTALL',
    `Expected the kind ${kind} of the Prometheus operator, and this cluster does not have it`,
    {
      cause: error,
      hint: 'ktrace itself is installed. Install the operator, or scrape the gates as docs/install.md says.',
    },
  );
}

async function awaitReadiness(
  api: Api,
  manifests: readonly Manifest[],
  { timeoutMs }: InstallOptions,
  io: InstallIo,
): Promise<number> {
  const startMs = performance.now();
  let retryAtMs = RETRY_MS;
  const told = new Set<string>();
  const tell = (line: string, key = line): void => {
    if (told.has(key)) return;
    told.add(key);
    io.stderr.write(`ktrace: ${escapeText(line)}\n`);
  };
  for (;;) {
    const all = await readinessOf(api, manifests, io.interrupt).catch(unlessInterrupted(io.interrupt));
    if (all === undefined) return EXIT.interrupted;
    const waitedMs = performance.now() - startMs;
    tell(all.map(readinessText).join(', '));
    if (all.every(({ isDone }) => isDone)) {
      io.stderr.write(`ktrace: ready after ${Math.round(waitedMs / 1000)} s; try: ktrace follow\n`);
      return EXIT.ok;
    }
    if (waitedMs >= TROUBLE_MS || waitedMs >= timeoutMs) {
      const namespaces = manifests.filter(({ kind }) => kind === 'Namespace').map(({ metadata }) => metadata.name);
      const problems = (await problemsOf(api, namespaces, io.interrupt).catch(unlessInterrupted(io.interrupt))) ?? [];
      for (const problem of problems) tell(problemText(problem), problem.text);
      if (waitedMs >= timeoutMs) throw notReady(all, problems, timeoutMs);
    }
    if (waitedMs >= retryAtMs) {
      retryAtMs = 2 * waitedMs + RETRY_MS;
      for (const { manifest } of all.filter(({ lacksPods }) => lacksPods)) await retryPods(api, manifest, new Date());
    }
    await delay(POLL_MS, undefined, { signal: io.interrupt }).catch(() => undefined);
    if (io.interrupt.aborted) return EXIT.interrupted;
  }
}

function readinessText({ name, ready, wanted }: Readiness): string {
  return `${name} ${ready} of ${wanted} ready`;
}

function notReady(all: readonly Readiness[], problems: readonly Problem[], timeoutMs: number): KtraceError {
  const behind = all.filter(({ isDone }) => !isDone).map(readinessText);
  return new KtraceError(
    'KTRACE_E_INSTALL',
    `After ${timeoutMs / 1000} s ${behind.join(', ')}${problems.map((problem) => `\n  ${problemText(problem)}`).join('')}`,
    {
      hint: 'The objects are made and stay; ktrace status shows how it goes on, ktrace uninstall takes them away.',
    },
  );
}

function unlessInterrupted(interrupt: AbortSignal): (error: unknown) => undefined {
  return (error) => {
    if (!interrupt.aborted) throw error;
    return undefined;
  };
}
