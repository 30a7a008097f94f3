import { neededScope } from '../../access/scope.ts';
import type { Target } from '../../event/target.ts';
import { GATE_PORT } from '../../protocol/constants.ts';
import { EXIT, KtraceError } from '../../util/errors.ts';
import { type Api, ApiError } from '../cluster/api.ts';
import { Credentials } from '../cluster/credentials.ts';
import { firstGates } from '../cluster/gates.ts';
import { MAX_NODES, NodeWatch } from '../cluster/node-watch.ts';
import { forwardPort } from '../cluster/port-forward.ts';
import { checkTargets, nodesOf } from '../cluster/target-objects.ts';
import { FollowSession, type Surroundings } from './session.ts';

/** Follows by the cluster's agents, through their gates. Gives the exit code; throws KtraceError. */
export async function followRemotely(surroundings: Surroundings): Promise<number> {
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
  const { options, io, config, targets, api } = surroundings;
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
  return new FollowSession(surroundings, {
    watch,
    tokens: () => credentials.tokens(),
    dial: async (node, signal) => {
      await credentials.fresh();
      return forwardPort(config, watch.gateOf(node), GATE_PORT, signal);
    },
    onBegin: (following) => {
      credentials.onRenewed = () => following.authenticate();
    },
  }).run();
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
