import type { Endpoint, FlowEvent, NoticeEvent, PacketEvent } from '../../event/types.ts';
import { LINGER_MS } from '../../protocol/constants.ts';
import { KtraceError, messageOf } from '../../util/errors.ts';
import { listText } from '../../util/many-text.ts';
import type { Api } from './api.ts';
import { type Gate, listGates } from './gates.ts';

/** A follow reaches up to so many nodes: where there are more, those of the targets and of their peers. */
export const MAX_NODES = 50;

export interface NodeWatchOptions {
  api: Api;
  namespace: string;
  gates: Map<string, Gate>;
  /** The nodes that matter; undefined: all, as long as they are not too many. */
  wanted: Set<string> | undefined;
  /** The nodes that the targets' pods are on now; undefined: all. Asked where not all nodes are followed. */
  targetNodes?(signal: AbortSignal): Promise<Set<string> | undefined>;
  /** Between two looks, before jitter. */
  everyMs?: number;
  /** A node that has had no gate for so long is left. */
  leaveAfterMs?: number;
  /** Milliseconds of a clock that is never stepped. */
  nowMs?(): number;
}

/** As long as an agent keeps a session whose connection broke: a gate that is replaced meanwhile costs nothing. */
const LEAVE_AFTER_MS = LINGER_MS;
/** Between two questions for the targets' nodes: an answer may have thousands of pods. */
const TARGETS_EVERY_MS = 15_000;

/** Who reads the nodes that a watch keeps. */
export interface NodeReader {
  /** From now on these; those that are not among them are left. */
  setNodes(nodes: ReadonlySet<string>): void;
  /** The node's gate is another one now, or is ready again. */
  retryNow(node: string): void;
  notice(level: NoticeEvent['level'], code: NoticeEvent['code'], text: string): void;
}

/** Keeps a follow's nodes to those that have a gate and matter, by looking at the gates every few seconds. */
export class NodeWatch {
  readonly #options: NodeWatchOptions;
  readonly #abort = new AbortController();
  #gates: Map<string, Gate>;
  /** Nodes that had a gate: since when they have none. */
  readonly #gateless = new Map<string, number>();
  #reader: NodeReader | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isBlind = false;
  #wanted: Set<string> | undefined;
  /** Nodes that matter and are too many. */
  readonly #leftOut = new Set<string>();
  #hasToldLeftOut = false;
  #askedTargetsAtMs = Number.NEGATIVE_INFINITY;
  #isTargetsBlind = false;

  constructor(options: NodeWatchOptions) {
    this.#options = options;
    this.#gates = options.gates;
    this.#wanted = options.wanted;
  }

  /** The gate that leads to the node now; throws KTRACE_E_NO_AGENT. */
  gateOf(node: string): Gate {
    const gate = this.#gates.get(node);
    if (gate?.isReady === true) return gate;
    throw new KtraceError(
      'KTRACE_E_NO_AGENT',
      gate === undefined ? `Node ${node} has no agent` : `The agent of node ${node} is not ready`,
    );
  }

