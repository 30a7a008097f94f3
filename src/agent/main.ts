import { readFileSync, rmdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { NoticeEvent } from '../event/types.ts';
import { type KubeAccess, openApi } from '../kube/api/api.ts';
import { inClusterAccess } from '../kube/api/in-cluster.ts';
import { openReviewer } from '../kube/api/reviews.ts';
import { openTokenKeys } from '../kube/api/token-keys.ts';
import type { NamesIndex } from '../kube/index/names-index.ts';
import type { PodRecord } from '../kube/index/pod-records.ts';
import { type Kube, startKube } from '../kube/start.ts';
import { loadNative } from '../native/load.ts';
import { KtraceError, messageOf } from '../util/errors.ts';
import { giveHeapBackAtRest } from '../util/heap-at-rest.ts';
import { createLog, type Logger } from '../util/log.ts';
import { type Authorizer, allowAll, createAuthorizer } from './access/authorizer.ts';
import type { AgentConfig } from './config.ts';
import type { RunningExport } from './export.ts';
import { Interfaces } from './kernel/interfaces.ts';
import { defaultObject } from './kernel/object-path.ts';
import { KernelSymbols } from './kernel/probes/kernel-symbols.ts';
import { Tracer } from './kernel/tracer.ts';
import type { Feed } from './pipeline/feed.ts';
import { namesCounters } from './pipeline/names-counters.ts';
import { kubeNaming, nameAgain } from './pipeline/naming.ts';
import { type Naming, Pipeline } from './pipeline/pipeline.ts';
import type { OwnPod } from './record/names/pod-names.ts';
import { Recorder } from './record/recorder.ts';
import { recorderCounters } from './record/recorder-counters.ts';
import { RecordingStart } from './record/recording-start.ts';
import { startServer } from './serve/server.ts';

/**
 * Runs the agent until SIGTERM or SIGINT. Resolves when everything is taken down.
 * @throws KtraceError when the kernel side cannot be loaded, the socket cannot be served, or the kubeconfig cannot be read
 */
export async function runAgent(config: AgentConfig): Promise<void> {
  const log = createLog('agent', config.logLevel).child({ node: config.node });
  const stopped = stopSignal(config.withParent);
  const native = loadNative();
  const tracer = new Tracer({
    native,
    objectPath: config.object ?? defaultObject(),
    netns: statSync('/proc/self/ns/net').ino,
    ringBytes: config.ringBytes,
    podRate: config.podRate,
    flowEntries: config.flowEntries,
    attach: config.attach,
    probes: config.probes,
    rcuExpedited: config.rcuExpedited,
    // An agent that is installed on this node may be using its own.
    keepFilters: config.withParent,
  });
  const closing = new AbortController();
  const closers: (() => void | Promise<void>)[] = [() => tracer.close(), () => closing.abort()];
  try {
    const interfaces = new Interfaces({ native, tracer, log });
    closers.push(() => interfaces.close());
    const access = await kubeAccess(config);
    const kube = startKube({
      kubeConfig: access,
      node: config.node,
      log: plainLog(log),
      ...(config.proxyMode === 'auto' ? {} : { proxyMode: config.proxyMode }),
    });
    closers.push(() => kube.close());
    const naming = kubeNaming(kube);
    const { node, clockSkewMs } = config;
    const pipeline = new Pipeline({
      node,
      native,
      tracer,
      interfaces,
      naming,
      symbols: new KernelSymbols((address) => tracer.symbolText(address)),
      log,
      clockSkewMs,
      unloadAfterMs: config.unloadAfterMs,
      version: version(),
    });
    closers.push(() => pipeline.close());
    interfaces.onPodAddressesChange = () => pipeline.resolveAgain({ kind: 'pod-addresses' });
    // The index reports the change, and the pipeline hears of it from there.
    interfaces.onOwnAddressesChange = () => kube.index.setLocalAddresses([...interfaces.ownAddresses]);
    interfaces.onOwnAddressesChange();
    kube.onChange((change) => {
      if (change.kind === 'node' || change.kind === 'list')
        interfaces.setNodeAddresses(kube.index.findNode(config.node)?.ips ?? []);
      pipeline.resolveAgain(change);
    });
    kube.onNotice((notice) => {
      const ended = ENDED_BY[notice.code];
      if (ended === undefined) pipeline.notice(notice);
      else pipeline.withdraw(ended, notice);
    });
    const exporting = await exportTo(config, pipeline, kube.index, log);
    if (exporting) closers.push(() => exporting.close());
    const recording = await record(config, { pipeline, kube, naming, interfaces }, log);
    if (recording) closers.push(() => recording.close());
    const { counters: authorizationCounters, ...decide } =
      config.authorization === 'on'
        ? authorizer(access, closing.signal, log, config.recheckMs)
        : authorizationOff(pipeline, log, config);
    const server = await startServer({
      feed: pipeline,
      socketPath: config.socket,
      version: version(),
      log,
      ...decide,
      limits: {
        clients: config.maxClients,
        ...(config.recheckMs === undefined ? {} : { recheckMs: config.recheckMs }),
        ...(config.queueEvents === undefined ? {} : { queueEvents: config.queueEvents }),
      },
      counters: () => [
        ...namesCounters(kube),
        ...authorizationCounters(),
        ...(exporting?.counters() ?? []),
        ...recorderCounters(recording?.recorder),
      ],
      recorder: () => recording?.recorder,
    });
    closers.push(() => server.close());
    closers.push(giveHeapBackAtRest({ isServing: () => server.clients > 0, log, alsoGiveBack: () => native.trimMemory() }));
    log.info({ socket: config.socket, hooks: pipeline.hooks(), instance: pipeline.instance }, 'agent is up');
    log.info({ signal: await stopped }, 'agent is going down');
  } finally {
    for (const close of closers.reverse()) {
      try {
        await close();
      } catch (error) {
        log.error({ err: messageOf(error) }, 'something could not be taken down');
      }
    }
    if (config.withParent) removeIfEmpty(dirname(config.socket));
  }
}

/** Notices that withdraw another one. */
const ENDED_BY: Partial<Record<NoticeEvent['code'], NoticeEvent['code']>> = {
  KTRACE_N_API_BACK: 'KTRACE_N_API_UNREACHABLE',
  KTRACE_N_PROXY_MODE: 'KTRACE_N_PROXY_MODE_UNKNOWN',
};

/** Two reviews in a row take less time than a client waits for its answer. */
const REVIEW_TIMEOUT_MS = 2_000;

function authorizer(access: KubeAccess, signal: AbortSignal, log: Logger, recheckMs: number | undefined): Authorizer {
  const api = openApi(access);
  const isSigned = openTokenKeys({
    api,
    signal,
    timeoutMs: REVIEW_TIMEOUT_MS,
    nowMs: () => performance.now(),
    onFailure: (error) =>
      log.warn({ err: messageOf(error) }, 'the API server’s keys cannot be read: forged tokens may keep good ones waiting'),
  });
  return createAuthorizer(openReviewer(api, signal, REVIEW_TIMEOUT_MS), isSigned, log, recheckMs);
}

function authorizationOff(pipeline: Pipeline, log: Logger, { withParent }: AgentConfig): Authorizer {
  const everything = { authorize: allowAll, counters: () => [] };
  // Its only client is the one that started it, and its socket is in a folder of that user.
  if (withParent) return everything;
  const text = 'this agent runs with --authorization off: whoever reaches it sees everything';
  log.warn(text);
  pipeline.notice({ code: 'KTRACE_N_AUTHORIZATION_OFF', level: 'warn', text });
  return everything;
}

interface Recorded {
  pipeline: Pipeline;
  kube: Kube;
  naming: Naming;
  interfaces: Interfaces;
}

function record(
  { record: config }: AgentConfig,
  { pipeline, kube, naming, interfaces }: Recorded,
  log: Logger,
): Promise<RecordingStart> | undefined {
  if (config === undefined) return undefined;
  const notice = pipeline.notice.bind(pipeline);
  const withdraw = pipeline.withdraw.bind(pipeline);
  const start = () =>
    Recorder.start({
      config,
      incidents: config.incidentAfterMs === undefined ? {} : { afterMs: config.incidentAfterMs },
      feed: pipeline,
      ownPods: () => ownPods(kube.index.ownPods()),
      isPodAddress: (ip) => interfaces.isPodAddress(ip),
      name: (event) => nameAgain(naming, event),
      services: () => kube.index.servicesWithSlices(),
      notice,
      withdraw,
      lost: (event) => pipeline.lost(event),
      log,
    });
  const begin = async (): Promise<Recorder> => {
    const recorder = await start();
    kube.onChange(() => {
      recorder.podsChanged();
      recorder.servicesChanged();
    });
    kube.onTrouble((trouble) => recorder.incidents.report(trouble));
    log.info({ ...config }, 'recording');
    return recorder;
  };
  return RecordingStart.begin({ start: begin, notice, withdraw, log });
}

/** Pods with addresses of their own. */
function* ownPods(records: Iterable<PodRecord>): Generator<OwnPod> {
  for (const { version, hostNetwork, ips, held, endedMs } of records) {
    if (hostNetwork) continue;
    const { pod } = version.owner;
    if (endedMs === undefined) yield { pod, ips, sinceMs: held?.fromMs };
    else if (held !== undefined) yield { pod, ips: held.ips, sinceMs: held.fromMs, endedMs };
  }
}

/** The modules for exporting are loaded only when it is switched on. */
async function exportTo(
  { export: config }: AgentConfig,
  feed: Feed,
  index: NamesIndex,
  log: Logger,
): Promise<RunningExport | undefined> {
  if (config === undefined) return undefined;
  const { startExport } = await import('./export.ts');
  return startExport({ config, feed, index, version: version(), log });
}

/** An agent in a pod reads its service account itself: what reads kubeconfigs takes 33 MB. */
async function kubeAccess({ kubeconfig: path, serviceAccount }: AgentConfig): Promise<KubeAccess> {
  if (path === undefined && process.env['KUBERNETES_SERVICE_HOST'] !== undefined) {
    return inClusterAccess(serviceAccount === undefined ? {} : { root: serviceAccount });
  }
  const { KubeConfig } = await import('../util/kube-library.ts');
  const config = new KubeConfig();
  try {
    if (path === undefined) config.loadFromDefault();
    else config.loadFromFile(path);
  } catch (error) {
    throw new KtraceError('KTRACE_E_KUBECONFIG', `The kubeconfig ${path ?? ''} cannot be read: ${messageOf(error)}`, {
      cause: error,
      hint: 'Give the agent a kubeconfig by --kubeconfig, or run it as a pod with a service account.',
    });
  }
  return config;
}

/** Removes the folder that a client made for the socket: the client cannot when it was killed. */
function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // The client has removed it, or it holds something else.
  }
}

function plainLog(log: Logger): { info(text: string): void; warn(text: string): void } {
  return { info: (text) => log.info(text), warn: (text) => log.warn(text) };
}

function stopSignal(withParent: boolean): Promise<string> {
  return new Promise((resolve) => {
    if (withParent)
      process.stdin
        .on('error', () => resolve('error'))
        .on('close', () => resolve('end of input'))
        .resume();
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  });
}

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
  return version;
}
