import { join } from 'node:path';
import { KtraceError } from '../util/errors.ts';
import { hasKtraceCommand, startAgent, startGate, waitForAgents } from './agents.ts';
import { startApiServer } from './client/api-process.ts';
import { Lab } from './lab.ts';
import { createCertificates } from './machine/certificates.ts';
import { writeKubeconfigs } from './machine/kubeconfig.ts';
import { withRootLock } from './machine/lock.ts';
import { createNetwork } from './machine/network.ts';
import { identify } from './machine/proc.ts';
import { namespacesOf, removeLab, removeLeftovers } from './machine/remove.ts';
import { writeProxyRules } from './machine/rules.ts';
import { isLeftover, type LabState, labDirectory, labRoot, readState, writeAtomically, writeState } from './machine/state.ts';
import { createTokens } from './machine/tokens.ts';
import { allDone } from './machine/wait.ts';
import { labObjects } from './plan/objects.ts';
import { labNodes, labPods } from './plan/plan.ts';
import { startTraffic } from './workload/traffic.ts';

export interface LabOptions {
  /** Up to 20 lower-case letters and digits; two labs of different names stand side by side. Default `default`. */
  name?: string;
  /** Start agents and gates. Default true. */
  agents?: boolean;
  /** Further flags for every agent, e.g. `--ring-bytes 65536`. */
  agentFlags?: readonly string[];
  /** Start the pods' servers and clients. Default true. */
  traffic?: boolean;
  /** Agents record what the pods do, for `ktrace dump`. Default false; `ktrace lab up` records. */
  records?: boolean;
  /** The lab belongs to this process: when the process is gone, the next start removes it. Default false. */
  bound?: boolean;
  /** Directory of all labs. Default `KTRACE_LAB_DIR`, else `/run/ktrace-lab`. */
  root?: string;
  /** Is told what is being done. */
  progress?: (text: string) => void;
}

/**
 * Brings a lab up: three nodes, the guestbook, real servers and traffic, an API server, one agent and one gate a node.
 * What a killed start left behind is removed first; what this start leaves behind when it fails is removed too.
 *
 * @throws KtraceError `KTRACE_E_LAB_ROOT`, `KTRACE_E_LAB_EXISTS`, `KTRACE_E_LAB_COMMAND`, `KTRACE_E_LAB_START`
 */
export async function labUp(options: LabOptions = {}): Promise<Lab> {
  const name = options.name ?? 'default';
  const root = options.root ?? labRoot();
  const directory = labDirectory(name, root);
  const progress = options.progress ?? (() => undefined);
  const agents = options.agents ?? true;
  requireRoot();
  if (agents && !hasKtraceCommand()) {
    throw new KtraceError('KTRACE_E_LAB_START', 'bin/ktrace cannot be run, so no agent can be started', {
      hint: 'Run `npm run setup`, or bring the lab up without agents (--no-agents).',
    });
  }
  const state = startingState(name, options, agents);
  await withRootLock(root, async () => {
    for (const leftover of await removeLeftovers(root)) progress(`removed what was left of lab ${leftover}`);
    requireFree(name, directory);
    // Namespaces of this name without a directory: someone deleted the directory by hand.
    if (namespacesOf(name).length > 0) await removeLab(name, root);
    writeState(directory, state);
  });
  try {
    progress('network: switch, three nodes, ten pods');
    await allDone([createNetwork(name, state.pods), prepareApi(directory, state)]);
    progress('kube-proxy rules and the API server');
    const [apiPort] = await allDone([startApiServer(name, directory, 0), writeProxyRules(name, state.pods)]);
    state.apiPort = apiPort;
    writeState(directory, state);
    writeKubeconfigs(directory, apiPort);
    if (state.traffic) {
      progress('servers and traffic');
      startTraffic(name, directory, state.pods);
    }
    if (agents) {
      progress('agents and gates');
      await startAgents(name, directory, state, options.agentFlags ?? []);
    }
    state.phase = 'up';
    writeState(directory, state);
    return new Lab(name, root);
  } catch (error) {
    await removeLab(name, root);
    throw error;
  }
}

async function startAgents(name: string, directory: string, state: LabState, flags: readonly string[]): Promise<void> {
  const nodes = labNodes().map((node) => node.name);
  for (const node of nodes) startAgent(name, directory, node, flags);
  for (const pod of state.pods.filter((candidate) => candidate.workload === 'gate')) startGate(name, directory, pod);
  await waitForAgents(directory, nodes);
}

async function prepareApi(directory: string, state: LabState): Promise<void> {
  createTokens(directory);
  writeAtomically(join(directory, 'objects.json'), JSON.stringify({ version: 1000, objects: labObjects(state.pods) }));
  await createCertificates(directory);
}

function startingState(name: string, options: LabOptions, agents: boolean): LabState {
  const owner = identify(process.pid);
  if (owner === undefined) throw new KtraceError('KTRACE_E_LAB_START', `/proc/${process.pid}/stat cannot be read`);
  return {
    name,
    phase: 'starting',
    owner,
    bound: options.bound ?? false,
    pods: labPods(),
    apiPort: 0,
    agents,
    traffic: options.traffic ?? true,
    records: options.records ?? false,
  };
}

function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new KtraceError('KTRACE_E_LAB_ROOT', 'The lab makes network namespaces, which only root may', {
    hint: 'Run the same command as root, e.g. with sudo.',
  });
}

function requireFree(name: string, directory: string): void {
  const state = readState(directory);
  if (state === undefined || isLeftover(directory)) return;
  const what = state.phase === 'up' ? 'stands already' : `is being brought up by process ${state.owner.pid}`;
  throw new KtraceError('KTRACE_E_LAB_EXISTS', `The lab ${name} ${what}`, {
    hint: `Use it, take it down with \`bin/ktrace lab down --name ${name}\`, or choose another --name.`,
  });
}
