import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ktraceCommand, ktraceEnvironment } from '../src/lab/agents.ts';
import type { Lab } from '../src/lab/lab.ts';
import { SOURCE, TARGET } from './load.ts';
import { end, inNamespace } from './processes.ts';
import { startEmpty } from './programs/empty.ts';
import { agentPids, restartAgents, untilAttached } from './user-space/agents.ts';
import { FOLLOWERS, followMany, followOn, followOne } from './user-space/followers.ts';

/** A node's agent has run for days: what the first seconds of one cost is not measured with what it does. */
const WARM_MS = 8000;
/** A pod without traffic: to follow it attaches everything and matches nothing. */
const SILENT = 'frontend-88237173-mzmjf';

/** One of the ways of watching that are held side by side. */
export interface Case {
  name: string;
  title: string;
  start(lab: Lab): Promise<Watching>;
}

export interface Watching {
  /** The processes whose CPU is this case's price. */
  pids: number[];
  /** Lines or packets given out so far; undefined where nobody counts. */
  told(): number | undefined;
  stop(): Promise<void>;
}

export const CASES: readonly Case[] = [
  {
    name: 'none',
    title: 'no tracer',
    start: async (lab) => ({ pids: agentPids(lab), told: () => undefined, stop: async () => {} }),
  },
  { name: 'empty', title: 'a program that does nothing attached', start: (lab) => attachEmpty(lab) },
  { name: 'attached', title: 'attached, nothing matching', start: (lab) => follow(lab, [`pod/${SILENT}`]) },
  { name: 'flows', title: 'follow one pod', start: (lab) => followOne(lab) },
  { name: 'client', title: 'follow one pod, the client on the same cores', start: (lab) => follow(lab, [`pod/${SOURCE}`]) },
  { name: 'followers', title: `${FOLLOWERS} followers of one pod`, start: (lab) => followMany(lab) },
  { name: 'packets', title: 'follow one pod --packets', start: (lab) => follow(lab, [`pod/${SOURCE}`, '--packets']) },
  { name: 'recording', title: 'recording all pods', start: (lab) => record(lab) },
  { name: 'tcpdump', title: 'tcpdump, same selection', start: (lab) => startTcpdump(lab) },
];

/** One agent alone, as a node has it: a tracepoint fires for the programs of all agents of this kernel, whosever node the packet was on. */
const ONE_NODE: Case = {
  name: 'one-node',
  title: 'attached on its node, nothing matching',
  start: (lab) => followOn(lab, lab.pod(TARGET).node, SILENT),
};
/** For a drop of others, and a tracepoint that fires for it. */
export const DROP_CASES: readonly Case[] = [
  ...CASES.filter(({ name }) => ['none', 'attached', 'tcpdump'].includes(name)),
  ONE_NODE,
];
/** For packets of others: one who follows a pod has nothing of them. */
export const BYSTANDER_CASES: readonly Case[] = CASES.filter(({ name }) => ['none', 'empty', 'attached'].includes(name));

/** Starts a follower as a user would, its JSON counted and thrown away; resolves once every agent has attached. */
export async function follow(lab: Lab, args: readonly string[], onLine: (line: string) => void = () => {}): Promise<Watching> {
  const argv = ['follow', '--kubeconfig', lab.kubeconfig, '-o', 'json', ...args];
  const child = spawn(ktraceCommand(), argv, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, ...ktraceEnvironment() },
  });
  let lines = 0;
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    lines += parts.length;
    for (const line of parts) onLine(line);
  });
  await untilAttached(lab, true);
  return {
    pids: agentPids(lab),
    told: () => lines,
    stop: async () => {
      await end(child, 'SIGINT');
      // A session outlives its connection for a while, so that it can be resumed; a follower that says good-bye ends its own.
      await untilAttached(lab, false);
    },
  };
}

/** What attaching alone costs, whatever the program does: where the agents attach on every node, while these attach nothing. */
async function attachEmpty(lab: Lab): Promise<Watching> {
  const all = await Promise.all(lab.nodes.map(({ name }) => startEmpty(lab, name)));
  return {
    pids: agentPids(lab),
    told: () => undefined,
    stop: async () => {
      await Promise.all(all.map((empty) => empty.stop()));
    },
  };
}

/** All agents anew, recording into a folder on disk, and nobody follows. */
async function record(lab: Lab): Promise<Watching> {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-bench-'));
  await restartAgents(lab, (node) => ['--record', join(folder, node)]);
  await untilAttached(lab, true);
  await delay(WARM_MS);
  return {
    pids: agentPids(lab),
    told: () => undefined,
    stop: async () => {
      await restartAgents(lab, () => []);
      rmSync(folder, { recursive: true, force: true });
      await untilAttached(lab, false);
      await delay(WARM_MS);
    },
  };
}

/** One tcpdump for each interface that an agent attaches to, with a filter for the pod's address, inside VXLAN on the uplinks. */
async function startTcpdump(lab: Lab): Promise<Watching> {
  const { ip } = lab.pod(SOURCE);
  const dumps: ChildProcess[] = [];
  for (const { name, namespace, isUplink } of await interfaces(lab)) {
    const filter = isUplink ? insideVxlan(ip) : `host ${ip}`;
    const argv = ['tcpdump', '-n', '-i', name, '-s', '128', '-w', '/dev/null', filter];
    const dump = spawn('nsenter', inNamespace(namespace, argv).slice(1), { stdio: ['ignore', 'ignore', 'pipe'] });
    dumps.push(dump);
    await untilListening(dump, name);
  }
  return {
    pids: dumps.flatMap((dump) => dump.pid ?? []),
    told: () => undefined,
    stop: async () => {
      await Promise.all(dumps.map((dump) => end(dump, 'SIGINT')));
    },
  };
}

async function untilListening(dump: ChildProcess, name: string): Promise<void> {
  let said = '';
  const stderr = dump.stderr?.setEncoding('utf8');
  const onText = (text: string) => {
    said += text;
    if (said.includes('listening on')) dump.emit('listening');
  };
  stderr?.on('data', onText);
  await Promise.race([
    once(dump, 'listening'),
    once(dump, 'exit').then(() => {
      throw new Error(`tcpdump on ${name} ended: ${said}`);
    }),
  ]);
}

async function interfaces(lab: Lab): Promise<{ name: string; namespace: string; isUplink: boolean }[]> {
  const all = await Promise.all(
    lab.nodes.map(async ({ name: node, ip }) => {
      const links = JSON.parse(await lab.exec(`node/${node}`, ['ip', '-json', 'address'])) as Link[];
      return links
        .filter(({ ifname }) => ifname !== 'lo')
        .map(({ ifname, addr_info }) => ({
          name: ifname,
          namespace: lab.namespace(`node/${node}`),
          isUplink: addr_info.some(({ local }) => local === ip),
        }));
    }),
  );
  return all.flat();
}

interface Link {
  ifname: string;
  addr_info: { local: string }[];
}

/** The inner addresses lie after UDP (8), VXLAN (8) and Ethernet (14), at 12 and 16 of the inner IPv4 header. */
function insideVxlan(ip: string): string {
  const hex = `0x${ip
    .split('.')
    .map((byte) => Number(byte).toString(16).padStart(2, '0'))
    .join('')}`;
  return `udp port 8472 and (udp[42:4] = ${hex} or udp[46:4] = ${hex})`;
}
