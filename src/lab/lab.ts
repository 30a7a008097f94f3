import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { KtraceError } from '../util/errors.ts';
import { agentName, gateName, isAgentReady, startAgent, startGate, stopAgent, waitForAgent } from './agents.ts';
import { callApi } from './client/api-client.ts';
import { startApiServer } from './client/api-process.ts';
import { createPodNetwork, deletePodNetwork, namespaceOf } from './machine/network.ts';
import { identify, isRunning, type ProcessId } from './machine/proc.ts';
import { endAll, recordedProcess, stopProcess } from './machine/processes.ts';
import { processesIn, removeLab } from './machine/remove.ts';
import { writeProxyRules } from './machine/rules.ts';
import { run } from './machine/run.ts';
import { type LabState, labDirectory, labRoot, readState, writeState } from './machine/state.ts';
import { crashedPodObject, endpointSlices, podObject } from './plan/objects.ts';
import { type LabNode, type LabPod, labNodes, labServices, vethName } from './plan/plan.ts';
import { startPod } from './workload/traffic.ts';

/** A standing lab. Its processes go on when this object, or the process that holds it, is gone: only `down` ends them. */
export class Lab {
  readonly name: string;
  readonly directory: string;
  readonly #root: string;

  /** @throws KtraceError `KTRACE_E_LAB_UNKNOWN` when no lab of this name stands */
  constructor(name: string, root: string = labRoot()) {
    this.name = name;
    this.directory = labDirectory(name, root);
    this.#root = root;
    if (readState(this.directory)?.phase !== 'up') {
      throw new KtraceError('KTRACE_E_LAB_UNKNOWN', `No lab ${name} stands`, { hint: 'Bring it up with `bin/ktrace lab up`.' });
    }
  }

  /** For clients on the machine itself; the context `ktrace-lab` is the admin's. */
  get kubeconfig(): string {
    return join(this.directory, 'kubeconfig');
  }

  get nodes(): LabNode[] {
    return labNodes();
  }

  get pods(): LabPod[] {
    return this.#state().pods;
  }

  get apiPort(): number {
    return this.#state().apiPort;
  }

  /** Whether it was brought up with agents. */
  get hasAgents(): boolean {
    return this.#state().agents;
  }

  pod(name: string): LabPod {
    const found = this.pods.find((pod) => pod.name === name);
    if (found === undefined) {
      throw new KtraceError('KTRACE_E_LAB_TARGET', `The lab ${this.name} has no pod ${name}`, {
        hint: `Its pods: ${this.pods.map((pod) => pod.name).join(', ')}.`,
      });
    }
    return found;
  }

  /** The network namespace of `host1`, `node/host1`, `pod/NAME`, `NAME` of a pod, or `switch`. */
  namespace(target: string): string {
    const name = target.replace(/^(node|pod)\//, '');
    if (target === 'switch') return namespaceOf(this.name, 'switch');
    const node = target.startsWith('pod/') ? undefined : this.nodes.find((candidate) => candidate.name === name);
    if (node !== undefined) return namespaceOf(this.name, node);
    if (target.startsWith('node/')) throw new KtraceError('KTRACE_E_LAB_TARGET', `The lab ${this.name} has no node ${name}`);
    return namespaceOf(this.name, this.pod(name));
  }

  /** Runs a command in the namespace of a node or pod, as root; gives its standard output. */
  exec(target: string, argv: readonly string[], input?: string): Promise<string> {
    return run(['nsenter', `--net=/run/netns/${this.namespace(target)}`, ...argv], input === undefined ? {} : { input });
  }

