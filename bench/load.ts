import type { ChildProcess } from 'node:child_process';
import type { Lab } from '../src/lab/lab.ts';
import { waitFor } from '../src/lab/machine/wait.ts';
import { end, inNamespace, startQuiet } from './processes.ts';
import { startWindowed } from './traffic/windowed.ts';

/** Traffic goes from this pod … */
export const SOURCE = 'frontend-88237173-jdfgg';
/** … to this one on another node, through both bridges, the VXLAN devices and the uplinks. */
export const TARGET = 'redis-master-343230949-2qrp7';
const IPERF_PORT = 5201;
const REDIS_PORT = 6400;
/** Beside the nodes and of none. */
const WORLD_IP = '192.168.60.1';
const UDP_PAYLOAD_BYTES = 64;
const READY_MS = 10_000;

export interface Load {
  /** Bits per second that arrived, one connection. */
  tcp(seconds: number): Promise<number>;
  /** Datagrams of 64 bytes per second that arrived, sent as fast as one sender can, which is faster than the receiver reads: its socket drops some. */
  udp(seconds: number): Promise<number>;
  /** Datagrams of 64 bytes per second, of a sender that waits for its receiver: none is dropped. */
  windowed(seconds: number): Promise<number>;
  /** Request and response of a few bytes over one connection, one at a time: microseconds at the median and the 99th percentile. */
  latency(requests: number): Promise<{ p50Us: number; p99Us: number }>;
  close(): Promise<void>;
}

/** Places as the lab names them: `pod/NAME`, `node/NAME`. */
export interface LoadEnds {
  from: string;
  to: string;
  /** Of `to`. */
  ip: string;
}

export const podToPod = (lab: Lab): LoadEnds => ({ from: `pod/${SOURCE}`, to: `pod/${TARGET}`, ip: lab.pod(TARGET).ip });
/** What nodes say to each other, which is in no tunnel. */
export function nodeToNode(lab: Lab): LoadEnds {
  const [{ name: from }, { name: to, ip }] = lab.nodes as [Lab['nodes'][number], Lab['nodes'][number]];
  return { from: `node/${from}`, to: `node/${to}`, ip };
}

/** What a pod says to the world: its node sends it under its own address. */
export const POD_TO_WORLD: LoadEnds = { from: `pod/${SOURCE}`, to: 'switch', ip: WORLD_IP };

/** Starts an iperf3, a redis and a server of datagrams at one end; the clients run at the other. */
export async function startLoad(lab: Lab, ends: LoadEnds): Promise<Load> {
  const { from, to, ip } = ends;
  const target = lab.namespace(to);
  const redis = [
    'redis-server',
    '--port',
    String(REDIS_PORT),
    '--bind',
    ip,
    '--save',
    '',
    '--appendonly',
    'no',
    '--protected-mode',
    'no',
  ];
  const windowed = await startWindowed(lab, ends);
  const servers: ChildProcess[] = [
    startQuiet(inNamespace(target, ['iperf3', '--server', '--bind', ip, '--port', String(IPERF_PORT)])),
    startQuiet(inNamespace(target, [...redis, '--dir', '/tmp'])),
  ];
  const close = async () => {
    await Promise.all([...servers.map((server) => end(server)), windowed.close()]);
  };
  const client = (argv: string[]) => lab.exec(from, argv);
  const iperf = async (seconds: number, more: string[]) => {
    const argv = ['iperf3', '--client', ip, '--port', String(IPERF_PORT), '--time', String(seconds), '--json', ...more];
    return JSON.parse(await client(argv)) as IperfReport;
  };
  try {
    await untilListening(lab, to, [IPERF_PORT, REDIS_PORT]);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    tcp: async (seconds) => (await iperf(seconds, [])).end.sum_received.bits_per_second,
    udp: async (seconds) => {
      const { sum } = (await iperf(seconds, ['--udp', '--length', String(UDP_PAYLOAD_BYTES), '--bitrate', '0'])).end;
      return (sum.packets - sum.lost_packets) / sum.seconds;
    },
    windowed: (seconds) => windowed.perSecond(seconds),
    latency: async (requests) => {
      const benchmark = [
        'redis-benchmark',
        '-h',
        ip,
        '-p',
        String(REDIS_PORT),
        '-c',
        '1',
        '-n',
        String(requests),
        '-t',
        'ping_mbulk',
        '--csv',
      ];
      return latencyOf(await client([...benchmark, '--precision', '3']));
    },
    close,
  };
}

interface IperfReport {
  end: {
    sum_received: { bits_per_second: number };
    sum: { packets: number; lost_packets: number; seconds: number };
  };
}

/** Until servers listen on these TCP ports of a place. */
export async function untilListening(lab: Lab, place: string, ports: number[]): Promise<void> {
  const done = await waitFor(async () => {
    const sockets = await lab.exec(place, ['ss', '-Htln']);
    return ports.every((port) => sockets.includes(`:${port} `));
  }, READY_MS);
  if (done !== true) throw new Error(`The load's servers do not listen on ${ports.join(' and ')}`);
}

/** redis-benchmark's table: a heading and a row, with latencies in milliseconds. */
function latencyOf(csv: string): { p50Us: number; p99Us: number } {
  const [heading = [], row = []] = csv
    .trim()
    .split('\n')
    .map((line) => line.split(',').map((cell) => cell.replaceAll('"', '')));
  const value = (name: string) => {
    const found = Number(row[heading.indexOf(name)]);
    if (Number.isNaN(found)) throw new Error(`Expected a column ${name} of redis-benchmark, got ${csv}`);
    return Math.round(found * 1000);
  };
  return { p50Us: value('p50_latency_ms'), p99Us: value('p99_latency_ms') };
}
