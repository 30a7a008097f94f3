import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { KtraceEvent } from '../../src/event/types.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { follow } from '../cases.ts';
import { SOURCE, TARGET } from '../load.ts';
import { cpuSeconds, inNamespace } from '../processes.ts';
import { startTalker, type Talker } from '../talker.ts';

/** Conversations of a followed pod that have one datagram in each direction, or one in all, each from its own pair of ports. */
export interface NewFlows {
  /** Wanted, a second. */
  rate: number;
  sent: number;
  sentPerSecond: number;
  answered: number;
  /** Of those that were sent: the first packet was told. */
  told: number;
  /** … by both nodes, as one record. */
  joined: number;
  /** The conversation's end was told, with as many packets as there were. */
  counted: number;
  /** Sightings told as lost, by all stages: a packet has one at each hook. */
  lost: number;
  /** Sightings told, as hops or as lost, of those that all packets have together. Drops are told beside, so that it may be more than 1. */
  accounted: number;
  /** Of one core, of each agent's process, while they were sent: the busiest. */
  agentCpuPercent: number;
}

const PORTS = 256;
/** At which a packet between pods of two nodes is seen: four on each. */
const HOOKS = 8;
/** A conversation of two datagrams is told to have ended 5 s after its last, one that was not answered 30 s, and up to 2 s later. */
const ENDS_MS = { answered: 9000, unanswered: 34_000 };

/** Between the two pods, on two nodes. */
export async function measureNewFlows(lab: Lab, options: { rate: number; seconds: number; answers: boolean }): Promise<NewFlows> {
  const { ip } = lab.pod(TARGET);
  const packetsOfEach = options.answers ? 2 : 1;
  const told = new Set<number>();
  const joined = new Set<number>();
  const counted = new Set<number>();
  /** Of each packet, by its id: one that is amended is told again, with all its hops. */
  const hops = new Map<string, number>();
  let lost = 0;
  const note = (event: KtraceEvent) => {
    if (event.kind === 'lost') lost += event.count;
    if ((event.kind !== 'packet' && event.kind !== 'flow') || event.proto !== 'udp') return;
    const [one, other] = [event.src.port ?? 0, event.dst.port ?? 0];
    // Both directions of a conversation are one.
    const key = Math.max(one, other) * 65_536 + Math.min(one, other);
    if (event.kind === 'packet') {
      hops.set(event.id, event.hops.length);
      told.add(key);
      if (event.nodes.length === 2) joined.add(key);
    } else if (event.state === 'close' && event.packets.request + event.packets.reply === packetsOfEach) {
      counted.add(key);
    }
  };
  const server = start(lab, TARGET, ['serve', ip, String(PORTS), options.answers ? 'answer' : 'silent']);
  const watching = await follow(lab, [`pod/${SOURCE}`, 'udp'], (line) => note(JSON.parse(line) as KtraceEvent));
  try {
    await server.line((line) => line === 'listening');
    const sockets = Math.ceil((options.rate * options.seconds) / PORTS);
    const before = watching.pids.map((pid) => cpuSeconds([pid]));
    const client = start(lab, SOURCE, ['ask', ip, ...[PORTS, sockets, options.rate, options.seconds].map(String)]);
    const words = (await client.line((line) => line.startsWith('sent '))).split(' ');
    const [sent, answered, seconds] = [Number(words[1]), Number(words[3]), Number(words[5])];
    const used = watching.pids.map((pid, at) => cpuSeconds([pid]) - (before[at] ?? 0));
    await client.ended();
    await delay(options.answers ? ENDS_MS.answered : ENDS_MS.unanswered);
    const toldHops = [...hops.values()].reduce((sum, count) => sum + count, 0);
    return {
      rate: options.rate,
      sent,
      sentPerSecond: sent / seconds,
      answered,
      told: told.size,
      joined: joined.size,
      counted: counted.size,
      lost,
      accounted: (toldHops + lost) / ((sent + answered) * HOOKS),
      agentCpuPercent: (Math.max(...used) / seconds) * 100,
    };
  } finally {
    await watching.stop();
    await server.ended();
  }
}

function start(lab: Lab, pod: string, args: string[]): Talker {
  const worker = fileURLToPath(new URL('./datagrams.ts', import.meta.url));
  return startTalker(inNamespace(lab.namespace(`pod/${pod}`), [process.execPath, '--import', 'tsx', worker, ...args]));
}
