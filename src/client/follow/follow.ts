import type { Duplex, Writable } from 'node:stream';
import type { KubeConfig } from '@kubernetes/client-node';
import { neededScope } from '../../access/scope.ts';
import type { Target } from '../../event/target.ts';
import type { KtraceEvent } from '../../event/types.ts';
import type { LookUp } from '../../filter/evaluate/resolve.ts';
import type { AskedWords } from '../../filter/targets.ts';
import { GATE_PORT } from '../../protocol/constants.ts';
import { badArgument, EXIT, KtraceError, messageOf } from '../../util/errors.ts';
import { type Api, ApiError, createApi } from '../cluster/api.ts';
import { Credentials } from '../cluster/credentials.ts';
import { firstGates } from '../cluster/gates.ts';
import { contextNamespace, type KubeOptions, kubeSurroundings, loadKubeConfig } from '../cluster/kubeconfig.ts';
import { startLocalAgent } from '../cluster/local-agent.ts';
import { MAX_NODES, NodeWatch } from '../cluster/node-watch.ts';
import { forwardPort } from '../cluster/port-forward.ts';
import { checkTargets, nodesOf } from '../cluster/target-objects.ts';
import type { ReadFilter } from '../merge/follow-filter.ts';
import { readFilter } from '../merge/follow-filter.ts';
import { checkCaptureGoesTo } from '../output/capture-writer.ts';
import { FollowOutput } from '../output/follow-output.ts';
import type { OutputFormat } from '../output/output.ts';
import type { TextStyle } from '../render/lines/printer.ts';
import { pastHeadersText, undecidedText } from '../render/snap-text.ts';
import { escapeText } from '../render/style/escape.ts';
import { isIncomplete, silenceText, summaryText } from '../render/summary.ts';
import { onlyNamespace } from '../render/target-text.ts';
import { readFilterFile, watchFilterFile } from './filter-file.ts';
import { NodeStreams } from './node-streams.ts';
import { ReadyFile } from './ready-file.ts';
import { Silence } from './silence.ts';

export interface FollowOptions extends KubeOptions, TextStyle {
  /** What the command line asks for. */
  asked: AskedWords;
  /** A file that the filter is read from, and again when it changes. */
  filterFile?: string | undefined;
  ktraceNamespace: string;
  output: OutputFormat;
  packets: boolean;
  /** Of these, what was dropped. */
  drops?: boolean;
  /** So many bytes of each packet are captured, from the IP header on, where its headers are fewer. */
  snapBytes?: number | undefined;
  /** Packets to show before leaving. */
  count?: number | undefined;
  forMs?: number | undefined;
  strict: boolean;
  /** A file that is there as long as it follows. */
  readyFile?: string | undefined;
  /** By an agent of its own on this node, instead of the cluster's. */
  local?: boolean;
}

export interface FollowIo {
  stdout: Writable & { isTTY?: boolean; columns?: number };
  stderr: Writable & { isTTY?: boolean };
  /** Aborted when the user interrupts. */
  interrupt: AbortSignal;
  env: Readonly<Record<string, string | undefined>>;
  findLab(): { name: string; kubeconfig: string } | undefined;
  /** The command that runs ktrace on this machine. */
  command: readonly string[];
  /** Addresses of hosts that a filter names. */
  lookUp: LookUp;
  /** This client's. */
  version: string;
}

/** Follows packets until interrupted, or for as long and as many as asked. Gives the exit code; throws KtraceError. */
export async function runFollow(options: FollowOptions, io: FollowIo): Promise<number> {
  // Mistakes in the words are told before any cluster is asked.
  if (options.output === 'pcapng') checkCaptureGoesTo(io.stdout);
  const text = filterText(options);
  const filter = await readFilter(text, io.lookUp, options.drops);
  const config = loadKubeConfig(
    options,
    kubeSurroundings(io.findLab, (text) => io.stderr.write(`ktrace: ${text}\n`)),
  );
  const targets = options.asked.targetsIn(contextNamespace(config));
  const readyFile = options.readyFile === undefined ? undefined : new ReadyFile(options.readyFile);
  for (const note of pastHeaders(filter, options.snapBytes)) io.stderr.write(`ktrace: ${note}\n`);
  const surroundings = {
    options,
    io,
    config,
    targets,
    filter,
    filterText: text,
    readyFile,
    api: createApi(config, options.requestTimeoutMs),
  };
  try {
    return await (options.local === true ? followLocally(surroundings) : followRemotely(surroundings));
  } finally {
    readyFile?.close();
  }
}

