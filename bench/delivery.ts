import type { Lab } from '../src/lab/lab.ts';
import { follow } from './cases.ts';
import { SOURCE, TARGET } from './load.ts';
import { quantile } from './stats.ts';

/** From a packet's last hop in the kernel to its line at the reader of `ktrace follow`, in milliseconds. */
export interface Delivery {
  packets: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

/** Pings between the two pods, a hundred a second, and a follower of one of them. */
export async function measureDelivery(lab: Lab, options: { pings: number }): Promise<Delivery> {
  const delays: number[] = [];
  const watching = await follow(lab, [`pod/${SOURCE}`], (line) => {
    const arrivedMs = performance.timeOrigin + performance.now();
    const event = JSON.parse(line) as PacketLine;
    if (event.kind !== 'packet' || event.amends === true || event.proto !== 'icmp') return;
    const lastNs = Math.max(...event.hops.map(({ atNs }) => atNs));
    delays.push(arrivedMs - unixMs(event.time) - lastNs / 1e6);
  });
  try {
    await lab.exec(`pod/${SOURCE}`, ['ping', '-n', '-q', '-i', '0.01', '-c', String(options.pings), lab.pod(TARGET).ip]);
  } finally {
    await watching.stop();
  }
  if (delays.length === 0) throw new Error('The follower was told of no ping');
  return { packets: delays.length, p50Ms: quantile(delays, 0.5), p99Ms: quantile(delays, 0.99), maxMs: Math.max(...delays) };
}

interface PacketLine {
  kind: string;
  amends?: true;
  proto: string;
  time: string;
  hops: { atNs: number }[];
}

/** Milliseconds with their fraction, of an instant with nine digits of a second. */
function unixMs(time: string): number {
  const [whole = '', fraction = ''] = time.replace('Z', '').split('.');
  return Date.parse(`${whole}Z`) + Number(`0.${fraction}`) * 1000;
}