  /** Deletes a pod: its processes, its namespace, its object, its place in EndpointSlices and rules. */
  async deletePod(name: string): Promise<LabPod> {
    const pod = this.pod(name);
    this.#setPods(this.pods.filter((candidate) => candidate.name !== name));
    await callApi(this.directory, 'DELETE', `/api/v1/namespaces/${pod.namespace}/pods/${name}`);
    // Before the namespace: a process in it would keep it alive, nameless.
    await endAll(() => processesIn(namespaceOf(this.name, pod)), 'SIGKILL');
    await Promise.all([deletePodNetwork(this.name, pod), this.#publishEndpoints()]);
    return pod;
  }

  /**
   * Creates a pod as one that was (from {@link deletePod}), or with other values: a new uid and interface, the same address
   * unless another is given.
   */
  async createPod(like: LabPod): Promise<LabPod> {
    const pod = { ...like, uid: randomUUID(), veth: vethName() };
    await createPodNetwork(this.name, pod);
    this.#setPods([...this.pods, pod]);
    await callApi(this.directory, 'POST', `/api/v1/namespaces/${pod.namespace}/pods`, podObject(pod));
    if (this.#state().traffic) startPod(this.name, this.directory, pod, this.pods);
    if (pod.workload === 'gate' && this.hasAgents) startGate(this.name, this.directory, pod);
    await this.#publishEndpoints();
    return pod;
  }

  /** Ends all that runs in a pod, and says of its container what a kubelet would: that it ended so. The pod stays, with its address. */
  async crashPod(name: string, ended: { exitCode: number; reason: string }): Promise<LabPod> {
    const pod = this.pod(name);
    await endAll(() => processesIn(namespaceOf(this.name, pod)), 'SIGKILL');
    const path = `/api/v1/namespaces/${pod.namespace}/pods/${name}`;
    await callApi(this.directory, 'PUT', path, crashedPodObject(pod, ended));
    return pod;
  }

  /** The process of a node's agent; undefined when it does not run. */
  agent(node: string): ProcessId | undefined {
    return this.#process(agentName(node));
  }

  /** The process of a node's gate; undefined when it does not run. */
  gate(node: string): ProcessId | undefined {
    return this.#process(gateName(node));
  }

  isAgentReady(node: string): Promise<boolean> {
    return isAgentReady(this.directory, node);
  }

  /** Ends a node's agent at once, without a chance to clean up. */
  async killAgent(node: string): Promise<void> {
    await stopAgent(this.directory, node, 'SIGKILL');
  }

  /** Ends a node's agent with SIGTERM. */
  async stopAgent(node: string): Promise<void> {
    await stopAgent(this.directory, node, 'SIGTERM');
  }

  /** Starts a node's agent and waits until it is ready. */
  async startAgent(node: string, flags: readonly string[] = []): Promise<void> {
    startAgent(this.name, this.directory, node, flags);
    await waitForAgent(this.directory, node);
  }

  /** Kills a node's agent and starts it again. */
  async restartAgent(node: string, flags: readonly string[] = []): Promise<void> {
    await this.killAgent(node);
    await this.startAgent(node, flags);
  }

  /** Ends the API server: from now on connections are refused. */
  async stopApi(): Promise<void> {
    await stopProcess(this.directory, 'api', 'SIGKILL');
  }

  /** Starts the API server again, on the same port and with the same objects. */
  async startApi(): Promise<void> {
    await startApiServer(this.name, this.directory, this.apiPort);
  }

  /** Takes everything away. */
  async down(): Promise<void> {
    await removeLab(this.name, this.#root);
  }

  async #publishEndpoints(): Promise<void> {
    const slices = labServices()
      .filter((service) => service.selector !== undefined)
      .flatMap((service) => endpointSlices(service, this.pods));
    await Promise.all([
      writeProxyRules(this.name, this.pods),
      ...slices.map((slice) => {
        const { namespace, name } = slice.metadata;
        return callApi(this.directory, 'PUT', `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices/${name}`, slice);
      }),
    ]);
  }

  #process(name: string): ProcessId | undefined {
    const record = recordedProcess(this.directory, name);
    return record !== undefined && isRunning(record) ? identify(record.pid) : undefined;
  }

  #setPods(pods: LabPod[]): void {
    writeState(this.directory, { ...this.#state(), pods });
  }

  #state(): LabState {
    const state = readState(this.directory);
    if (state === undefined) throw new KtraceError('KTRACE_E_LAB_UNKNOWN', `The lab ${this.name} is gone`);
    return state;
  }
}