async function followRemotely(surroundings: Surroundings): Promise<number> {
  const { api, targets } = surroundings;
  const { ktraceNamespace, snapBytes } = surroundings.options;
  const credentials = new Credentials({ api, targets, ktraceNamespace, payloads: snapBytes !== undefined });
  try {
    return await followAs(credentials, surroundings);
  } catch (error) {
    throw await credentials.explain(error);
  } finally {
    credentials.close();
  }
}

async function followAs(credentials: Credentials, surroundings: Surroundings): Promise<number> {
  const { options, io, targets, api } = surroundings;
  const [gates] = await Promise.all([
    firstGates(api, options.ktraceNamespace, io.interrupt),
    checkTargets(api, targets, io.interrupt),
    credentials.fresh(),
  ]).catch((error: unknown) => {
    if (io.interrupt.aborted) return [undefined];
    throw error;
  });
  if (gates === undefined) return EXIT.interrupted;
  const wanted = gates.size <= MAX_NODES ? undefined : await targetNodes(api, targets, gates.size, io.interrupt);
  const watch = new NodeWatch({
    api,
    namespace: options.ktraceNamespace,
    gates,
    wanted,
    targetNodes: (signal) => nodesOf(api, targets, signal),
  });
  return follow({
    ...surroundings,
    watch,
    tokens: () => credentials.tokens(),
    dial: async (node, signal) => {
      await credentials.fresh();
      return forwardPort(surroundings.config, watch.gateOf(node), GATE_PORT, signal);
    },
    onBegin: (following) => {
      credentials.onRenewed = () => following.authenticate();
    },
  });
}

async function followLocally(surroundings: Surroundings): Promise<number> {
  const { api, config, targets, io } = surroundings;
  await checkTargets(api, targets, io.interrupt);
  const agent = await startLocalAgent({
    api,
    config,
    command: io.command,
    env: io.env,
    signal: io.interrupt,
    uid: process.getuid?.(),
  });
  try {
    return await follow({
      ...surroundings,
      watch: { start: (following) => following.setNodes(new Set([agent.node])), peers: () => undefined, close: () => undefined },
      tokens: () => [],
      dial: () => agent.dial(),
      onBegin: (_, fail) => agent.ended.catch(fail),
    });
  } finally {
    await agent.close();
  }
}

/** Which of a large cluster's nodes are followed at first. Throws KTRACE_E_TOO_MANY_NODES, and where the user may not ask KTRACE_E_API_FORBIDDEN. */
async function targetNodes(api: Api, targets: Target[], all: number, signal: AbortSignal): Promise<Set<string>> {
  let nodes: Set<string> | undefined;
  try {
    nodes = await nodesOf(api, targets, signal);
  } catch (cause) {
    if (!(cause instanceof ApiError) || cause.status !== 403) throw cause;
    const why = `The cluster has ${all} nodes, a follow reaches ${MAX_NODES}, and where the targets are you may not ask: ${cause.message}`;
    // A grant of everything has no right to list all namespaces' pods: who has that grant is told what is missing, not to ask for it.
    if (neededScope(targets) === 'all')
      throw new KtraceError('KTRACE_E_API_FORBIDDEN', why, { cause, hint: 'Follow targets of one namespace, with -n.' });
    throw new KtraceError('KTRACE_E_API_FORBIDDEN', why, { cause, exitCode: EXIT.notAuthorized });
  }
  if (nodes !== undefined && nodes.size <= MAX_NODES) return nodes;
  throw new KtraceError(
    'KTRACE_E_TOO_MANY_NODES',
    `The cluster has ${all} nodes, and the targets are on ${nodes?.size ?? 'all'} of them`,
    {
      hint: `A follow reaches up to ${MAX_NODES}: name pods, a workload or nodes.`,
    },
  );
}

