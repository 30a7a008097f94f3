import { Recent } from '../util/recent.ts';
import { type AgentAnswer, askAgent } from './agent-request.ts';

/** How old a page may be that is given once more. */
const MAX_AGE_MS = 1000;

/** The agent's pages. However often they are wanted, the agent is asked for each once a second, and by one request at a time that all wait for. */
export class AgentPages {
  readonly #recentOf: (path: string) => Recent<AgentAnswer>;
  readonly #pages = new Map<string, Recent<AgentAnswer>>();

  /** @param nowMs milliseconds of a clock that is never stepped */
  constructor(socketPath: string, timeoutMs: number, nowMs: () => number) {
    this.#recentOf = (path) => new Recent(() => askAgent(socketPath, path, timeoutMs), MAX_AGE_MS, nowMs);
  }

  /**
   * One of a few pages: each is kept. A failure is told to all who wait for it, and not kept.
   * @throws KtraceError KTRACE_E_AGENT_DOWN, KTRACE_E_AGENT_SILENT
   */
  get(path: string): Promise<AgentAnswer> {
    const page = this.#pages.get(path) ?? this.#recentOf(path);
    this.#pages.set(path, page);
    return page.get();
  }
}
