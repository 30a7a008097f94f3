import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { callApi } from '../../src/lab/client/api-client.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { follow } from '../cases.ts';
import type { Load } from '../load.ts';
import { residentBytes } from '../processes.ts';
import { AGENT_FLAGS } from './agents.ts';

/** Memory of an agent in a large cluster. */
export interface Scale {
  pods: number;
  services: number;
  endpoints: number;
  /** A minute after its start. */
  idleBytes: number;
  /** The most while it was followed under load, every packet told. */
  busyBytes: number;
  /** A minute after that follow has ended. */
  afterBytes: number;
  /** The largest gate, then. */
  gateBytes: number;
}

const NODE = 'host1';
const ENDPOINTS_PER_SERVICE = 10;
const AT_ONCE = 8;
const SAMPLE_MS = 250;
/** What a process has given back by then (src/util/heap-at-rest.ts) it does not need. */
const REST_MS = 60_000;

/** Fills the API server with objects that nothing stands behind, starts the agent anew and looks at its memory. */
export async function measureScale(lab: Lab, load: Load, options: { pods: number; services: number }): Promise<Scale> {
  const services = Array.from({ length: options.services }, (_, index) => index);
  await inParallel(Array.from({ length: options.pods }, (_, index) => () => create(lab, 'pods', '/api/v1', pod(index))));
  await inParallel(services.map((index) => () => create(lab, 'services', '/api/v1', service(index))));
  await inParallel(services.map((index) => () => create(lab, 'endpointslices', '/apis/discovery.k8s.io/v1', slice(index))));
  await lab.stopAgent(NODE);
  await lab.startAgent(NODE, AGENT_FLAGS);
  const pid = lab.agent(NODE)?.pid ?? 0;
  await delay(REST_MS);
  const idleBytes = residentBytes(pid);
  const watching = await follow(lab, ['-A', '--packets']);
  let busyBytes = 0;
  const sampler = setInterval(() => {
    busyBytes = Math.max(busyBytes, residentBytes(pid));
  }, SAMPLE_MS);
  try {
    await load.udp(5);
    await load.latency(20_000);
  } finally {
    clearInterval(sampler);
    await watching.stop();
  }
  await delay(REST_MS);
  const afterBytes = residentBytes(pid);
  const gateBytes = Math.max(...lab.nodes.map(({ name }) => residentBytes(lab.gate(name)?.pid ?? 0)));
  return { ...options, endpoints: options.services * ENDPOINTS_PER_SERVICE, idleBytes, busyBytes, afterBytes, gateBytes };
}

async function inParallel(jobs: (() => Promise<unknown>)[]): Promise<void> {
  const left = jobs.values();
  const worker = async () => {
    for (const job of left) await job();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function create(lab: Lab, plural: string, root: string, object: object): Promise<unknown> {
  return callApi(lab.directory, 'POST', `${root}/namespaces/default/${plural}`, object);
}

/** Addresses that no lab uses: 10.200.0.0/16 for pods of the node, 10.201.0.0/16 for the others, 10.112.0.0/16 for Services. */
function address(network: string, index: number): string {
  return `${network}.${Math.floor(index / 250)}.${(index % 250) + 1}`;
}

function pod(index: number): object {
  const ip = address('10.200', index);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'default', name: `scale-${index}`, uid: randomUUID(), labels: { app: 'scale', index: String(index) } },
    spec: { nodeName: NODE, containers: [{ name: 'main', image: 'scale' }] },
    status: { phase: 'Running', podIP: ip, podIPs: [{ ip }] },
  };
}

function service(index: number): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'default', name: `scale-${index}`, uid: randomUUID() },
    spec: {
      clusterIP: address('10.112', index),
      clusterIPs: [address('10.112', index)],
      ports: [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }],
    },
  };
}

function slice(index: number): object {
  const endpoints = Array.from({ length: ENDPOINTS_PER_SERVICE }, (_, at) => {
    const number = index * ENDPOINTS_PER_SERVICE + at;
    const targetRef = { kind: 'Pod', namespace: 'default', name: `remote-${number}`, uid: randomUUID() };
    return { addresses: [address('10.201', number)], conditions: { ready: true }, nodeName: `node-${number % 500}`, targetRef };
  });
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace: 'default',
      name: `scale-${index}-a`,
      uid: randomUUID(),
      labels: { 'kubernetes.io/service-name': `scale-${index}` },
    },
    addressType: 'IPv4',
    endpoints,
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
  };
}
