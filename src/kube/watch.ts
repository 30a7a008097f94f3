import type { PodTrouble } from '../event/incident.ts';
import type { NoticeEvent } from '../event/types.ts';
import { KtraceError } from '../util/errors.ts';
import type { Api } from './api/api.ts';
import { REFLECTOR_DEFAULTS, Reflector, type ReflectorCounts, type ReflectorOptions } from './api/reflector.ts';
import { nodeFact, type PodFact, podFact, serviceFact, sliceFact } from './index/facts.ts';
import type { NamesIndex } from './index/names-index.ts';
import { PodTroubles } from './index/pod-troubles.ts';

export interface WatchOptions {
  log: { info(text: string): void; warn(text: string): void };
  now: () => number;
  unreachableAfterMs: number;
  reflector: Partial<ReflectorOptions>;
}

export interface WatchState {
  /** All first lists are in. */
  isSynced: boolean;
  /** Unix milliseconds since when some names are not up to date; undefined while all are. */
  staleSinceMs: number | undefined;
  /** Why, for a person. */
  reason: string | undefined;
  /** By kind: pods, services, endpointslices, nodes. */
  counts: Record<string, ReflectorCounts>;
}

export interface Watch {
  readonly synced: Promise<void>;
  state(): WatchState;
  onNotice(listener: (notice: NoticeEvent) => void): () => void;
  /** What goes wrong with the node's pods from now on. */
  onTrouble(listener: (trouble: PodTrouble) => void): () => void;
  close(): void;
}

/** Keeps an index equal to the API server's pods of its node, Services, EndpointSlices and Nodes. */
export function watchCluster(api: Api, index: NamesIndex, options: WatchOptions): Watch {
  const listeners = new Set<(notice: NoticeEvent) => void>();
  const troubleListeners = new Set<(trouble: PodTrouble) => void>();
  const troubles = new PodTroubles(options.now, (trouble) => {
    for (const listener of troubleListeners) listener(trouble);
  });
  const synced = Promise.withResolvers<void>();
  synced.promise.catch(() => undefined);
  const reflectorOptions = { ...REFLECTOR_DEFAULTS, now: options.now, ...options.reflector };
  const reflectors = reflectorsOf(api, index, troubles, reflectorOptions, () => onState());
  const sweeper = setInterval(() => index.sweep(), SWEEP_EVERY_MS).unref();
  let isTold = false;
  let timer: NodeJS.Timeout | undefined;
  let lastReason: string | undefined;

  const tell = (level: NoticeEvent['level'], code: NoticeEvent['code'], text: string) => {
    for (const listener of listeners) listener({ v: 1, kind: 'notice', node: index.node, level, code, text });
  };
  const sayUnreachable = () => {
    const { staleSinceMs, reason } = state();
    if (staleSinceMs === undefined || isTold) return;
    isTold = true;
    const since = new Date(staleSinceMs).toISOString();
    tell('warn', 'KTRACE_N_API_UNREACHABLE', `Names of pods and Services are as of ${since}: ${reason}`);
  };
  const sayBack = () => {
    isTold = false;
    tell('info', 'KTRACE_N_API_BACK', 'The API server answers again; names of pods and Services are up to date');
  };
  const onState = () => {
    const { isSynced, staleSinceMs, reason } = state();
    if (isSynced) synced.resolve();
    if (reason !== undefined && reason !== lastReason) options.log.warn(reason);
    lastReason = reason;
    if (staleSinceMs !== undefined) {
      timer ??= setTimeout(sayUnreachable, options.unreachableAfterMs).unref();
      return;
    }
    if (timer) options.log.info('all watches of the API server work again');
    clearTimeout(timer);
    timer = undefined;
    if (isTold) sayBack();
  };
  const state = (): WatchState => {
    const stale = reflectors.map((one) => one.stale).filter((one) => one !== undefined);
    const first = stale.toSorted((a, b) => a.sinceMs - b.sinceMs)[0];
    return {
      isSynced: reflectors.every((one) => one.isSynced),
      staleSinceMs: first?.sinceMs,
      reason: first?.reason,
      counts: Object.fromEntries(reflectors.map((one) => [one.name, { ...one.counts }])),
    };
  };

  for (const one of reflectors) void one.run();
  return {
    synced: synced.promise,
    state,
    onNotice(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onTrouble(listener) {
      troubleListeners.add(listener);
      return () => troubleListeners.delete(listener);
    },
    close() {
      clearTimeout(timer);
      clearInterval(sweeper);
      listeners.clear();
      troubleListeners.clear();
      for (const one of reflectors) one.close();
      synced.reject(new KtraceError('KTRACE_E_CLOSED', 'The watch of the API server was closed before its first lists were in'));
    },
  };
}

const SWEEP_EVERY_MS = 30_000;

type Running = Pick<Reflector<unknown>, 'name' | 'counts' | 'stale' | 'isSynced' | 'run' | 'close'>;

function reflectorsOf(
  api: Api,
  index: NamesIndex,
  troubles: PodTroubles,
  options: ReflectorOptions,
  onState: () => void,
): Running[] {
  const pods = new Reflector(
    'pods',
    api,
    '/api/v1/pods',
    { fieldSelector: `spec.nodeName=${index.node}` },
    {
      // An API server that knows no field selectors must not make other nodes' pods this one's.
      reduce: (raw) => only(podFact(raw), index.node),
      // Troubles before names: who is told of one finds the pod as it was.
      replace(all) {
        troubles.replace(all);
        index.replacePods(all);
      },
      put(one) {
        troubles.put(one);
        index.putPod(one);
      },
      drop(one) {
        troubles.drop(one);
        index.dropPod(one.uid);
      },
    },
    onState,
    options,
  );
  const services = new Reflector(
    'services',
    api,
    '/api/v1/services',
    {},
    {
      reduce: serviceFact,
      replace: (all) => index.replaceServices(all),
      put: (one) => index.putService(one),
      drop: (one) => index.dropService(one.namespace, one.name),
    },
    onState,
    options,
  );
  const slices = new Reflector(
    'endpointslices',
    api,
    '/apis/discovery.k8s.io/v1/endpointslices',
    {},
    {
      reduce: sliceFact,
      replace: (all) => index.replaceSlices(all),
      put: (one) => index.putSlice(one),
      drop: (one) => index.dropSlice(one.namespace, one.name),
    },
    onState,
    options,
  );
  const nodes = new Reflector(
    'nodes',
    api,
    '/api/v1/nodes',
    {},
    {
      reduce: nodeFact,
      replace: (all) => index.replaceNodes(all),
      put: (one) => index.putNode(one),
      drop: (one) => index.dropNode(one.name),
    },
    onState,
    options,
  );
  return [pods, services, slices, nodes];
}

function only(pod: PodFact | undefined, node: string): PodFact | undefined {
  return pod?.node === node ? pod : undefined;
}
