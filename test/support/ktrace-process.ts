import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FollowedPods, KtraceEvent, NoticeEvent, PacketEvent } from '../../src/event/types.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { keepOnFailure } from './evidence.ts';
import { folded, toldPacket } from './told.ts';
import { PATIENCE_MS, until } from './until.ts';

const ROOT = join(import.meta.dirname, '..', '..');
/** Clocks are known to within less, and what was on its way when the last agent began is over. */
const SETTLES_MS = 500;

/** All nodes are reached. */
const FOLLOWING = /^ktrace: following (?!.*; not reached: ).*\n/m;

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** Throws for a packet that is not, or not yet, as it must be. */
export type Check = (packet: PacketEvent) => void;

/** `bin/ktrace` as a user starts it, with all that it says. */
export class KtraceProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stderr = '';
  readonly #isGroup: boolean;
  #hasEnded = false;
  /** Pieces of stdout; and what of it is whole lines not read yet, with the beginning of another behind. */
  #pieces: string[] = [];
  #lines: string[] = [];
  #rest = '';
  readonly #events: KtraceEvent[] = [];
  readonly #packets: PacketEvent[] = [];
  readonly #notices: NoticeEvent[] = [];
  /** The client's clock when it was following for the first time. */
  #followingMs: number | undefined;

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
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#take(text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      if (FOLLOWING.test(this.stderr)) this.#followingMs ??= Date.now();
    });
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => {
        this.#hasEnded = true;
        resolve({ code, signal });
      });
    });
    keepOnFailure(`ktrace-${argv[0]}`, (folder) => {
      writeFileSync(join(folder, 'argv.txt'), `${argv.join(' ')}\n`);
      writeFileSync(join(folder, 'stderr.txt'), this.stderr);
      writeFileSync(join(folder, 'stdout.txt'), this.stdout);
    });
  }

  get stdout(): string {
    if (this.#pieces.length > 1) this.#pieces = [this.#pieces.join('')];
    return this.#pieces[0] ?? '';
  }

  /** Every whole line of stdout, each of which must be JSON. */
  get events(): readonly KtraceEvent[] {
    this.#read();
    return this.#events;
  }

  /** All tellings of packets, in order: those that amend among them. */
  get packets(): readonly PacketEvent[] {
    this.#read();
    return this.#packets;
  }

  get notices(): readonly NoticeEvent[] {
    this.#read();
    return this.#notices;
  }

  #read(): void {
    for (const line of this.#lines.splice(0)) {
      const event = JSON.parse(line) as KtraceEvent;
      this.#events.push(event);
      if (event.kind === 'packet') this.#packets.push(event);
      if (event.kind === 'notice') this.#notices.push(event);
    }
  }

  /** Each packet as it was told last, of those that were on their way after all nodes followed. */
  get settled(): PacketEvent[] {
    const sinceMs = (this.#followingMs ?? Number.POSITIVE_INFINITY) + SETTLES_MS;
    return folded(this.packets).filter(({ time }) => Date.parse(time) > sinceMs);
  }

  /** Waits until every agent follows: from then on one packet is enough. With a condition, until it is so of what was told last of it. */
  following(isIt: (following: FollowedPods) => boolean = ({ missing }) => missing.length === 0): Promise<FollowedPods> {
    return this.until('it is following', () => {
      const last = this.notices.findLast(({ code }) => code === 'KTRACE_N_FOLLOWING')?.following;
      return last !== undefined && isIt(last) && last;
    });
  }

  /** The same for a follow that prints text. */
  followingAsText(): Promise<true> {
    return this.until('it is following', () => FOLLOWING.test(this.stderr));
  }

  /** Waits until the condition holds; tells what was said on stderr when it does not come to hold, or the process ended before. */
  async until<T>(
    what: string,
    ask: () => T | undefined | false,
    timeoutMs = PATIENCE_MS,
  ): Promise<Exclude<T, undefined | false>> {
    const isOver = (): string | undefined => (this.#hasEnded ? 'ktrace ended before' : undefined);
    const attempt = (): T | undefined | false => {
      const why = isOver();
      const answer = ask();
      if ((answer === undefined || answer === false) && why !== undefined) throw new Error(`${what}: ${why}`);
      return answer;
    };
    try {
      return await until(what, attempt, timeoutMs);
    } catch (error) {
      throw this.#withOutput(error);
    }
  }

  /** The first packet that is so, once the assertions hold for it: for one that the test itself sent, after `following`. */
  packet(what: string, isIt: (packet: PacketEvent) => boolean, check?: Check, timeoutMs = PATIENCE_MS): Promise<PacketEvent> {
    return this.#told(what, () => this.packets, isIt, check, timeoutMs);
  }

  /** The same for the first that was on its way after all nodes followed: for what goes on by itself. */
  settledPacket(what: string, isIt: (packet: PacketEvent) => boolean, check?: Check): Promise<PacketEvent> {
    return this.#told(what, () => this.settled, isIt, check, PATIENCE_MS);
  }

  async #told(
    what: string,
    tellings: () => readonly PacketEvent[],
    isIt: (packet: PacketEvent) => boolean,
    check: Check = () => undefined,
    timeoutMs: number,
  ): Promise<PacketEvent> {
    try {
      return await toldPacket(what, tellings, isIt, {
        check,
        timeoutMs,
        over: () => (this.#hasEnded ? 'ktrace ended before' : undefined),
      });
    } catch (error) {
      throw this.#withOutput(error);
    }
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

  #take(text: string): void {
    this.#pieces.push(text);
    const end = text.lastIndexOf('\n');
    if (end < 0) {
      this.#rest += text;
      return;
    }
    this.#lines.push(...`${this.#rest}${text.slice(0, end)}`.split('\n'));
    this.#rest = text.slice(end + 1);
  }

  #withOutput(error: unknown): unknown {
    if (error instanceof Error)
      error.message += `\nstderr:\n${this.stderr.slice(-2000)}\nstdout ends:\n${this.stdout.slice(-2000)}`;
    return error;
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
  const timer = setTimeout(() => ktrace.child.kill('SIGKILL'), PATIENCE_MS);
  const { code } = await ktrace.ended;
  clearTimeout(timer);
  return { code, stdout: ktrace.stdout, stderr: ktrace.stderr };
}
