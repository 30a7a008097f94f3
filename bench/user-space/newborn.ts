import { setTimeout as delay } from 'node:timers/promises';
import type { KtraceEvent } from '../../src/event/types.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { namespaceOf } from '../../src/lab/machine/network.ts';
import { run } from '../../src/lab/machine/run.ts';
import { waitFor } from '../../src/lab/machine/wait.ts';
import type { LabPod } from '../../src/lab/plan/plan.ts';
import { follow } from '../cases.ts';
import { SOURCE, TARGET } from '../load.ts';
import { inNamespace } from '../processes.ts';
import { type Spread, spread } from '../stats.ts';

/** A new pod pings another node's from its first moment on, a hundred times a second, while somebody follows all pods. */
export interface Newborn {
  pods: number;
  /** Of each pod's pings that were answered, those before the first that both nodes told: at 10 ms each. */
  untold: Spread;
}

const PINGS = 200;
/** The last records come, joined. */
const SETTLE_MS = 1000;

export async function measureNewborn(lab: Lab, options: { pods: number }): Promise<Newborn> {
  const untold: number[] = [];
  for (let index = 0; index < options.pods; index++) untold.push(await untoldOf(lab, index));
  return { pods: options.pods, untold: spread(untold) };
}

async function untoldOf(lab: Lab, index: number): Promise<number> {
  const like = lab.pod(SOURCE);
  const ip = `10.244.1.${100 + index}`;
  const pod: LabPod = {
    ...like,
    name: `newborn-${index}`,
    ip,
    ip6: like.ip6.replace(/[^:]*$/, `${100 + index}`),
    workload: 'idle',
  };
  const told = new Set<number>();
  const watching = await follow(lab, ['-A', 'icmp'], (line) => {
    const event = JSON.parse(line) as KtraceEvent;
    if (event.kind !== 'packet' || event.icmp?.name !== 'echo-request' || event.src.ip !== ip) return;
    if (event.nodes.length === 2) told.add(event.icmp.seq ?? 0);
  });
  try {
    const [answered] = await Promise.all([pingWhenUp(namespaceOf(lab.name, pod), lab.pod(TARGET).ip), lab.createPod(pod)]);
    await delay(SETTLE_MS);
    if (answered.length === 0) throw new Error(`No ping of ${pod.name} was answered`);
    if (told.size === 0) throw new Error(`No ping of ${pod.name} was told by both nodes`);
    const firstTold = Math.min(...told);
    return answered.filter((seq) => seq < firstTold).length;
  } finally {
    await watching.stop();
    await lab.deletePod(pod.name);
  }
}

/** Pings as soon as the pod's namespace has a way out; gives the numbers of those that were answered. */
async function pingWhenUp(namespace: string, ip: string): Promise<number[]> {
  const inside = (argv: string[]) => run(inNamespace(namespace, argv));
  const hasRoute = () =>
    inside(['ip', 'route', 'get', ip]).then(
      () => true,
      () => undefined,
    );
  if ((await waitFor(hasRoute, 10_000, 5)) !== true) throw new Error(`${namespace} has no route after 10 s`);
  const text = await inside(['ping', '-n', '-i', '0.01', '-c', String(PINGS), ip]);
  return [...text.matchAll(/icmp_seq=(\d+) ttl/g)].map(([, seq]) => Number(seq));
}
