import { get } from 'node:http';
import type { ProxyMode } from './index/types.ts';

/** Where kube-proxy's metrics are by default, on every node (`metricsBindAddress`). */
export const PROXY_MODE_URL = 'http://127.0.0.1:10249/proxyMode';

const MODES: readonly string[] = ['iptables', 'nftables', 'ipvs'] satisfies ProxyMode[];

const ANSWER_MS = 2000;
const MAX_ANSWER_CHARS = 64;
/** Questions without an answer: one may be missed by an agent that is just starting. */
const UNKNOWN_AFTER = 3;
const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 5 * 60_000;

export interface ProxyModeOptions {
  url?: string;
  firstPauseMs?: number;
}

/**
 * Asks this node's kube-proxy for its mode and tells it, now and every few minutes: it may be started anew in another mode. Without an
 * answer it is asked again soon, then less and less often: it may come later than the agent, and an agent that is just starting may miss
 * an answer. Gives what ends it.
 * @param onMode with undefined, once, when several questions were not answered; a mode that was told stays, whatever comes after
 * @param options where and how soon to ask: for tests
 */
export function watchProxyMode(onMode: (mode: ProxyMode | undefined) => void, options: ProxyModeOptions = {}): () => void {
  const { url = PROXY_MODE_URL, firstPauseMs = FIRST_PAUSE_MS } = options;
  const ended = new AbortController();
  let pauseMs = firstPauseMs;
  let isTold = false;
  let unanswered = 0;
  let timer: NodeJS.Timeout | undefined;
  const ask = async (): Promise<void> => {
    const mode = await askProxyMode(url, ended.signal);
    if (ended.signal.aborted) return;
    if (mode === undefined) unanswered += 1;
    if (mode !== undefined || (!isTold && unanswered === UNKNOWN_AFTER)) onMode(mode);
    isTold ||= mode !== undefined;
    pauseMs = mode === undefined ? Math.min(pauseMs * 2, LAST_PAUSE_MS) : LAST_PAUSE_MS;
    timer = setTimeout(() => void ask(), pauseMs).unref();
  };
  void ask();
  return () => {
    ended.abort();
    clearTimeout(timer);
  };
}

/** Undefined when it does not answer, or answers something else. Not by `fetch`, which takes ten megabytes to load. */
function askProxyMode(url: string, signal: AbortSignal): Promise<ProxyMode | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { signal, timeout: ANSWER_MS }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
        if (text.length > MAX_ANSWER_CHARS) request.destroy();
      });
      response.on('close', () => {
        const mode = text.trim();
        resolve(response.complete && response.statusCode === 200 && MODES.includes(mode) ? (mode as ProxyMode) : undefined);
      });
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(undefined));
  });
}
