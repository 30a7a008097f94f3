import type { Duplex } from 'node:stream';
import type { KubeConfig } from '@kubernetes/client-node';
import type { Target } from '../../event/target.ts';
import type { KtraceEvent } from '../../event/types.ts';
import { EXIT } from '../../util/errors.ts';
import type { Api } from '../cluster/api.ts';
import type { NodeWatch } from '../cluster/node-watch.ts';
import type { ReadFilter } from '../merge/follow-filter.ts';
import { FollowOutput } from '../output/follow-output.ts';
import { undecidedText } from '../render/snap-text.ts';
import { isIncomplete, silenceText, summaryText } from '../render/summary.ts';
import { onlyNamespace } from '../render/target-text.ts';
import { followFilterFile } from './live-filter.ts';
import { NodeStreams } from './node-streams.ts';
import type { FollowIo, FollowOptions } from './options.ts';
import type { ReadyFile } from './ready-file.ts';
import { Silence } from './silence.ts';

/** What is asked for, and where. */
export interface Surroundings {
  options: FollowOptions;
  io: FollowIo;
  config: KubeConfig;
  targets: Target[];
  filter: ReadFilter | undefined;
  /** As it was written. */
  filterText: string;
  readyFile: ReadyFile | undefined;
  api: Api;
}

/** How agents are found and reached. */
export interface Reach {
  /** Which nodes there are to be followed. */
  watch: Pick<NodeWatch, 'start' | 'peers' | 'close'>;
  /** What says who asks, at this moment. */
  tokens(): readonly string[];
  /** A connection to a node's agent. */
  dial(node: string, signal: AbortSignal): Promise<Duplex>;
  onBegin(streams: NodeStreams, fail: (error: unknown) => void): unknown;
}

/** Not an exit code: whoever read stdout has enough. */
const READER_GONE = -1;

/** One follow: streams of nodes to an output, until one of its ends, and then what it was. */
export class FollowSession {
  readonly #surroundings: Surroundings;
  readonly #reach: Reach;
  readonly #streams: NodeStreams;
  readonly #silence: Silence;
  readonly #output: FollowOutput;
  readonly #end = Promise.withResolvers<number>();
  readonly #startedMs = performance.now();
  #limit: NodeJS.Timeout | undefined;
  #looks: NodeJS.Timeout | undefined;
  #hasBegun = false;

  constructor(surroundings: Surroundings, reach: Reach) {
    this.#surroundings = surroundings;
    this.#reach = reach;
    this.#streams = this.#connectedStreams();
    this.#silence = new Silence({
      nowMs: () => performance.now(),
      say: (text) => this.#say(text),
      reason: (seconds) => silenceText(this.#streams.status(), seconds, this.#output.shown.records),
    });
    this.#output = this.#pacedOutput();
  }

  /** Follows until the first end: an interrupt, a limit, a failure, a reader that is gone. Gives the exit code; throws KtraceError. To be called once. */
  async run(): Promise<number> {
    const { options, io, filterText } = this.#surroundings;
    const streams = this.#streams;
    const interrupted = (): void => this.#end.resolve(EXIT.interrupted);
    io.interrupt.addEventListener('abort', interrupted);
    if (io.interrupt.aborted) interrupted();
    this.#lookForSilence();
    const filterFile =
      options.filterFile === undefined ? undefined : followFilterFile(options.filterFile, filterText, streams, io, options);
    this.#reach.onBegin(streams, (error) => this.#end.reject(error));
    this.#reach.watch.start(streams);
    try {
      const [ended] = await Promise.allSettled([this.#end.promise]);
      await streams.close();
      await this.#output.end();
      return this.#exitCode(ended);
    } finally {
      io.interrupt.removeEventListener('abort', interrupted);
      clearTimeout(this.#looks);
      clearTimeout(this.#limit);
      filterFile?.close();
      this.#reach.watch.close();
      await streams.close();
    }
  }

  #lookForSilence(): void {
    this.#looks = setTimeout(() => this.#lookForSilence(), this.#silence.look());
  }

  #connectedStreams(): NodeStreams {
    const { options, io, targets, filter } = this.#surroundings;
    return new NodeStreams({
      targets,
      units: options.packets ? 'packets' : 'flows',
      headers: options.output === 'pcapng',
      filter,
      snapBytes: options.snapBytes,
      data: options.snapBytes !== undefined && options.output === 'json',
      version: io.version,
      tokens: this.#reach.tokens,
      dial: this.#reach.dial,
      tell: (event) => this.#show(event),
      failed: (error) => this.#end.reject(error),
      began: () => {
        this.#hasBegun = true;
        if (options.forMs !== undefined) this.#limit = setTimeout(() => this.#end.resolve(EXIT.ok), options.forMs);
      },
      nowMs: () => performance.timeOrigin + performance.now(),
    });
  }

  #pacedOutput(): FollowOutput {
    const { options, io, targets } = this.#surroundings;
    return new FollowOutput({ ...options, here: onlyNamespace(targets) }, io, {
      full: () => {
        this.#streams.pause();
        this.#silence.readerFull();
      },
      drained: () => {
        this.#silence.readerDrained();
        this.#streams.resume();
      },
      gone: () => this.#end.resolve(READER_GONE),
    });
  }

  #show(event: KtraceEvent): void {
    const { count } = this.#surroundings.options;
    const { shown } = this.#output;
    if (event.kind === 'notice' && event.following !== undefined) this.#writeReadyFile(event.text);
    if (count !== undefined && shown.packets >= count) return;
    this.#output.tell(event);
    if (event.kind !== 'packet' && event.kind !== 'flow') return;
    this.#reach.watch.peers(event);
    this.#silence.ends();
    if (shown.packets === count) this.#end.resolve(EXIT.ok);
  }

  #writeReadyFile(text: string): void {
    try {
      this.#surroundings.readyFile?.ready(text);
    } catch (error) {
      this.#end.reject(error);
    }
  }

  /** Every way out tells the summary once something was followed, that of a failure too; not where nobody reads any more. */
  #exitCode(ended: PromiseSettledResult<number>): number {
    const { strict, snapBytes } = this.#surroundings.options;
    if (ended.status === 'fulfilled' && ended.value === READER_GONE) return EXIT.ok;
    const status = this.#streams.status();
    if (this.#hasBegun) {
      const seconds = (performance.now() - this.#startedMs) / 1000;
      for (const line of summaryText(status, this.#output.shown, seconds).split('\n')) this.#say(line);
      const undecided = undecidedText(status.undecided, snapBytes);
      if (undecided !== undefined) this.#say(undecided);
    }
    if (ended.status === 'rejected') throw ended.reason;
    return ended.value === EXIT.ok && strict && isIncomplete(status) ? EXIT.incomplete : ended.value;
  }

  #say(text: string): void {
    this.#surroundings.io.stderr.write(`ktrace: ${text}\n`);
  }
}
