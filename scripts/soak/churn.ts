import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { ktraceCommand, ktraceEnvironment } from '../../src/lab/agents.ts';
import { callApi } from '../../src/lab/client/api-client.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { podObject } from '../../src/lab/plan/objects.ts';
import type { LabPod } from '../../src/lab/plan/plan.ts';
import { KtraceError } from '../../src/util/errors.ts';

/** How often each thing was done. */
export interface ChurnCounts {
  pods: number;
  objects: number;
  /** Requests that the lab's own API server did not answer: no fault of what is judged here. */
  unanswered: number;
  links: number;
  clients: number;
  killed: number;
}

const CLIENTS = 3;
const TARGETS = [['-A'], ['svc/frontend'], ['deploy/redis-master'], ['node/host2'], ['-n', 'kube-system'], ['-A', '--packets']];

/** Changes the lab, and follows in it, until the signal; resolves when the last of it is done. */
export async function churn(lab: Lab, signal: AbortSignal): Promise<ChurnCounts> {
  const counts: ChurnCounts = { pods: 0, objects: 0, unanswered: 0, links: 0, clients: 0, killed: 0 };
  const until = async (step: () => Promise<void>): Promise<void> => {
    while (!signal.aborted) await step();
  };
  await Promise.all([
    until(() => replacePod(lab, counts)),
    until(() => replaceObject(lab, counts).catch((error: unknown) => noteUnanswered(error, counts))),
    until(() => replaceLink(lab, counts)),
    ...Array.from({ length: CLIENTS }, () => until(() => followForAWhile(lab, counts, signal))),
  ]);
  return counts;
}

/** A pod of the guestbook goes and comes back with another uid and another interface. */
async function replacePod(lab: Lab, counts: ChurnCounts): Promise<void> {
  const pods = lab.pods.filter(({ workload }) => workload === 'frontend');
  const gone = await lab.deletePod((pods[randomInt(pods.length)] as LabPod).name);
  await delay(randomInt(200, 1000));
  await lab.createPod(gone);
  counts.pods += 1;
  await delay(randomInt(1000, 3000));
}

/** A namespace with a pod that runs nowhere: nothing but what is watched changes. */
async function replaceObject(lab: Lab, counts: ChurnCounts): Promise<void> {
  const namespace = `soak-${randomInt(1_000_000_000)}`;
  const [like] = lab.pods as [LabPod];
  const pod = { ...like, namespace, name: `phantom-${randomInt(1_000_000_000)}`, ip: `10.244.250.${randomInt(2, 250)}` };
  const path = '/api/v1/namespaces';
  await callApi(lab.directory, 'POST', path, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  await callApi(lab.directory, 'POST', `${path}/${namespace}/pods`, podObject(pod));
  await delay(randomInt(20, 300));
  await callApi(lab.directory, 'DELETE', `${path}/${namespace}/pods/${pod.name}`);
  await callApi(lab.directory, 'DELETE', `${path}/${namespace}`);
  counts.objects += 1;
}

async function noteUnanswered(error: unknown, counts: ChurnCounts): Promise<void> {
  if (!(error instanceof KtraceError) || error.code !== 'KTRACE_E_LAB_API') throw error;
  counts.unanswered += 1;
  await delay(1000);
}

async function replaceLink(lab: Lab, counts: ChurnCounts): Promise<void> {
  const node = `host${randomInt(1, 4)}`;
  const name = `soak${randomInt(1_000_000)}`;
  await lab.exec(node, ['ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}p`]);
  await lab.exec(node, ['ip', 'link', 'set', name, 'up']);
  await delay(randomInt(50, 500));
  await lab.exec(node, ['ip', 'link', 'del', name]);
  counts.links += 1;
}

/** A client that leaves as one does, or is killed, or is stopped first so that its queues fill. */
async function followForAWhile(lab: Lab, counts: ChurnCounts, signal: AbortSignal): Promise<void> {
  const target = TARGETS[randomInt(TARGETS.length)] ?? [];
  const argv = ['follow', ...target, '-o', 'json', '--kubeconfig', lab.kubeconfig];
  const client = spawn(ktraceCommand(), argv, { env: ktraceEnvironment(), stdio: 'ignore' });
  const gone = once(client, 'exit');
  counts.clients += 1;
  await Promise.race([gone, delay(randomInt(2000, 15_000), undefined, { signal }).catch(() => undefined)]);
  const way = randomInt(3);
  if (way > 0) counts.killed += 1;
  if (way === 2) {
    client.kill('SIGSTOP');
    await delay(3000, undefined, { signal }).catch(() => undefined);
  }
  client.kill(way === 0 ? 'SIGINT' : 'SIGKILL');
  await gone;
}
