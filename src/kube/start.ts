import type { PodTrouble } from '../event/incident.ts';
import type { Target } from '../event/target.ts';
import type { NoticeEvent } from '../event/types.ts';
import { type KubeAccess, openApi } from './api/api.ts';
import type { ReflectorOptions } from './api/reflector.ts';
import type { Change } from './index/changes.ts';
import { NamesIndex } from './index/names-index.ts';
import type { Names, Place, ProxyMode } from './index/types.ts';
import { PROXY_MODE_URL, type ProxyModeOptions, watchProxyMode } from './proxy-mode.ts';
import { type Namespaces, type ResolvedTargets, resolveTargets } from './targets.ts';
import { type Watch, type WatchState, watchCluster } from './watch.ts';

export interface KubeOptions {
  /** A `KubeConfig` of `@kubernetes/client-node`, or the pod's own service account by `inClusterAccess`. */
  kubeConfig: KubeAccess;
  /** The node that this agent is on. */
  node: string;
  /** Told once per failure of a watch, and when it works again. */
  log?: { info(text: string): void; warn(text: string): void };
  /** Unix milliseconds. */
  now?: () => number;
  /** Told by kube-proxy itself on this node when absent. */
  proxyMode?: ProxyMode;
  /** For tests: where and how soon kube-proxy is asked. */
  askProxyMode?: ProxyModeOptions;
  /** For tests: pauses, timeouts, page size. */
  reflector?: Partial<ReflectorOptions>;
  /** How long the API server may be away before a notice says so. */
  unreachableAfterMs?: number;
}

/** What an agent knows of its cluster. */
export interface Kube {
  readonly names: Names;
  readonly index: NamesIndex;
  /** What targets stand for now; see {@link resolveTargets}. */
  resolve(targets: readonly Target[], extra?: readonly string[], allowed?: Namespaces): ResolvedTargets;
  /** See {@link NamesIndex.placeOf}. */
  placeOf(ip: string, namespaces: ReadonlySet<string>): Place;
  /** Called after every change of the index, often in bursts; returns what ends it. */
  onChange(listener: (change: Change) => void): () => void;
  /**
   * KTRACE_N_API_UNREACHABLE and KTRACE_N_API_BACK; KTRACE_N_PROXY_MODE_UNKNOWN, and KTRACE_N_PROXY_MODE when it is known after that. The second of
   * each pair ends the first.
   */
  onNotice(listener: (notice: NoticeEvent) => void): () => void;
  /** What goes wrong with this node's pods, see {@link PodTrouble}. */
  onTrouble(listener: (trouble: PodTrouble) => void): () => void;
  /** When the first lists are all in. Rejects with KTRACE_E_CLOSED when closed before. */
  synced(): Promise<void>;
  /** How up to date the names are, for readiness and metrics. */
  state(): WatchState;
  /** Ends all watches at once. */
  close(): void;
}

/**
 * Starts to watch what an agent needs to know of its cluster: the pods of its own node, Services, EndpointSlices, Nodes.
 * @throws KtraceError KTRACE_E_KUBECONFIG
 */
export function startKube(options: KubeOptions): Kube {
  const { node, now = Date.now } = options;
  const index = new NamesIndex({ node, now });
  const watch: Watch = watchCluster(openApi(options.kubeConfig), index, {
    log: options.log ?? SILENT,
    now,
    unreachableAfterMs: options.unreachableAfterMs ?? UNREACHABLE_AFTER_MS,
    reflector: options.reflector ?? {},
  });
  const listeners = new Set<(notice: NoticeEvent) => void>();
  const tell = (code: NoticeEvent['code'], text: string) => {
    for (const listener of listeners) listener({ v: 1, kind: 'notice', node, level: 'info', code, text });
  };
  let isUnknown = false;
  const setMode = (mode: ProxyMode | undefined) => {
    index.proxyMode = mode;
    if (mode === undefined) tell('KTRACE_N_PROXY_MODE_UNKNOWN', MODE_UNKNOWN);
    else if (isUnknown) tell('KTRACE_N_PROXY_MODE', `kube-proxy's mode on this node is known now: ${mode}`);
    isUnknown = mode === undefined;
  };
  const stopDetecting = options.proxyMode ? setMode(options.proxyMode) : watchProxyMode(setMode, options.askProxyMode);
  return {
    names: index,
    index,
    resolve: (targets, extra = [], allowed = 'all') => resolveTargets(targets, index, extra, allowed),
    placeOf: (ip, namespaces) => index.placeOf(ip, namespaces),
    onChange: (listener) => index.onChange(listener),
    onNotice(listener) {
      listeners.add(listener);
      const stop = watch.onNotice(listener);
      return () => {
        listeners.delete(listener);
        stop();
      };
    },
    onTrouble: (listener) => watch.onTrouble(listener),
    synced: () => watch.synced,
    state: () => watch.state(),
    close() {
      stopDetecting?.();
      listeners.clear();
      watch.close();
    },
  };
}

const UNREACHABLE_AFTER_MS = 5000;
const MODE_UNKNOWN = `kube-proxy's mode on this node is not known, nothing tells it at ${PROXY_MODE_URL}: translations come without chains`;
const SILENT = { info: () => undefined, warn: () => undefined };
