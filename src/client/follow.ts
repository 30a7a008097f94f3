import type { Writable } from 'node:stream';
import type { KubeConfig } from '@kubernetes/client-node';
import type { Target } from '../event/target.ts';
import type { KtraceEvent } from '../event/types.ts';
import { GATE_PORT } from '../protocol/constants.ts';
import { EXIT, KtraceError } from '../util/errors.ts';
import { type Api, createApi } from './api.ts';
import { Credentials } from './credentials.ts';
import { Following } from './following.ts';
import { firstGates, type Gate } from './gates.ts';
import { contextNamespace, kubeSurroundings, loadKubeConfig } from './kubeconfig.ts';
import { NodeWatch } from './node-watch.ts';
import { Output } from './output.ts';
import { forwardPort } from './port-forward.ts';
import { palette, wantsColor } from './render/colors.ts';
import { createPrinter } from './render/printer.ts';
import { isIncomplete, silenceText, summaryText } from './summary.ts';
import { checkTargets, nodesOf } from './target-objects.ts';
import { readTargets } from './words.ts';

export interface FollowOptions {
  /** `KIND/NAME …`, then the filter's words. */
  words: string[];
  selectors: string[];
  namespaces: string[];
  allNamespaces: boolean;
  kubeconfig?: string | undefined;
  context?: string | undefined;
  ktraceNamespace: string;
  output: 'text' | 'wide' | 'json';
  packets: boolean;
  /** Packets to show before leaving. */
  count?: number | undefined;
  forMs?: number | undefined;
  strict: boolean;
  color?: boolean | undefined;
}

export interface FollowIo {
  stdout: Writable & { isTTY?: boolean };
  stderr: Writable & { isTTY?: boolean };
  /** Aborted when the user interrupts. */
  interrupt: AbortSignal;
  env: Readonly<Record<string, string | undefined>>;
  findLab(): { name: string; kubeconfig: string } | undefined;
}

/** Beyond so many nodes, only those of the targets and of their peers are followed. */
const MAX_NODES = 50;
const SILENCE_MS = 10_000;

/** Follows packets until interrupted, or for as long and as many as asked. Gives the exit code; throws KtraceError. */
export async function runFollow(options: FollowOptions, io: FollowIo): Promise<number> {
  // Mistakes in the words are told before any cluster is asked.
  readTargets(options, 'default');
  const config = loadKubeConfig(
    options,
    kubeSurroundings(io.findLab, (text) => io.stderr.write(`ktrace: ${text}\n`)),
  );
  const targets = readTargets(options, contextNamespace(config));
  const api = createApi(config);
  const credentials = new Credentials({ api, targets, ktraceNamespace: options.ktraceNamespace });
  try {
    return await followAs(credentials, { options, io, config, targets, api });
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
  const wanted = gates.size <= MAX_NODES ? undefined : await targetNodes(await nodesOf(api, targets, io.interrupt), gates);
  return follow({
    ...surroundings,
    credentials,
    watch: new NodeWatch({ api, namespace: options.ktraceNamespace, gates, wanted }),
  });
}

async function targetNodes(nodes: Set<string> | undefined, gates: Map<string, Gate>): Promise<Set<string>> {
  if (nodes !== undefined && nodes.size <= MAX_NODES) return nodes;
  throw new KtraceError(
    'KTRACE_E_TOO_MANY_NODES',
    `The cluster has ${gates.size} nodes, and the targets are on ${nodes?.size ?? 'all'} of them`,
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
  api: Api;
}

interface Parts extends Surroundings {
  credentials: Credentials;
  watch: NodeWatch;
}

/** From here on something is followed; every way out tells the summary. */
async function follow({ options, io, config, targets, credentials, watch }: Parts): Promise<number> {
  const timers: NodeJS.Timeout[] = [];
  const end = Promise.withResolvers<number>();
  let shown = 0;
  let packets = 0;
  let shownAtMs = performance.now();
  let silences = 0;
  const following = new Following({
    targets,
    units: options.packets ? 'packets' : 'flows',
    tokens: () => credentials.tokens(),
    dial: async (node, signal) => {
      await credentials.fresh();
      return forwardPort(config, watch.gateOf(node), GATE_PORT, signal);
    },
    tell: (event) => show(event),
    failed: (error) => end.reject(error),
    began: () => {
      if (options.forMs !== undefined) timers.push(setTimeout(() => end.resolve(EXIT.ok), options.forMs));
    },
    nowMs: () => performance.timeOrigin + performance.now(),
  });
  const handler = { full: () => following.pause(), drained: () => following.resume(), gone: () => end.resolve(READER_GONE) };
  const stdout = new Output(io.stdout, handler);
  const print = createPrinter(
    options.output,
    palette(wantsColor(options.color, io.stdout.isTTY === true, io.env)),
    palette(wantsColor(options.color, io.stderr.isTTY === true, io.env)),
  );
  function show(event: KtraceEvent): void {
    if (options.count !== undefined && packets >= options.count) return;
    const line = print(event);
    if (line?.to === 'stdout') stdout.line(line.text);
    else if (line !== undefined) io.stderr.write(`${line.text}\n`);
    if (event.kind !== 'packet' && event.kind !== 'flow') return;
    watch.peers(event);
    shownAtMs = performance.now();
    silences = 0;
    if (line !== undefined && !(event.kind === 'packet' && event.amends === true)) shown++;
    if (event.kind === 'packet' && event.amends !== true) packets++;
    if (packets === options.count) end.resolve(EXIT.ok);
  }
  timers.push(
    setInterval(() => {
      const silentMs = performance.now() - shownAtMs;
      if (silentMs < SILENCE_MS * (silences + 1)) return;
      silences++;
      io.stderr.write(`ktrace: ${silenceText(following.status(), Math.round(silentMs / 1000))}\n`);
    }, 500),
  );
  const interrupted = (): void => end.resolve(EXIT.interrupted);
  io.interrupt.addEventListener('abort', interrupted);
  if (io.interrupt.aborted) interrupted();
  credentials.onRenewed = () => following.authenticate();
  watch.start(following);
  try {
    const code = await end.promise;
    await following.close();
    await stdout.end();
    if (code === READER_GONE) return EXIT.ok;
    const status = following.status();
    io.stderr.write(`ktrace: ${summaryText(status, shown)}\n`);
    return code === EXIT.ok && options.strict && isIncomplete(status) ? EXIT.incomplete : code;
  } finally {
    io.interrupt.removeEventListener('abort', interrupted);
    for (const timer of timers) clearInterval(timer);
    watch.close();
    await following.close();
  }
}

/** Not an exit code: whoever read stdout has enough. */
const READER_GONE = -1;
