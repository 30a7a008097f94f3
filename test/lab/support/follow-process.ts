import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { KtraceEvent, NoticeEvent, PacketEvent } from '../../../src/event/types.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { waitFor } from '../../../src/lab/wait.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');
/** Long: the machine has two cores, and other tests may run on them. */
const PATIENCE_MS = 30_000;

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** `bin/ktrace` as a user starts it, with all that it says. */
export class KtraceProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';
  readonly #isGroup: boolean;
  #parsed: KtraceEvent[] = [];
  #parsedTo = 0;

  constructor(argv: readonly string[], options: { env?: Record<string, string>; before?: readonly string[] } = {}) {
    const [program = '', ...args] = [...(options.before ?? []), process.execPath, join(ROOT, 'bin', 'ktrace'), ...argv];
    const { KUBECONFIG: _, ...env } = process.env;
    // Whatever stands before it may be a shell, which would keep a signal to itself.
    this.#isGroup = options.before !== undefined;
    this.child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...env, ...options.env },
      detached: this.#isGroup,
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => resolve({ code, signal }));
    });
  }

  /** Every whole line of stdout, each of which must be JSON. */
  get events(): readonly KtraceEvent[] {
    for (;;) {
      const end = this.stdout.indexOf('\n', this.#parsedTo);
      if (end < 0) return this.#parsed;
      this.#parsed.push(JSON.parse(this.stdout.slice(this.#parsedTo, end)) as KtraceEvent);
      this.#parsedTo = end + 1;
    }
  }

  get packets(): PacketEvent[] {
    return this.events.filter((event) => event.kind === 'packet');
  }

  get notices(): NoticeEvent[] {
    return this.events.filter((event) => event.kind === 'notice');
  }

  /** Waits until the condition holds; tells what was said on stderr when it does not come to hold, or the process ended before. */
  async until<T>(
    what: string,
    ask: () => T | undefined | false,
    timeoutMs = PATIENCE_MS,
  ): Promise<Exclude<T, undefined | false>> {
    let hasEnded = false;
    void this.ended.then(() => {
      hasEnded = true;
    });
    const answer = await waitFor(
      () => {
        const ended = hasEnded;
        const value = ask();
        return value === undefined || value === false ? ended && 'ended' : { value };
      },
      timeoutMs,
      50,
    );
    if (typeof answer === 'object') return answer.value as Exclude<T, undefined | false>;
    const why = answer === 'ended' ? 'ktrace ended before' : `not within ${timeoutMs} ms`;
    throw new Error(`${what}: ${why}. stderr:\n${this.stderr.slice(-2000)}\nstdout ends:\n${this.stdout.slice(-2000)}`);
  }

  /** Waits for a packet that is so, told first or again. */
  packet(what: string, isIt: (packet: PacketEvent) => boolean, timeoutMs?: number): Promise<PacketEvent> {
    return this.until(what, () => this.packets.find(isIt), timeoutMs);
  }

  /** Interrupts it as Ctrl-C does, and waits for its end. */
  async interrupt(): Promise<Ended> {
    this.#signal('SIGINT');
    return this.ended;
  }

  async kill(): Promise<void> {
    this.#signal('SIGCONT');
    this.#signal('SIGKILL');
    await this.ended;
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    if (this.#isGroup && this.child.pid !== undefined) process.kill(-this.child.pid, signal);
    else this.child.kill(signal);
  }
}

/** `ktrace follow …` in a lab. */
export function startFollow(lab: Lab, ...argv: string[]): KtraceProcess {
  return new KtraceProcess(['follow', '--kubeconfig', lab.kubeconfig, ...argv]);
}

/** Runs `ktrace` to its end. */
export async function runKtrace(
  argv: readonly string[],
  options: { env?: Record<string, string>; before?: readonly string[] } = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const ktrace = new KtraceProcess(argv, options);
  const timer = setTimeout(() => ktrace.child.kill('SIGKILL'), 60_000);
  const { code } = await ktrace.ended;
  clearTimeout(timer);
  return { code, stdout: ktrace.stdout, stderr: ktrace.stderr };
}