interface Surroundings {
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

interface Parts extends Surroundings {
  /** Which nodes there are to be followed. */
  watch: Pick<NodeWatch, 'start' | 'peers' | 'close'>;
  /** What says who asks, at this moment. */
  tokens(): readonly string[];
  /** A connection to a node's agent. */
  dial(node: string, signal: AbortSignal): Promise<Duplex>;
  onBegin(following: NodeStreams, fail: (error: unknown) => void): unknown;
}

/** From here on something is followed. Every way out tells the summary once it has begun, that of a failure too; not where nobody reads any more. */
async function follow({
  options,
  io,
  targets,
  filter,
  filterText,
  readyFile,
  watch,
  tokens,
  dial,
  onBegin,
}: Parts): Promise<number> {
  const timers: NodeJS.Timeout[] = [];
  const end = Promise.withResolvers<number>();
  const startedMs = performance.now();
  let hasBegun = false;
  const following = new NodeStreams({
    targets,
    units: options.packets ? 'packets' : 'flows',
    headers: options.output === 'pcapng',
    filter,
    snapBytes: options.snapBytes,
    data: options.snapBytes !== undefined && options.output === 'json',
    version: io.version,
    tokens,
    dial,
    tell: (event) => show(event),
    failed: (error) => end.reject(error),
    began: () => {
      hasBegun = true;
      if (options.forMs !== undefined) timers.push(setTimeout(() => end.resolve(EXIT.ok), options.forMs));
    },
    nowMs: () => performance.timeOrigin + performance.now(),
  });
  const say = (text: string): void => void io.stderr.write(`ktrace: ${text}\n`);
  const silence = new Silence({
    nowMs: () => performance.now(),
    say,
    reason: (seconds) => silenceText(following.status(), seconds, output.shown.records),
  });
  const handler = {
    full: () => {
      following.pause();
      silence.readerFull();
    },
    drained: () => {
      silence.readerDrained();
      following.resume();
    },
    gone: () => end.resolve(READER_GONE),
  };
  const output = new FollowOutput({ ...options, here: onlyNamespace(targets) }, io, handler);
  const isReady = (text: string): void => {
    try {
      readyFile?.ready(text);
    } catch (error) {
      end.reject(error);
    }
  };
  function show(event: KtraceEvent): void {
    if (event.kind === 'notice' && event.following !== undefined) isReady(event.text);
    if (options.count !== undefined && output.shown.packets >= options.count) return;
    output.tell(event);
    if (event.kind !== 'packet' && event.kind !== 'flow') return;
    watch.peers(event);
    silence.ends();
    if (output.shown.packets === options.count) end.resolve(EXIT.ok);
  }
  timers.push(setInterval(() => silence.look(), 500));
  const interrupted = (): void => end.resolve(EXIT.interrupted);
  io.interrupt.addEventListener('abort', interrupted);
  if (io.interrupt.aborted) interrupted();
  const filterFile =
    options.filterFile === undefined ? undefined : followFilterFile(options.filterFile, filterText, following, io, options);
  onBegin(following, (error) => end.reject(error));
  watch.start(following);
  try {
    const [ended] = await Promise.allSettled([end.promise]);
    await following.close();
    await output.end();
    if (ended.status === 'fulfilled' && ended.value === READER_GONE) return EXIT.ok;
    const status = following.status();
    if (hasBegun) {
      for (const line of summaryText(status, output.shown, (performance.now() - startedMs) / 1000).split('\n')) say(line);
      const undecided = undecidedText(status.undecided, options.snapBytes);
      if (undecided !== undefined) say(undecided);
    }
    if (ended.status === 'rejected') throw ended.reason;
    const code = ended.value;
    return code === EXIT.ok && options.strict && isIncomplete(status) ? EXIT.incomplete : code;
  } finally {
    io.interrupt.removeEventListener('abort', interrupted);
    for (const timer of timers) clearInterval(timer);
    filterFile?.close();
    watch.close();
    await following.close();
  }
}

/** The filter's words, of the command line or of a file. Throws usage errors. */
function filterText({ asked: { filter }, filterFile }: FollowOptions): string {
  if (filterFile === undefined) return filter;
  if (filter !== '') throw badArgument('-F', 'no filter beside a file of one', filter);
  return readFilterFile(filterFile);
}

/** What of the filter no packet can match, as no more is captured. */
function pastHeaders(filter: ReadFilter | undefined, snapBytes = 0): string[] {
  return (filter?.pastHeaders ?? [])
    .filter(({ readsTo }) => readsTo > snapBytes)
    .map(({ term, readsTo }) => `"${escapeText(term)}" matches nothing: ${pastHeadersText(readsTo, snapBytes)}`);
}

/** Changes the filter when its file does; one that is not understood leaves the one before in force. */
function followFilterFile(
  path: string,
  first: string,
  following: NodeStreams,
  { stderr, lookUp }: FollowIo,
  { snapBytes, drops }: FollowOptions,
): { close(): void } {
  let isCurrent = {};
  const say = (text: string): void => void stderr.write(`ktrace: ${text}\n`);
  const refuse = (error: unknown): void => say(`the filter stays as it was: ${messageOf(error)}`);
  const change = async (text: string): Promise<void> => {
    const mine = {};
    isCurrent = mine;
    const next = await readFilter(text, lookUp, drops);
    // A name may take long to look up, and the file may be another one by then.
    if (isCurrent !== mine) return;
    following.setFilter(next);
    for (const note of pastHeaders(next, snapBytes)) say(note);
    say(next === undefined ? 'no filter from now on' : `the filter is now ${escapeText(next.text)}`);
  };
  return watchFilterFile(path, first, (text) => void change(text).catch(refuse), refuse);
}

/** Not an exit code: whoever read stdout has enough. */
const READER_GONE = -1;