  start(reader: NodeReader): void {
    this.#reader = reader;
    reader.setNodes(this.#nodes());
    this.#lookLater();
  }

  /** Peers of what is followed have nodes that matter too. */
  peers(event: PacketEvent | FlowEvent): void {
    if (this.#wanted === undefined) return;
    const ends: Endpoint[] = [event.src, event.dst, ...(event.nat ?? []).map(({ after }) => after)];
    if (this.#want(ends.flatMap(({ pod, node }) => pod?.node ?? node ?? []))) this.#reader?.setNodes(this.#nodes());
  }

  close(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
  }

  #nodes(): Set<string> {
    const wanted = this.#wanted;
    return new Set([...this.#gates.keys(), ...this.#gateless.keys()].filter((node) => wanted === undefined || wanted.has(node)));
  }

  /** Adds nodes that have a gate, as far as there is room; whether there are new ones among them. */
  #want(names: Iterable<string>): boolean {
    const wanted = this.#wanted ?? new Set();
    const before = wanted.size;
    for (const name of names) {
      if (!this.#gates.has(name) || wanted.has(name)) continue;
      if (wanted.size < MAX_NODES) wanted.add(name);
      else this.#leftOut.add(name);
    }
    return wanted.size > before;
  }

  /** Those of the first seconds together, once: who is told has to name fewer targets, however many more there will be. */
  #tellLeftOut(): void {
    if (this.#hasToldLeftOut || this.#leftOut.size === 0) return;
    this.#hasToldLeftOut = true;
    const text = `a follow reaches ${MAX_NODES} nodes; what only others see is not told: ${listText([...this.#leftOut].sort())}`;
    this.#reader?.notice('warn', 'KTRACE_N_NODES_LEFT_OUT', text);
  }

  #lookLater(): void {
    if (this.#abort.signal.aborted) return;
    const pause = (this.#options.everyMs ?? 5000) * (0.8 + Math.random() * 0.4);
    this.#timer = setTimeout(() => void this.#look(), pause);
  }

  async #look(): Promise<void> {
    try {
      this.#adopt(await listGates(this.#options.api, this.#options.namespace, this.#abort.signal));
    } catch (error) {
      if (!this.#isBlind && !this.#abort.signal.aborted) {
        this.#isBlind = true;
        this.#reader?.notice(
          'warn',
          'KTRACE_N_API_UNREACHABLE',
          `${messageOf(error)}; following goes on with the nodes that are known`,
        );
      }
    }
    await this.#lookForTargets();
    this.#tellLeftOut();
    this.#lookLater();
  }

  /** A target's pod may have moved to a node that is not followed. */
  async #lookForTargets(): Promise<void> {
    const { targetNodes, nowMs = () => performance.now() } = this.#options;
    if (this.#wanted === undefined || targetNodes === undefined || nowMs() - this.#askedTargetsAtMs < TARGETS_EVERY_MS) return;
    this.#askedTargetsAtMs = nowMs();
    try {
      const nodes = await targetNodes(this.#abort.signal);
      this.#isTargetsBlind = false;
      if (this.#want(nodes ?? this.#gates.keys())) this.#reader?.setNodes(this.#nodes());
    } catch (error) {
      if (this.#isTargetsBlind || this.#isBlind || this.#abort.signal.aborted) return;
      this.#isTargetsBlind = true;
      const text = `${messageOf(error)}; nodes that the targets' pods move to are not followed`;
      this.#reader?.notice('warn', 'KTRACE_N_API_UNREACHABLE', text);
    }
  }

  #adopt(gates: Map<string, Gate>): void {
    const reader = this.#reader;
    // Port-forwards go through the API server: they can stand again now.
    const isBack = this.#isBlind;
    if (isBack) reader?.notice('info', 'KTRACE_N_API_BACK', 'the API server answers again');
    this.#isBlind = false;
    const before = this.#gates;
    this.#gates = gates;
    this.#noteGateless(before);
    // The cluster has grown: from here on it is followed as a large one.
    if (this.#wanted === undefined && gates.size > MAX_NODES) {
      this.#wanted = new Set([...before.keys(), ...this.#gateless.keys()].slice(0, MAX_NODES));
    }
    reader?.setNodes(this.#nodes());
    for (const [node, gate] of gates) {
      const known = before.get(node);
      if (gate.isReady && (isBack || known?.isReady === false || known?.name !== gate.name)) reader?.retryNow(node);
    }
  }

  /** A gate that is replaced is away for a moment only: its node is kept, and tried again like one whose connection broke. */
  #noteGateless(before: ReadonlyMap<string, Gate>): void {
    const { nowMs = () => performance.now(), leaveAfterMs = LEAVE_AFTER_MS } = this.#options;
    for (const node of before.keys()) if (!this.#gates.has(node)) this.#gateless.set(node, nowMs());
    for (const [node, sinceMs] of this.#gateless) {
      const isBack = this.#gates.has(node);
      if (!isBack && nowMs() - sinceMs < leaveAfterMs) continue;
      this.#gateless.delete(node);
      if (!isBack) this.#wanted?.delete(node);
    }
  }
}
