import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { namespaceOf } from '../machine/network.ts';
import { startProcess } from '../machine/processes.ts';
import { siblingProgram } from '../machine/program.ts';
import {
  FORBIDDEN_PORT,
  type LabNode,
  type LabPod,
  type LabService,
  labNodes,
  labServices,
  type Workload,
} from '../plan/plan.ts';
import type { AppConfig } from './app.ts';
import type { Zone } from './dns-message.ts';
import type { Job } from './jobs.ts';

/** A port of the redis pods on which nobody listens. */
const CLOSED_PORT = 6390;

/** A process of the lab's traffic: its name, the namespace it runs in and its command. */
interface Program {
  name: string;
  namespace: string;
  argv: string[];
}

/**
 * Starts the servers and the clients of all pods: redis, HTTP, DNS; once a second or less often each frontend's look-ups,
 * writes and reads through the Services; pings that run for ever; a visitor from outside the cluster.
 */
export function startTraffic(lab: string, directory: string, pods: readonly LabPod[]): void {
  for (const pod of pods) startPod(lab, directory, pod, pods);
  for (const program of [...pings(lab, pods, isNode), visitor(lab, directory)]) start(directory, program);
}

/** Starts what runs in one pod. */
export function startPod(lab: string, directory: string, pod: LabPod, pods: readonly LabPod[]): void {
  const own = pings(lab, pods, (from) => !isNode(from) && from.name === pod.name);
  for (const program of [...podPrograms(lab, directory, pod, pods), ...own]) start(directory, program);
}

function start(directory: string, program: Program): void {
  startProcess(directory, program.name, ['nsenter', `--net=/run/netns/${program.namespace}`, ...program.argv]);
}

function podPrograms(lab: string, directory: string, pod: LabPod, pods: readonly LabPod[]): Program[] {
  const namespace = namespaceOf(lab, pod);
  const program = (argv: string[]) => [{ name: `pod-${pod.name}`, namespace, argv }];
  switch (pod.workload) {
    case 'frontend':
      return program(app(directory, pod.name, { name: pod.name, httpPort: 80, jobs: frontendJobs(directory, pod, pods) }));
    case 'redis-master':
      return program(redisServer(directory, pod.name, []));
    case 'redis-slave':
      return program(redisServer(directory, pod.name, ['--replicaof', serviceNamed('redis-master').clusterIp, '6379']));
    case 'dns':
      return program([...siblingProgram(import.meta.url, './dns.ts'), configFile(directory, pod.name, zone())]);
    default:
      return [];
  }
}

/** Few wake-ups, nothing on disk, and the environment left as it is: redis otherwise overwrites it with its title. */
function redisServer(directory: string, name: string, more: string[]): string[] {
  const home = join(directory, 'redis', name);
  mkdirSync(home, { recursive: true });
  const options = {
    port: '6379',
    save: '',
    appendonly: 'no',
    hz: '2',
    'protected-mode': 'no',
    'set-proc-title': 'no',
    dir: home,
  };
  return [
    'redis-server',
    '--bind',
    '*',
    '-::*',
    ...Object.entries(options).flatMap(([key, value]) => [`--${key}`, value]),
    ...more,
  ];
}

function frontendJobs(directory: string, pod: LabPod, pods: readonly LabPod[]): Job[] {
  const addressOf = (workload: Workload) => pods.find((candidate) => candidate.workload === workload)?.ip ?? '';
  const jobs: Job[] = [
    { kind: 'redis', everyMs: 1000, host: name('redis-master'), port: 6379, command: ['SET', 'visitor', pod.name] },
    { kind: 'redis', everyMs: 1000, host: name('redis-slave'), port: 6379, command: ['GET', 'visitor'] },
  ];
  if (pod.name === 'frontend-88237173-jdfgg') {
    jobs.push(
      { kind: 'redis', everyMs: 2000, host: serviceNamed('redis-master').clusterIp6, port: 6379, command: ['PING'] },
      { kind: 'https', everyMs: 5000, host: '10.96.0.1', port: 443, path: '/version', caFile: join(directory, 'ca.crt') },
      { kind: 'connect', everyMs: 2000, host: addressOf('redis-master'), port: CLOSED_PORT },
    );
  }
  if (pod.name === 'frontend-88237173-mzmjf') {
    jobs.push(
      { kind: 'connect', everyMs: 2000, host: addressOf('redis-slave'), port: FORBIDDEN_PORT },
      { kind: 'lookup', everyMs: 3000, host: name('no-such-service') },
      { kind: 'http', everyMs: 2000, host: name('frontend'), port: 80 },
    );
  }
  return jobs;
}

/** Someone outside the cluster, on the nodes' network, who calls a node port. */
function visitor(lab: string, directory: string): Program {
  const jobs: Job[] = [{ kind: 'http', everyMs: 2000, host: labNodes()[1]?.ip ?? '', port: 30080 }];
  return { name: 'visitor', namespace: namespaceOf(lab, 'switch'), argv: app(directory, 'visitor', { name: 'visitor', jobs }) };
}

/** node → pod on another node and on its own, pod → pod on another node and on the same, a ClusterIP, and IPv6. */
function pings(lab: string, pods: readonly LabPod[], isWanted: (from: LabNode | LabPod) => boolean): Program[] {
  const [, host2, host3] = labNodes();
  const pod = (name: string) => pods.find((candidate) => candidate.name.startsWith(name));
  const [jdfgg, mzmjf, z3ltv, master, slave] = [
    'frontend-88237173-j',
    'frontend-88237173-m',
    'frontend-88237173-z',
    'redis-master',
    'redis-slave-132015689-k',
  ].map(pod);
  const pairs = [
    { from: host2, to: jdfgg?.ip, everySeconds: 1 },
    { from: host3, to: slave?.ip, everySeconds: 2 },
    { from: jdfgg, to: master?.ip, everySeconds: 1 },
    { from: jdfgg, to: z3ltv?.ip, everySeconds: 2 },
    { from: mzmjf, to: serviceNamed('redis-master').clusterIp, everySeconds: 2 },
    { from: jdfgg, to: master?.ip6, everySeconds: 2 },
  ];
  return pairs.flatMap(({ from, to, everySeconds }, index) =>
    from === undefined || to === undefined || !isWanted(from)
      ? []
      : [
          {
            name: `ping-${index + 1}`,
            namespace: namespaceOf(lab, from),
            argv: ['ping', '-n', '-q', '-i', String(everySeconds), to],
          },
        ],
  );
}

function isNode(member: LabNode | LabPod): member is LabNode {
  return 'index' in member;
}

function app(directory: string, name: string, config: AppConfig): string[] {
  return [...siblingProgram(import.meta.url, './app.ts'), configFile(directory, name, config)];
}

function configFile(directory: string, name: string, content: unknown): string {
  mkdirSync(join(directory, 'config'), { recursive: true });
  const file = join(directory, 'config', `${name}.json`);
  writeFileSync(file, JSON.stringify(content));
  return file;
}

function zone(): Zone {
  return Object.fromEntries(
    labServices().map((service) => [
      `${service.name}.${service.namespace}.svc.cluster.local`,
      service.selector === undefined ? [service.clusterIp] : [service.clusterIp, service.clusterIp6],
    ]),
  );
}

function name(service: string): string {
  return `${service}.default.svc.cluster.local`;
}

function serviceNamed(name: string): LabService {
  const service = labServices().find((candidate) => candidate.name === name);
  if (service === undefined) throw new RangeError(`no Service ${name} in the lab's plan`);
  return service;
}
