import { performance } from 'node:perf_hooks';
import { KubeConfig } from '@kubernetes/client-node';
import { createApi } from '../../src/client/cluster/api.ts';
import { Credentials } from '../../src/client/cluster/credentials.ts';
import { listGates } from '../../src/client/cluster/gates.ts';
import { forwardPort } from '../../src/client/cluster/port-forward.ts';
import { AgentConnection } from '../../src/client/wire/agent-connection.ts';
import type { Target } from '../../src/event/target.ts';
import type { KtraceEvent, PacketEvent } from '../../src/event/types.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { GATE_PORT, KTRACE_NAMESPACE } from '../../src/protocol/constants.ts';
import { follow } from '../cases.ts';
import { SOURCE, TARGET } from '../load.ts';
import { quantile } from '../stats.ts';

/** From a packet's last hop in the kernel, in milliseconds. */
export interface Delivery {
  /** To the client's process, through the gate and pods/portforward, as its node's agent tells it. */
  client: Delays;
  /** To its line at the reader of `ktrace follow`, which holds parts back to join and order those of several nodes. */
  line: Delays;
}

export interface Delays {
  packets: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

/** Pings between the two pods, a hundred a second, and a follower of one of them. */
export async function measureDelivery(lab: Lab, options: { pings: number }): Promise<Delivery> {
  const toLine: number[] = [];
  const toClient: number[] = [];
  const watching = await follow(lab, [`pod/${SOURCE}`], (line) => note(JSON.parse(line) as KtraceEvent, toLine));
  const connection = await connect(lab, (event) => note(event, toClient));
  try {
    await lab.exec(`pod/${SOURCE}`, ['ping', '-n', '-q', '-i', '0.01', '-c', String(options.pings), lab.pod(TARGET).ip]);
  } finally {
    await connection.close();
    await watching.stop();
  }
  return { client: delaysOf(toClient), line: delaysOf(toLine) };
}

/** A follower's connection to the node of the pod that pings, as the client makes it. */
async function connect(lab: Lab, onEvent: (event: KtraceEvent) => void): Promise<AgentConnection> {
  const { node } = lab.pod(SOURCE);
  const config = new KubeConfig();
  config.loadFromFile(lab.kubeconfig);
  const api = createApi(config);
  const gate = (await listGates(api, KTRACE_NAMESPACE)).get(node);
  if (gate === undefined) throw new Error(`There is no gate on ${node}`);
  const targets: Target[] = [{ kind: 'pod', namespace: 'default', name: SOURCE }];
  const credentials = new Credentials({ api, targets, ktraceNamespace: KTRACE_NAMESPACE });
  await credentials.fresh();
  const up = Promise.withResolvers<void>();
  const connection = new AgentConnection({
    node,
    dial: (signal) => forwardPort(config, gate, GATE_PORT, signal),
    tokens: () => credentials.tokens(),
    subscription: { targets, addresses: [], units: 'flows' },
    window: 4096,
    nowMs: () => performance.timeOrigin + performance.now(),
    handler: {
      up: () => up.resolve(),
      down: up.reject,
      refused: up.reject,
      invalid: (_, error) => up.reject(error),
      events: (events) => {
        for (const event of events) onEvent(event);
        connection.consumed(events.length);
      },
      resolved: () => {},
    },
  });
  await up.promise;
  return connection;
}

function note(event: KtraceEvent, delays: number[]): void {
  const arrivedMs = performance.timeOrigin + performance.now();
  if (event.kind !== 'packet' || event.amends === true || event.proto !== 'icmp') return;
  delays.push(arrivedMs - lastHopMs(event));
}

/** When a packet was at its last hop: milliseconds since 1970, by its node's clock. */
export function lastHopMs({ time, hops }: PacketEvent): number {
  return unixMs(time) + Math.max(...hops.map(({ atNs }) => atNs)) / 1e6;
}

function delaysOf(delays: number[]): Delays {
  if (delays.length === 0) throw new Error('The follower was told of no ping');
  return { packets: delays.length, p50Ms: quantile(delays, 0.5), p99Ms: quantile(delays, 0.99), maxMs: Math.max(...delays) };
}

/** Milliseconds with their fraction, of an instant with nine digits of a second. */
function unixMs(time: string): number {
  const [whole = '', fraction = ''] = time.replace('Z', '').split('.');
  return Date.parse(`${whole}Z`) + Number(`0.${fraction}`) * 1000;
}
