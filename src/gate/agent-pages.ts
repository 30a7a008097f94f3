import { type AgentAnswer, askAgent } from './agent-request.ts';

/** How old a page may be that is given once more. */
const MAX_AGE_MS = 1000;

/** The agent's pages. However often they are wanted, the agent is asked for each once a second, and by one request at a time that all wait for. */
export class AgentPages {
  readonly #ask: (path: string) => Promise<AgentAnswer>;
  readonly #nowMs: () => number;
  readonly #pages = new Map<string, { askedMs: number; isUnderWay: boolean; answer: Promise<AgentAnswer> }>();

  /** @param nowMs milliseconds of a clock that is never stepped */
  constructor(socketPath: string, timeoutMs: number, nowMs: () => number) {
    this.#ask = (path) => askAgent(socketPath, path, timeoutMs);
    this.#nowMs = nowMs;
  }

  /**
   * One of a few pages: each is kept. A failure is told to all who wait for it, and not kept.
   * @throws KtraceError KTRACE_E_AGENT_DOWN, KTRACE_E_AGENT_SILENT
   */
  async get(path: string): Promise<AgentAnswer> {
    const nowMs = this.#nowMs();
    const known = this.#pages.get(path);
    if (known !== undefined && (known.isUnderWay || nowMs - known.askedMs < MAX_AGE_MS)) return known.answer;
    const page = { askedMs: nowMs, isUnderWay: true, answer: this.#ask(path) };
    this.#pages.set(path, page);
    try {
      return await page.answer;
    } catch (error) {
      this.#pages.delete(path);
      throw error;
    } finally {
      page.isUnderWay = false;
    }
  }
}
