import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { KtraceEvent, NoticeEvent } from '../../src/event/types.ts';
import { ktraceCommand, ktraceEnvironment } from '../../src/lab/agents.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { waitFor } from '../../src/lab/machine/wait.ts';

const KEPT_NOTICES = 100;
const KEPT_CHARS = 20_000;
const END_MS = 10_000;

/** A `ktrace follow -o json` as a user runs it; each event is handed on and not kept, but for the notices. */
export class Follower {
  readonly notices: NoticeEvent[] = [];
  /** The end of what it said on stderr. */
  said = '';
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  constructor(lab: Lab, argv: readonly string[], take: (event: KtraceEvent) => void) {
    const command = ['follow', ...argv, '-o', 'json', '--kubeconfig', lab.kubeconfig];
    // A group of its own: Ctrl-C is for the run, which ends it.
    this.#child = spawn(ktraceCommand(), command, {
      env: ktraceEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.#ended = once(this.#child, 'close');
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.said = (this.said + text).slice(-KEPT_CHARS);
    });
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const event = JSON.parse(line) as KtraceEvent;
      if (event.kind === 'notice' && this.notices.push(event) > KEPT_NOTICES) this.notices.shift();
      take(event);
    });
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Resolves when every agent follows; false: it ended or was told to wait no longer. */
  async following(signal: AbortSignal, timeoutMs: number): Promise<boolean> {
    const isFollowing = () => this.notices.some(({ following }) => following !== undefined && following.missing.length === 0);
    const over = () => !this.isAlive || signal.aborted;
    return (await waitFor(() => (isFollowing() ? 'yes' : over() && 'no'), timeoutMs)) === 'yes';
  }

  /** Ends it as Ctrl-C does; its summary is in `said` then. */
  async close(): Promise<void> {
    if (this.isAlive) this.#child.kill('SIGINT');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_MS);
    await this.#ended;
    clearTimeout(timer);
  }
}
