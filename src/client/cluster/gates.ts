import { GATE_SELECTOR } from '../../protocol/constants.ts';
import { EXIT, KtraceError } from '../../util/errors.ts';
import { type Api, ApiError, listAll } from './api.ts';

/** A gate pod: the way to its node's agent. */
export interface Gate {
  node: string;
  namespace: string;
  name: string;
  isReady: boolean;
}

interface Pod {
  metadata?: { name?: string; deletionTimestamp?: string; creationTimestamp?: string };
  spec?: { nodeName?: string };
  status?: { phase?: string; conditions?: { type?: string; status?: string }[] };
}

/** The gates, one a node: a ready one before one that is not, a new one before one that goes. */
export async function listGates(api: Api, namespace: string, signal?: AbortSignal): Promise<Map<string, Gate>> {
  const pods = await listAll<Pod>(
    api,
    `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`,
    { labelSelector: GATE_SELECTOR },
    signal,
  );
  const gates = new Map<string, Gate>();
  for (const pod of pods) {
    const gate = gateOf(pod, namespace);
    if (gate === undefined) continue;
    const known = gates.get(gate.node);
    if (known === undefined || (gate.isReady && !known.isReady)) gates.set(gate.node, gate);
  }
  return gates;
}

/** The gates at the start; throws KTRACE_E_NO_AGENT (exit 3) where there is none that could be asked. */
export async function firstGates(api: Api, namespace: string, signal?: AbortSignal): Promise<Map<string, Gate>> {
  let gates: Map<string, Gate>;
  try {
    gates = await listGates(api, namespace, signal);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 403) throw error;
    throw new KtraceError(
      'KTRACE_E_API_FORBIDDEN',
      `You may not list the pods of namespace ${namespace}, where the agents of ktrace are`,
      {
        cause: error,
        hint: 'Following needs the rights to list pods there and to create pods/portforward.',
        exitCode: EXIT.notAuthorized,
      },
    );
  }
  if (gates.size === 0) throw noAgent(`There is no agent of ktrace in namespace ${namespace}`, namespace);
  if (![...gates.values()].some(({ isReady }) => isReady)) {
    throw noAgent(`None of the ${gates.size} agents of ktrace in namespace ${namespace} is ready`, namespace);
  }
  return gates;
}

/** Exit 3, with what to look at. */
function noAgent(message: string, namespace: string, cause?: unknown): KtraceError {
  return new KtraceError('KTRACE_E_NO_AGENT', message, {
    ...(cause === undefined ? {} : { cause }),
    hint: `Is ktrace installed there? Look with: kubectl -n ${namespace} get pods; another namespace is given with --ktrace-namespace.`,
    exitCode: EXIT.noAgent,
  });
}

function gateOf({ metadata, spec, status }: Pod, namespace: string): Gate | undefined {
  if (metadata?.name === undefined || spec?.nodeName === undefined) return undefined;
  if (metadata.deletionTimestamp !== undefined || status?.phase === 'Failed' || status?.phase === 'Succeeded') return undefined;
  const isReady =
    status?.phase === 'Running' && (status.conditions ?? []).some(({ type, status }) => type === 'Ready' && status === 'True');
  return { node: spec.nodeName, namespace, name: metadata.name, isReady };
}
